import { demand, granted, renew, renewed } from './grant.ts';
import { forget, learn, plan, recall } from './lesson.ts';
import { slowest } from './limits.ts';
import { type Attempt, climbable, deadline, due, type End, heldAt, type Link, mainOf, replaced, unknown } from './link.ts';
import { ended, give, strike, struck } from './loss.ts';
import { better, drop, type Effect, type Event, keep, type Move, rung, suspect, tell, type Welcomed } from './move.ts';
import { longest } from './policy.ts';
import { begin, climb, compete, given, postpone, race, resort } from './race.ts';
import { away, probe, wait } from './wait.ts';

/**
 * Which transports to try, when, which one to trust, and when to give it up, as a pure machine: step(link, event) gives the
 * next state and what to do. It reads no clock and rolls no dice: events bring `now` (monotonic milliseconds) and `random`
 * (in [0, 1)). The driver attaches and detaches as told, reports what happens, and sends `tick` at deadline(link).
 */
export function step(link: Link, event: Event): [Link, Effect[]] {
  const m: Move = { ...link, now: event.now, random: event.random, lacking: event.lacking, attempts: link.attempts.map((a) => ({ ...a })), effects: [] };
  const attempt = 'attempt' in event ? m.attempts.find((a) => a.id === event.attempt) : undefined;
  if (link.phase !== 'closed' && (attempt || !('attempt' in event))) happen(m, event, attempt as Attempt);
  const { effects, ...next } = m;
  return [next, effects];
}

function happen(m: Move, event: Event, a: Attempt): void {
  switch (event.type) {
    case 'start':
      if (m.phase !== 'idle') return;
      m.alive = m.now;
      m.net = event.net ?? null;
      recall(m, event.remembered);
      return race(m);
    case 'close':
      drop(m, () => true);
      m.phase = 'closed';
      return tell(m, 'closed', 'closed');
    case 'stop':
      drop(m, () => true);
      m.phase = 'idle';
      return;
    case 'refresh':
    case 'reconnect':
      m.asking = false; // what was, was another
      if (m.phase === 'idle') return;
      m.wasted = m.reported = [];
      m.denied = false;
      if (event.type === 'refresh' && mainOf(m)) return renew(m);
      drop(m, () => true);
      if (event.type === 'reconnect') m.rungs = unknown();
      m.suspects = [];
      m.reason = event.type;
      m.spare = 0;
      return race(m);
    case 'given':
      return given(m);
    case 'renewed':
      return renewed(m, event.expires, event.error);
    case 'stale':
      return demand(m);
    case 'online':
    case 'visible':
      return nudge(m, event.type === 'online');
    case 'tick':
      return tick(m, event.heard, event.told ?? event.heard);
    case 'welcome':
      return welcome(m, a, event);
    case 'beat':
      a.beat = event.beat;
      return;
    case 'proof':
      return proof(m, a);
    case 'spoke':
      return spoke(m, a);
    case 'doubt':
      return doubt(m, a, event.reason);
    case 'goaway':
      a.leave = m.now + Math.min(Math.max(event.after, 0), longest);
      return;
    case 'ended':
      a.heard = Math.max(a.heard, event.heard ?? 0);
      return ended(m, a, event.end);
    case 'pong':
      return pong(m, event.end);
  }
}

/** Online: another network, perhaps: what the last one blocked says nothing about it. */
function nudge(m: Move, online: boolean): void {
  const { calm } = m.policy;
  const since = m.now - m.tried;
  const main = mainOf(m);
  if (since < calm || m.spare > m.now || m.phase === 'idle' || m.phase === 'refused') return;
  if (online) forget(m);
  if (!main) {
    if (m.phase === 'open' && !online) return;
    // What hangs on the old network would hang for long.
    drop(m, () => true);
    return race(m);
  }
  m.tried = m.now;
  if (!main.doubted) main.asked = m.now + Math.max(m.policy.answer, 2 * m.trip);
  m.effects.push({ type: 'ask', attempt: main.id });
  // Some turn to a page and away again all day.
  if (since < 10 * calm) return;
  for (const t of climbable(m)) rung(m, t, { next: m.now });
  climb(m);
}

function welcome(m: Move, a: Attempt, { beat, offered, net, remembered, expires }: Welcomed): void {
  m.denied = false;
  granted(m, expires);
  if (a.stage !== 'opening') return;
  m.trip = Math.min(m.trip || slowest, (m.now - a.began) / 2);
  m.offered = offered ?? m.offered;
  a.beat = beat;
  a.stage = 'welcomed';
  a.since = a.heard = m.now;
  // It is about to be proven: the next one need not begin before that is overdue.
  const early = m.now + 2 * m.policy.stagger - (m.queue[0]?.at ?? Infinity);
  if (a.transport !== 'poll' && early > 0) postpone(m, early);
  if (net === undefined || net === m.net) return;
  if (m.net !== null) forget(m);
  m.net = net;
  recall(m, remembered);
}

