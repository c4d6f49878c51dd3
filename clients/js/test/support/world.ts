import type { Clock } from '../../src/clock.ts';
import type { Start } from '../../src/frame.ts';
import { Log } from './log.ts';

interface Timer {
  at: number;
  order: number;
  fn: () => void;
}

/** Virtual time and seeded dice: a run is the same each time. */
export class VirtualClock implements Clock {
  #now = 0;
  #timers: Timer[] = [];
  #order = 0;
  #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
  }

  readonly now = (): number => this.#now;

  /** mulberry32 */
  readonly random = (): number => {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };

  readonly after = (ms: number, fn: () => void): (() => void) => {
    const timer = { at: this.#now + ms, order: this.#order++, fn };
    this.#timers.push(timer);
    return () => {
      const at = this.#timers.indexOf(timer);
      if (at >= 0) this.#timers.splice(at, 1);
    };
  };

  /** Runs what is due until then; between two timers everything that was started settles. */
  async run(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const due = this.#timers.reduce<Timer | undefined>((a, b) => (a && (a.at < b.at || (a.at === b.at && a.order < b.order)) ? a : b), undefined);
      if (!due || due.at > end) break;
      this.#timers.splice(this.#timers.indexOf(due), 1);
      this.#now = Math.max(this.#now, due.at);
      due.fn();
    }
    this.#now = end;
  }
}

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export type Weather = 'fine' | 'refuse' | 'swallow' | 'mute' | 'busy';

interface Connection {
  /** `silent`: the client is not told. */
  cut(silent: boolean): void;
  /** Sends a frame down. */
  send(frame: object): void;
}

interface Body {
  session?: string;
  channels?: Record<string, Start>;
  attachment?: string;
  wait?: number;
  commands?: { op: string; cid?: number }[];
}

/** A gateway behind a network that does what networks do, in virtual time: fetch and WebSocket for a client under test. */
export class World {
  readonly log = new Log();
  readonly clock: VirtualClock;
  /** By `websocket`, `text/event-stream`, `application/json` (polls) and `commands`. */
  readonly weather: Record<string, Weather> = {};
  readonly connections = new Set<Connection>();
  /** When each lasting attachment, or poll that is not to wait, was begun. */
  readonly attempts: number[] = [];
  requests = 0;
  /** The chance that a request or its answer is lost. */
  loss = 0;
  beat = 5_000;
  readonly #attachments = new Map<string, ReturnType<Log['attach']>>();
  #count = 0;

  constructor(seed: number) {
    this.clock = new VirtualClock(seed);
  }

  dice(chance: number): boolean {
    return this.clock.random() < chance;
  }

