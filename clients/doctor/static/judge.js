// What observations mean: the same decisions as judge.go, ping.go and report.go, which say what each field is.
// testdata/judge.json holds both to it. Nothing here looks at the network or at a clock.

const denials = ['token_missing', 'token_refused', 'origin_refused', 'forbidden'];

/** words is findings.json; the result judges by it. */
export function judgeBy(words) {
  const found = (code, values = {}) => {
    const { severity, text } = words.findings[code];
    const told = Object.fromEntries(Object.entries(values).filter(([name]) => text.includes(`{${name}}`)));
    return { code, severity, text: fill(text, told), values: told };
  };

  /** denial is the code of the finding that the gateway lets nobody in like that, or nothing. */
  const denial = (o) => {
    if (o.code === 'unauthorized' || o.code === 'expired') return o.token ? 'token_refused' : 'token_missing';
    if (o.code === 'forbidden') return o.origin ? 'origin_refused' : 'forbidden';
    return undefined;
  };

  function judge(o) {
    const denied = denial(o);
    if (denied) return [found(denied, { detail: o.detail ?? '', origin: o.origin ?? '' })];
    const answer = judgeAnswer(o);
    if (answer) return o.probe === 'poll' && o.get_works ? [...answer, found('post_blocked')] : answer;
    if (o.probe === 'websocket') return judgeFrames(o);
    return o.probe === 'poll' ? judgePoll(o) : judgeStream(o);
  }

  function judgeAnswer(o) {
    const socket = o.probe === 'websocket';
    const one = (code) => [found(code, { status: o.status ?? 0, by: o.by ?? '', limit_ms: o.limit })];
    if (o.end === 'failed') return one('upgrade_failed');
    if (!o.status) {
      if (o.end === 'timeout') return one(socket ? 'upgrade_timeout' : o.probe === 'poll' ? 'request_timeout' : 'stream_silent');
      return one(socket ? 'upgrade_reset' : 'request_reset');
    }
    if (socket && o.code === 'bad_request' && o.status === 400) return one('upgrade_lost');
    if (o.code) return [found('refused', { detail: o.detail ?? '', code: o.code })];
    if (socket && o.status !== 101) return one('upgrade_blocked');
    if (o.forged) return one('upgrade_forged');
    return !socket && o.status !== 200 ? one('attach_status') : null;
  }

  function judgeStream(o) {
    const want = o.probe === 'sse' ? 'text/event-stream' : 'application/x-ndjson';
    const first = [];
    if ((o.type ?? '').split(';')[0].trim().toLowerCase() !== want) return [found('type_rewritten', { type: o.type || 'no type', want })];
    if (o.encoding && o.encoding !== 'identity') first.push(found('compressed', { encoding: o.encoding }));
    const cache = o.cache_control ?? '';
    if (!cache.includes('no-store') || !cache.includes('no-transform')) first.push(found('headers_rewritten', { cache_control: cache }));
    return [...first, ...judgeFrames(o)];
  }

  function judgeFrames(o) {
    const { welcome = 0, proof = 0 } = o;
    const values = {
      limit_ms: o.limit, opened_ms: o.opened ?? 0, welcome_ms: welcome, rtt_ms: o.rtt ?? 0,
      proof_ms: proof, late_ms: proof - welcome, ended_ms: o.ended ?? 0,
    };
    const one = (code) => [found(code, values)];
    if (o.end === 'damaged') return one('damaged');
    if (o.end === 'eof' || o.end === 'reset') return one('ended');
    if (!welcome) return one(o.probe === 'websocket' ? 'websocket_mute' : 'stream_held');
    if (!proof) return one('proof_missing');
    if (proof - welcome > words.limits.proof_ms) return one('proof_late');
    if (proof - welcome < words.limits.bunched_ms) return one('bunched');
    if (welcome > words.limits.welcome_ms) return one('slow');
    const kept = o.probe !== 'websocket' && o.rtt > 0 && welcome > 4 * o.rtt + words.limits.delayed_ms;
    return kept ? one('delayed') : [];
  }

  function judgePoll(o) {
    if (o.end) return [found('poll_partial')];
    return o.cached ? [found('poll_cached')] : [];
  }

  function judgeIdle(held, silent, o) {
    if (denial(o)) return judge(o); // as of a token that has expired meanwhile
    const lives = o.end === 'timeout' || (o.probe === 'poll' && o.welcome > 0); // a poll ends by itself
    return [found(lives ? 'idle_held' : 'idle_cut', { held_ms: held, silent_ms: silent })];
  }

  function judgePong(p) {
    const values = { status: p.status ?? 0, type: p.type || 'no type', by: p.by ?? '', target: p.target || words.labels.hidden };
    if (p.status === 200 && p.fairlead) return [];
    if (p.code === 'forbidden') return [found('forbidden', { detail: p.detail ?? '' })];
    if (p.code) return [found('refused', { detail: p.detail ?? '', code: p.code })];
    if (p.target && p.samehost) return [found('redirected', values)];
    if (p.target || p.status === 511) return [found('portal', values)];
    if (p.status >= 502 && p.status <= 504) return [found('upstream_down', values)];
    return [found('other_server', values)];
  }

  /** probe is what a report says of one probe. */
  function probe(name, times, findings) {
    const ok = !findings.some(({ severity }) => severity === 'bad');
    const known = Object.fromEntries(Object.entries(times).filter(([, ms]) => ms > 0));
    return { probe: name, ok, text: ok ? fill(words.probes[name].ok, times) : '', ...known, findings };
  }

  const skipped = (name) => ({ probe: name, ok: false, skipped: true, text: words.labels.skipped, findings: [] });

  /** conclude is the report that follows from the probes. */
  function conclude(about, probes) {
    const transport = words.ladder.find((name) => probes.some((p) => p.probe === name && p.ok)) ?? '';
    const codes = new Set(probes.flatMap((p) => p.findings).flatMap(({ code }) => words.findings[code].advice ?? []));
    return {
      doctor: 1, client: 'browser', ...about, works: transport !== '', transport,
      rtt_ms: probes.find((p) => p.probe === 'reach')?.rtt_ms ?? 0, probes,
      advice: [...codes].map((code) => ({ code, ...words.advice[code] })),
    };
  }

  /** denied tells whether the gateway let nobody in, so that the transports are not known. */
  const denied = ({ works, probes }) => !works && probes.some((p) => p.findings.some(({ code }) => denials.includes(code)));

  return { found, judge, judgeIdle, judgePong, probe, skipped, conclude, denied };
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? show(name, values[name]) : whole));
}

function show(name, value) {
  if (name === 'by') return value === '' ? '' : `, from ${clean(value)}`;
  if (typeof value !== 'number') return clean(value);
  if (!name.endsWith('_ms')) return String(value);
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** clean is what others sent, fit for one line. */
function clean(text) {
  const runes = [...String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '')];
  return runes.length > 200 ? `${runes.slice(0, 200).join('')}…` : runes.join('');
}