function proof(m: Move, a: Attempt): void {
  const main = mainOf(m);
  const { transport } = a;
  const { last, reason } = m;
  if (a.stage !== 'welcomed') return;
  // Another one is trusted already: what is no better is not wanted.
  if (main && !replaced(main) && !better(m, transport, main)) return drop(m, (b) => b === a);
  a.stage = 'main';
  a.since = a.heard = a.told = m.now;
  // It died of silence, though the network was there.
  if (main?.doubted) strike(m, main);
  keep(m, a);
  m.last = m.good = transport;
  learn(m, a);
  m.offline = false;
  m.spare = 0;
  m.reason = '';
  m.trouble = undefined;
  if (transport !== last) m.effects.push({ type: 'transport', event: { transport, from: last, reason } });
  if (main) m.effects.push({ type: 'switch', event: { from: main.transport, to: transport, reason } });
  else tell(m, 'connected', reason);
}

/** It is alive: what was to take its place is not needed, unless it is better. */
function spoke(m: Move, a: Attempt): void {
  a.heard = a.told = m.now;
  a.asked = Infinity;
  if (!a.doubted) return;
  a.doubted = false;
  if (replaced(a)) return;
  keep(m, a);
  m.suspects = [];
  m.reason = '';
  plan(m);
}

/** Tries others beside the one that serves. */
function doubt(m: Move, a: Attempt, reason: string): void {
  if (a.stage !== 'main' || a.doubted) return;
  a.doubted = true;
  a.asked = Infinity;
  // Silent for a beat, again: this time others first.
  if (m.now - a.heard >= a.beat && struck(m, a.transport).length + 1 >= m.policy.strikes) suspect(m, a.transport);
  if (!a.leaving) compete(m, `${a.transport}: ${reason}`);
}

function pong(m: Move, end: End | undefined): void {
  if (m.phase !== 'probing') return;
  if (end) return away(m, end);
  if (m.queue.length === 0) {
    // Unless it has just come back, only the transports fail, and the next race need not be hurried. Browsers do not say that an
    // origin is not listed: only the ping, which is for every page, is answered then.
    if (!m.offline) return wait(m, undefined, ', but pings pass: is this origin listed?');
    m.offline = false;
    return race(m);
  }
  resort(m);
}

function tick(m: Move, heard: Readonly<Record<number, number>>, told: Readonly<Record<number, number>>): void {
  const at = deadline(m);
  if (m.now < at) return;
  // Something may stop pings and nothing else: later, and less often, all is tried.
  if (m.phase === 'waiting') return m.offline && m.now - m.alive < m.policy.soon ? probe(m) : race(m);
  if (m.phase === 'probing') return away(m, { kind: 'refused', reason: 'nothing answers' });
  for (const a of m.attempts) {
    a.heard = Math.max(a.heard, heard[a.id] ?? 0);
    a.told = Math.max(a.told, told[a.id] ?? 0);
  }
  for (const a of m.attempts) if (m.attempts.includes(a) && m.now >= due(m, a)) overdue(m, a, m.now - at > m.policy.frozen);
  if (m.now >= m.renewal && mainOf(m)) renew(m);
  begin(m);
  climb(m);
}

/** `frozen`: with its page, it had no chance. */
function overdue(m: Move, a: Attempt, frozen: boolean): void {
  if (a.stage !== 'main') {
    const reason = frozen ? 'the page was frozen' : `no ${a.stage === 'opening' ? 'welcome' : 'proof'} in time`;
    return give(m, a, { kind: frozen ? 'server' : 'blocked', reason });
  }
  if (!a.leaving && m.now >= a.leave) {
    a.leaving = true;
    return compete(m, 'the server asked to move');
  }
  const reason = `silent for ${Math.round(m.now - a.heard)} ms`;
  // It may speak up yet.
  if (frozen) {
    a.heard = Math.max(a.heard, m.now - a.beat);
    a.told = m.now;
  }
  if (!a.held && !a.doubted && m.now >= heldAt(m, a)) {
    a.held = true;
    suspect(m, a.transport);
    compete(m, `${a.transport}: held back`);
  } else if (!a.doubted) doubt(m, a, reason);
  else if (!frozen) give(m, a, { kind: 'dropped', reason });
}