  readonly fetch = (async (input: string, init: RequestInit = {}): Promise<Response> => {
    this.requests++;
    const { pathname } = new URL(input);
    const accept = (init.headers as Record<string, string>)['accept'] ?? '';
    const kind = pathname === '/v1/commands' ? 'commands' : accept;
    const body = JSON.parse(init.body as string) as Body;
    if (kind !== 'commands' && (kind !== 'application/json' || !body.wait)) this.attempts.push(this.clock.now());
    const weather = this.weather[kind] ?? 'fine';
    return new Promise((resolve, reject) => {
      if (init.signal?.aborted) return reject(init.signal.reason as Error);
      init.signal?.addEventListener('abort', () => reject(init.signal?.reason as Error));
      const answer = (response: Response): void => void this.#later(() => resolve(response));
      this.#later(() => {
        if (weather === 'swallow' || init.signal?.aborted) return;
        if (weather === 'refuse') return reject(new TypeError('fetch failed'));
        if (weather === 'busy') return answer(new Response('{"code":"unavailable"}', { status: 503, headers: { 'content-type': 'application/problem+json', 'retry-after': '3' } }));
        const before = this.dice(this.loss);
        if (before) return this.dice(0.5) ? reject(new TypeError('fetch failed')) : undefined;
        // The answer may be lost though the request was carried out.
        const lost = (): boolean => this.dice(this.loss) && (this.dice(0.5) && reject(new TypeError('fetch failed')), true);
        if (kind === 'commands') {
          const follower = this.#attachments.get(body.attachment ?? '');
          const replies = (body.commands ?? []).map((c) => this.log.command(c, follower));
          if (!lost()) answer(this.#json({ replies }));
        } else if (kind === 'application/json') {
          this.#poll(body, init.signal ?? undefined, (value) => !lost() && answer(this.#json(value)));
        } else this.#stream(body, kind, weather, init.signal ?? undefined, answer);
      });
    });
  }) as typeof fetch;

  readonly WebSocket: typeof WebSocket = socketOf(this);

  /** Attaches a lasting connection; frames go down in order, each a little later. */
  attach(body: Body, weather: Weather, down: (frame: object) => void, end: (clean: boolean) => void): Connection {
    const attachment = `n1.${++this.#count}`;
    let open = true;
    let at = 0;
    let sent = this.clock.now();
    const later = (fn: () => void): void => {
      at = Math.max(at, this.clock.now() + 1 + this.clock.random() * 50);
      this.clock.after(at - this.clock.now(), fn);
    };
    const send = (frame: object): void => {
      if (!open || weather === 'mute') return;
      sent = this.clock.now();
      later(() => open && down(frame));
    };
    const follower = this.log.attach(body.channels ?? {}, send, { attachment, beat: this.beat, session: body.session ?? 's1' });
    const connection: Connection = {
      send,
      cut: (silent) => {
        open = false;
        this.connections.delete(connection);
        this.#attachments.delete(attachment);
        this.log.followers.delete(follower);
        if (!silent) later(() => end(false));
      },
    };
    const beat = (): void => {
      if (!open) return;
      if (this.clock.now() - sent >= this.beat - 1) send({ op: 'beat', id: this.log.id });
      this.clock.after(this.beat - Math.min(this.clock.now() - sent, this.beat - 1), beat);
    };
    this.clock.after(this.beat, beat);
    this.clock.after(250, () => send({ op: 'proof' }));
    this.connections.add(connection);
    this.#attachments.set(attachment, follower);
    return Object.assign(connection, { command: (c: { op: string }) => open && send(this.log.command(c, follower)) });
  }

  #later(fn: () => void): void {
    this.clock.after(1 + this.clock.random() * 80, fn);
  }

  #json(value: object): Response {
    const text = JSON.stringify(value);
    // Now and then a proxy cuts the answer short, and nobody says so.
    const cut = this.dice(this.loss / 2) ? Math.floor(this.clock.random() * text.length) : text.length;
    return new Response(text.slice(0, cut), { headers: { 'content-type': 'application/json' } });
  }

  #poll(body: Body, signal: AbortSignal | undefined, answer: (value: object) => void): void {
    const channels = body.channels ?? {};
    const { starts, frames } = this.log.since(channels);
    const welcome = body.session ? [] : [{ op: 'welcome', session: 's1', id: this.log.id, beat: this.beat, channels: starts }];
    if (frames.length > 0 || !body.wait) return answer({ frames: [...welcome, ...frames], id: this.log.id });
    const done = (more: object[]): void => {
      if (!this.log.followers.delete(follower)) return;
      cancel();
      answer({ frames: [...welcome, ...more], id: this.log.id });
    };
    const follower = { channels: new Set(Object.keys(channels)), send: (frame: object) => done([frame]) };
    const cancel = this.clock.after(body.wait * 1000, () => done([]));
    signal?.addEventListener('abort', () => this.log.followers.delete(follower));
    this.log.followers.add(follower);
  }

  #stream(body: Body, accept: string, weather: Weather, signal: AbortSignal | undefined, answer: (response: Response) => void): void {
    let out: ReadableStreamDefaultController<Uint8Array> | undefined;
    let held = new Uint8Array();
    const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (out = controller) });
    const encode = (f: object): string => (accept === 'text/event-stream' ? `data: ${JSON.stringify(f)}\r\n\r\n` : `${JSON.stringify(f)}\n`);
    const push = (frame: object): void => {
      // What the network carries has other borders than what the server wrote.
      const bytes = Buffer.concat([held, Buffer.from(encode(frame))]);
      const cut = this.dice(0.3) ? Math.floor(this.clock.random() * bytes.length) : bytes.length;
      held = new Uint8Array(bytes.subarray(cut));
      if (cut > 0) out?.enqueue(new Uint8Array(bytes.subarray(0, cut)));
      if (held.length > 0) this.clock.after(10, flush);
    };
    const flush = (): void => {
      if (held.length > 0) out?.enqueue(held);
      held = new Uint8Array();
    };
    const stop = (): void => {
      const controller = out;
      out = undefined;
      if (!signal?.aborted) this.dice(0.5) ? controller?.close() : controller?.error(new TypeError('terminated'));
    };
    const connection = this.attach(body, weather, push, stop);
    signal?.addEventListener('abort', () => {
      out?.error(signal.reason);
      out = undefined;
      connection.cut(true);
    });
    answer(new Response(stream, { headers: { 'content-type': accept } }));
  }
}

function socketOf(world: World): typeof WebSocket {
  return class {
    readyState = 0;
    protocol = 'fairlead.v1';
    onopen?: () => void;
    onmessage?: (event: { data: string }) => void;
    onclose?: (event: { code: number; reason: string }) => void;
    #connection: (Connection & { command?: (c: { op: string }) => void }) | undefined;
    readonly #weather = world.weather['websocket'] ?? 'fine';

    constructor() {
      world.attempts.push(world.clock.now());
      world.clock.after(20, () => {
        if (this.#weather === 'swallow' || this.readyState !== 0) return;
        if (this.#weather !== 'fine' && this.#weather !== 'mute') return this.#end();
        this.readyState = 1;
        this.onopen?.();
      });
    }

    send(text: string): void {
      const frame = JSON.parse(text) as Body & { op: string };
      world.clock.after(20, () => {
        if (frame.op !== 'hello') return this.#connection?.command?.(frame);
        if (this.readyState !== 1) return;
        this.#connection = world.attach(frame, this.#weather, (f) => this.readyState === 1 && this.onmessage?.({ data: JSON.stringify(f) }), () => this.#end());
      });
    }

    close(): void {
      this.readyState = 3;
      this.#connection?.cut(true);
    }

    #end(): void {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.onclose?.({ code: 1006, reason: '' });
    }
  } as unknown as typeof WebSocket;
}
