// Observes what judge.js judges: tries each transport the way a client does, but looks at every step.
// Everything is relative to the page, which is at <gateway>/doctor.

const limit = 5_000;
const media = { sse: 'text/event-stream', stream: 'application/x-ndjson', poll: 'application/json' };
/** What is shown to the gateway. It is kept nowhere else: not in the URL, not in the report. */
let token = '';
export const show = (text) => {
  token = text;
};

const address = (resource) => new URL(`v1/${resource}`, document.baseURI);

/** by is who answered, as far as the headers tell. */
function by(headers) {
  const who = ['server', 'via', 'x-cache'].map((name) => headers.get(name)).concat(headers.has('cf-ray') ? 'Cloudflare' : null);
  return [...new Set(who.filter(Boolean))].join(', ');
}

/** ping asks whether what answers is Fairlead, and how long that takes: the first time, and at best. */
export async function ping() {
  const pong = await pong1();
  let rtt = pong.took;
  for (let again = 0; again < 2 && pong.fairlead; again++) rtt = Math.min(rtt, (await pong1()).took);
  return { ...pong, rtt };
}

async function pong1() {
  const began = performance.now();
  try {
    const response = await fetch(address('ping'), { cache: 'no-store', redirect: 'manual', signal: AbortSignal.timeout(limit) });
    if (response.type === 'opaqueredirect') return { status: 511, took: 0 };
    const text = await response.text();
    const took = performance.now() - began;
    const pong = parse(text);
    const seen = { status: response.status, type: response.headers.get('content-type') ?? '', by: by(response.headers), took };
    if (isProblem(seen.type) && pong?.code) Object.assign(seen, { code: pong.code, detail: pong.detail ?? '' });
    return { ...seen, fairlead: typeof pong?.id === 'string' && typeof pong.time === 'number' };
  } catch (error) {
    return { end: error.name === 'TimeoutError' ? 'timeout' : 'reset', limit, took: 0 };
  }
}

const isProblem = (type) => type.startsWith('application/problem+json');

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A timeline fills in an observation as things happen. */
class Timeline {
  seen;
  touched;
  #began = performance.now();

  constructor(probe, forMs) {
    this.seen = { probe, limit: forMs, end: '', token: token !== '', origin: location.origin };
    this.touched = this.#began;
  }

  now() {
    return Math.max(0.01, Math.round((performance.now() - this.#began) * 100) / 100);
  }

  /** silence is for how long nothing has come. */
  silence() {
    return performance.now() - this.touched;
  }

  touch() {
    this.touched = performance.now();
  }

  end(end) {
    if (this.seen.end) return;
    this.seen.end = end;
    this.seen.ended = this.now();
  }

  async answered(response) {
    const { headers, status } = response;
    Object.assign(this.seen, {
      opened: this.now(), status, by: by(headers), type: headers.get('content-type') ?? '',
      encoding: headers.get('content-encoding') ?? '', cache_control: headers.get('cache-control') ?? '',
    });
    if (isProblem(this.seen.type)) this.refused(parse(await response.text()));
  }

  /** refused notes an error of the gateway's own: a problem, or an error frame. */
  refused(error) {
    if (error?.code) Object.assign(this.seen, { code: error.code, detail: error.detail ?? error.message ?? '' });
  }

  /** frame notes a frame, and tells whether there is nothing more to wait for. */
  frame(text) {
    const frame = parse(text);
    if (typeof frame?.op !== 'string') {
      this.end('damaged');
      return true;
    }
    if (frame.op === 'error') this.refused(frame);
    if (frame.op === 'welcome') this.seen.welcome = this.now();
    if (frame.op === 'proof') this.seen.proof = this.now();
    return frame.op === 'error' || (this.seen.welcome > 0 && this.seen.proof > 0);
  }
}

const hello = (beat, wait, more) => JSON.stringify({ op: 'hello', channels: {}, beat, wait, ...more });

function attach(method, accept, beat, wait, signal) {
  const url = address('attach');
  const headers = token ? { accept, authorization: `Bearer ${token}` } : { accept };
  if (method === 'GET') {
    url.searchParams.set('wait', '0');
    return fetch(url, { headers, signal });
  }
  return fetch(url, { method, headers: { ...headers, 'content-type': 'application/json' }, body: hello(beat, wait), cache: 'no-store', signal });
}

/** observe tries a transport until it is proven. */
export async function observe(transport) {
  const line = new Timeline(transport, limit);
  const proven = (done) => done;
  if (transport === 'websocket') await talk(line, 5_000, proven);
  else if (transport === 'poll') await poll(line);
  else await follow(line, 5_000, proven);
  return line.seen;
}

/** hold leaves a connection alone for so long, with rare beats, and tells how that went. */
export async function hold(transport, forMs, beat) {
  const line = new Timeline(transport, forMs);
  const never = (done) => done && (line.seen.end || line.seen.code);
  if (transport === 'websocket') await talk(line, beat, never);
  else if (transport === 'poll') await ask(line, 'POST', forMs / 1000);
  else await follow(line, beat, never);
  return { held: line.now(), silent: line.silence(), seen: line.seen };
}

/** talk opens a WebSocket, says hello, and notes frames until enough(what the frame said). */
function talk(line, beat, enough) {
  return new Promise((resolve) => {
    const url = address('attach');
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, 'fairlead.v1');
    const finish = (end) => {
      clearTimeout(timer);
      if (end) line.end(end);
      socket.close();
      resolve();
    };
    const timer = setTimeout(() => finish('timeout'), line.seen.limit);
    socket.onopen = () => {
      Object.assign(line.seen, { opened: line.now(), status: 101 });
      socket.send(hello(beat, 0, token ? { token } : {})); // a page can give a WebSocket no header
    };
    socket.onmessage = ({ data }) => {
      line.touch();
      if (enough(line.frame(data))) finish();
    };
    socket.onclose = () => finish(line.seen.status ? 'eof' : 'failed');
  });
}

/** follow attaches by a stream, and notes frames until enough(what the frame said). */
async function follow(line, beat, enough) {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), line.seen.limit);
  try {
    const response = await attach('POST', media[line.seen.probe], beat, 0, control.signal);
    await line.answered(response);
    if (response.status !== 200 || line.seen.code) return;
    const cut = cutter(line.seen.probe === 'sse');
    const decoder = new TextDecoder();
    for await (const chunk of chunks(response.body)) {
      line.touch();
      for (const frame of cut(decoder.decode(chunk, { stream: true }))) if (enough(line.frame(frame))) return;
    }
    line.end('eof');
  } catch {
    line.end(control.signal.aborted ? 'timeout' : 'reset');
  } finally {
    clearTimeout(timer);
    control.abort();
  }
}

async function* chunks(body) {
  const reader = body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

/** cutter finds the frames in a text that comes in pieces. The gateway ends lines with LF and writes a frame in one. */
function cutter(sse) {
  let rest = '';
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    if (!sse) return lines.filter((line) => line.trim() !== '');
    return lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5));
  };
}

/** poll polls by POST, as clients do, and looks whether a repeated GET comes from a cache. */
async function poll(line) {
  await ask(line, 'POST', 0);
  const first = await ask(new Timeline('poll', limit), 'GET', 0);
  const second = first && (await ask(new Timeline('poll', limit), 'GET', 0));
  line.seen.get_works = Boolean(first);
  // Each poll without a session is given another one.
  line.seen.cached = Boolean(second) && (first.aged || second.aged || first.session === second.session);
}

/** ask makes one poll. What it returns is nothing unless the answer is whole. */
async function ask(line, method, wait) {
  const signal = AbortSignal.timeout(line.seen.limit + (wait > 0 ? 5_000 : 0));
  try {
    const response = await attach(method, media.poll, 0, wait, signal);
    await line.answered(response);
    if (response.status !== 200 || line.seen.code) return undefined;
    const answer = parse(await response.text());
    const welcome = answer?.frames?.[0];
    if (typeof answer?.id !== 'string' || welcome?.op !== 'welcome') {
      line.end('reset');
      return undefined;
    }
    line.seen.welcome = line.now();
    return { session: welcome.session, aged: Number(response.headers.get('age') ?? 0) > 0 };
  } catch {
    line.end(signal.aborted ? 'timeout' : 'reset');
    return undefined;
  }
}
