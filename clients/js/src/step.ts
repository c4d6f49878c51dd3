import type { FairleadError } from './error.ts';
import type { Transport } from './frame.ts';
import { climbable, deadline, due, free, heldAt, ladder, line, mainOf, replaced, unknown, type Attempt, type End, type Link, type OfflineEvent, type Remembered, type State, type StateEvent, type SwitchEvent, type TransportEvent } from './link.ts';
import { longest } from './policy.ts';

/**
 * Which transports to try, when, which one to trust, and when to give it up, as a pure machine: step(link, event) gives the
 * next state and what to do. It reads no clock and rolls no dice: events bring `now` (monotonic milliseconds) and `random`
 * (in [0, 1)). The driver attaches and detaches as told, reports what happens, and sends `tick` at deadline(link).
 */
export function step(link: Link, event: Event): [Link, Effect[]] {
  const m: Move = { ...link, now: event.now, random: event.random, attempts: link.attempts.map((a) => ({ ...a })), effects: [] };
  const attempt = 'attempt' in event ? m.attempts.find((a) => a.id === event.attempt) : undefined;
  if (link.phase !== 'closed' && (attempt || !('attempt' in event))) happen(m, event, attempt as Attempt);
  const { effects, ...next } = m;
  return [next, effects];
}

/** What happens to a link. */
export type Event = { readonly now: number; readonly random: number } & (
  | { readonly type: 'start'; readonly net?: string | undefined; readonly remembered?: Remembered | undefined }
  /** `stop`: something else serves for now; `start` goes on. */
  | { readonly type: 'close' | 'reconnect' | 'stop' }
  /** Something has changed: perhaps the network, perhaps only the page. */
  | { readonly type: 'online' | 'visible' }
  /** When anything, and when a beat, came on each attempt last. */
  | { readonly type: 'tick'; readonly heard: Readonly<Record<number, number>>; readonly told?: Readonly<Record<number, number>> }
  | Welcomed
  | { readonly type: 'proof'; readonly attempt: number }
  /** Something came on an attempt that is watched(). */
  | { readonly type: 'spoke'; readonly attempt: number }
  /** Something that should have been answered was not. */
  | { readonly type: 'doubt'; readonly attempt: number; readonly reason: string }
  | { readonly type: 'goaway'; readonly attempt: number; readonly after: number }
  /** `heard`: when anything came on it last. */
  | { readonly type: 'ended'; readonly attempt: number; readonly end: End; readonly heard?: number }
  | { readonly type: 'pong'; readonly end?: End }
);

interface Welcomed {
  readonly type: 'welcome';
  readonly attempt: number;
  readonly beat: number;
  readonly offered?: readonly Transport[];
  readonly net?: string | undefined;
  readonly remembered?: Remembered | undefined;
}

export type Effect =
  | { readonly type: 'attach'; readonly attempt: number; readonly transport: Transport; readonly beat: number | null }
  /** `bye`: tell the server, if there is a way to. */
  | { readonly type: 'detach'; readonly attempt: number; readonly bye: boolean }
  /** Make the server speak on it. */
  | { readonly type: 'ask'; readonly attempt: number }
  /** Ask whether anything answers, for at most so long: `pong`. */
  | { readonly type: 'ping'; readonly limit: number }
  | ({ readonly type: 'remember'; readonly net: string; readonly good: Transport } & Remembered)
  /** The rest is for the application. */
  | { readonly type: 'state'; readonly event: StateEvent }
  | { readonly type: 'transport'; readonly event: TransportEvent }
  | { readonly type: 'switch'; readonly event: SwitchEvent }
  | { readonly type: 'offline'; readonly event: OfflineEvent }
  | { readonly type: 'error'; readonly event: FairleadError };

/** No round trip is taken to be slower: what takes longer slept with its page. */
const slowest = 2_000;

/** A link in the middle of a step, and what is to be done so far. The functions below change it. */
type Move = Link & { effects: Effect[] };

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
    case 'reconnect':
      if (m.phase === 'idle') return;
      drop(m, () => true);
      m.reason = 'reconnect';
      m.spare = 0;
      return race(m);
    case 'online':
    case 'visible':
      return nudge(m, event.type === 'online');
    case 'tick':
      return tick(m, event.heard, event.told ?? event.heard);
    case 'welcome':
      return welcome(m, a, event);
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
  if (since < calm || m.spare > m.now || m.phase === 'idle') return;
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

function welcome(m: Move, a: Attempt, { beat, offered, net, remembered }: Welcomed): void {
  m.trip = Math.min(m.trip || slowest, (m.now - a.began) / 2);
  m.offered = offered ?? m.offered;
  a.beat = beat;
  if (a.stage !== 'opening') return;
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
  m.reported = [];
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
    // Unless it has just come back, only the transports fail, and the next race need not be hurried.
    if (!m.offline) return wait(m);
    m.offline = false;
    return race(m);
  }
  resort(m);
}

/** Something answers: what is tried last is tried now. */
function resort(m: Move): void {
  m.offline = false;
  m.phase = 'open';
  m.queue = m.queue.map(({ transport }, i) => ({ transport, at: m.now + i * m.policy.stagger }));
  begin(m);
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

/** Gives it up, as if it had ended so. */
function give(m: Move, a: Attempt, end: End): void {
  m.effects.push({ type: 'detach', attempt: a.id, bye: false });
  ended(m, a, end);
}

function ended(m: Move, a: Attempt, end: End): void {
  m.attempts = m.attempts.filter((b) => b !== a);
  const main = mainOf(m);
  if (main && !replaced(main)) return missed(m, a, end);
  heed(m, end);
  if (a.leave < Infinity) m.spare = Math.max(m.spare, a.leave);
  if (a.stage === 'main') lost(m, a, end);
  else failed(m, a, end, main);
}

/** The one that served is gone. */
function lost(m: Move, a: Attempt, end: End): void {
  const { policy } = m;
  const lived = m.now - a.since;
  m.reason = `${a.transport}: ${end.reason}`;
  if (lived >= policy.lived) m.alive = m.now;
  if (lived >= policy.healthy) m.failures = 0;
  if (lived >= policy.settled) rung(m, a.transport, { climbs: 0 });
  if (end.kind === 'dropped') strike(m, a);
  if (!trying(m)) return wait(m, lived >= policy.lived ? policy.jitter : undefined);
  // Others are at it already, or, climbing, are to be joined.
  tell(m, 'connecting', m.reason);
  if (replaced(a)) begin(m);
  else compete(m, m.reason);
}

/** An unclean death: of an idle connection, or of a transport that dies young, again and again. */
function strike(m: Move, a: Attempt): void {
  const { leastBeat } = m.policy;
  const { transport } = a;
  const idle = m.now - a.heard;
  if (idle >= leastBeat / 2 && idle < a.beat) m.beat = Math.max(leastBeat, Math.min(m.beat ?? Infinity, Math.round(idle / 2)));
  // There is nothing below the last.
  if (m.now - a.began >= Math.max(2 * a.beat, m.policy.young) || transport === ladder(m).at(-1)) return;
  const strikes = [...struck(m, transport), m.now];
  rung(m, transport, { strikes });
  if (strikes.length >= m.policy.strikes) suspect(m, transport);
}

/** Its strikes that still count. */
function struck(m: Move, t: Transport): readonly number[] {
  return m.rungs[t].strikes.filter((at) => m.now - at < m.policy.strikeWindow);
}

/** A better one was tried beside the one that serves, in vain. */
function missed(m: Move, { transport }: Attempt, end: End): void {
  const { climbs, bad } = m.rungs[transport];
  later(m, transport, climbs, end.retryAfter);
  rung(m, transport, { bad: bad || end.kind !== 'server' });
  remember(m);
  hurry(m);
}

/** An attempt came to nothing, and none serves, or one that others were to replace. */
function failed(m: Move, a: Attempt, end: End, main: Attempt | undefined): void {
  const { transport } = a;
  // What has carried us before is not called blocked because nothing answers just now.
  if (end.kind !== 'server' && (end.kind !== 'refused' || m.last !== transport || main)) suspect(m, transport);
  if (!main) m.reason = `${transport}: ${end.reason}`;
  hurry(m);
  if (m.attempts.some((b) => b.stage !== 'main') || m.queue.some((s) => s.at < Infinity)) return;
  if (main) {
    // In vain: the one that serves goes on, and is to be left again later.
    if (main.leaving) main.leave = m.now + m.policy.cap;
    main.leaving = main.held = false;
    main.told = m.now;
    m.suspects = [];
    return plan(m);
  }
  // Where nothing works nothing was learned.
  m.suspects = [];
  if (end.kind === 'server' && m.queue.length > 0) resort(m);
  else if (end.kind === 'server' && (end.error || m.spare > m.now)) wait(m);
  else if (m.offline && m.queue.length === 0) away(m, end);
  else probe(m);
}

/** Begins the next one now, and the rest as long after it as before. */
function hurry(m: Move): void {
  const at = m.queue[0]?.at ?? 0;
  const early = at - Math.max(m.now, free(m));
  // Not what waits because the server asked for it.
  if (at !== m.spare && early > 0 && early < Infinity) postpone(m, -early);
  begin(m);
}

function postpone(m: Move, by: number): void {
  m.queue = m.queue.map((s) => ({ ...s, at: s.at + by }));
}

/** Whether others than the main one are being tried, or about to be. */
function trying(m: Move): boolean {
  return m.queue.length > 0 || m.attempts.some((a) => a.stage !== 'main');
}

/** It is tried again after a while, each time a longer one. */
function later(m: Move, t: Transport, climbs: number, least = 0): void {
  const { climbs: all } = m.policy;
  rung(m, t, { climbs: climbs + 1, next: m.now + Math.max(all[Math.min(climbs, all.length - 1)] ?? Infinity, Math.min(least, longest)) });
}

/** What failed while this one was proven is bad, and what is better is tried again later. */
function learn(m: Move, a: Attempt): void {
  for (const t of m.suspects) rung(m, t, { bad: true, next: Infinity });
  m.suspects = [];
  rung(m, a.transport, { bad: false, next: Infinity });
  plan(m);
  remember(m);
}

/** Whatever is better than what serves will be tried again. */
function plan(m: Move): void {
  for (const t of climbable(m)) if (m.rungs[t].next === Infinity) later(m, t, m.rungs[t].climbs);
}

function remember(m: Move): void {
  const { net, good, beat } = m;
  if (net === null || !good) return;
  m.effects.push({ type: 'remember', net, good, bad: m.policy.ladder.filter((t) => m.rungs[t].bad), ...(beat !== null && { beat }) });
}

function recall(m: Move, remembered: Remembered | undefined): void {
  if (!remembered) return;
  for (const t of remembered.bad) if (t in m.rungs) rung(m, t, { bad: true });
  m.good ??= remembered.good ?? null;
  m.beat = remembered.beat ?? m.beat;
}

/** This may be another network. */
function forget(m: Move): void {
  m.rungs = unknown();
  m.suspects = [];
  m.beat = null;
  m.trip = 0;
  for (const t of climbable(m)) rung(m, t, { next: m.now });
}

/** Begins a race from nothing. */
function race(m: Move): void {
  m.phase = 'open';
  tell(m, 'connecting', m.reason);
  compete(m, m.reason);
}

/** Begins a race, beside the one that serves if there is one. */
function compete(m: Move, reason: string): void {
  m.reason = reason;
  m.tried = m.now;
  m.queue = line(m).filter((s) => !m.attempts.some((a) => a.stage !== 'main' && a.transport === s.transport));
  begin(m);
}

/** Begins what is due of the race. What is to be tried last is due when one serves, and nothing else is under way. */
function begin(m: Move): void {
  const last = (): boolean => mainOf(m) !== undefined && !m.attempts.some((a) => a.stage !== 'main');
  for (let [first] = m.queue; first && (first.at <= m.now || (first.at === Infinity && last())); [first] = m.queue) {
    m.queue = m.queue.slice(1);
    attach(m, first.transport);
  }
}

function climb(m: Move): void {
  for (const t of climbable(m)) {
    if (m.rungs[t].next > m.now) continue;
    rung(m, t, { next: Infinity });
    m.reason ||= 'climbing back';
    attach(m, t);
  }
}

function attach(m: Move, transport: Transport): void {
  const { now } = m;
  const id = ++m.count;
  m.begun = [...m.begun, now].slice(-m.policy.most);
  m.attempts = [
    ...m.attempts,
    { id, transport, began: now, stage: 'opening', since: now, heard: now, told: now, beat: Infinity, asked: Infinity, leave: Infinity, doubted: false, held: false, leaving: false },
  ];
  m.effects.push({ type: 'attach', attempt: id, transport, beat: m.beat });
}

/** Asks whether anything answers: otherwise it is the network that is away. */
function probe(m: Move): void {
  const limit = Math.min(Math.max(1_000, 4 * m.trip) * (m.offline ? 2 ** Math.min(m.failures, 2) : 1), 5_000);
  m.phase = 'probing';
  m.until = m.now + limit;
  m.effects.push({ type: 'ping', limit });
}

/** Nothing answers: nothing is held against any transport. */
function away(m: Move, end: End): void {
  heed(m, end);
  m.reason = end.reason;
  if (!m.offline) m.effects.push({ type: 'offline', event: { reason: m.reason } });
  m.offline = true;
  m.queue = [];
  m.suspects = [];
  for (const t of ladder(m)) rung(m, t, { strikes: [] });
  wait(m);
}

/** `most`: instead of what the failures make it. */
function wait(m: Move, most?: number): void {
  const { base, cap, soon, brief } = m.policy;
  const early = m.now - m.alive < soon;
  const asked = Math.max(m.spare - m.now, 0);
  const ceiling = most ?? Math.min(base * 2 ** Math.min(m.failures, 20), early && asked === 0 ? brief : cap);
  // Clients that were all told the same time must not all come back at the same time.
  const retryIn = m.random * ceiling + asked * (1 + m.random / 10);
  if (most === undefined && !(early && m.offline)) m.failures++;
  if (m.trouble && !m.reported.includes(m.trouble.code)) {
    m.effects.push({ type: 'error', event: m.trouble });
    m.reported = [...m.reported, m.trouble.code];
  }
  m.trouble = undefined;
  m.phase = 'waiting';
  m.until = m.now + retryIn;
  tell(m, m.offline ? 'offline' : 'waiting', m.reason, Math.round(retryIn));
}

/** Drops the attempts and starts that are no better than this one. */
function keep(m: Move, a: Attempt): void {
  m.queue = m.queue.filter((s) => s.at < Infinity && better(m, s.transport, a));
  drop(m, (b) => b !== a && (b.stage === 'main' || !better(m, b.transport, a)));
}

function drop(m: Move, which: (a: Attempt) => boolean): void {
  for (const a of m.attempts) if (which(a)) m.effects.push({ type: 'detach', attempt: a.id, bye: a.stage !== 'opening' });
  m.attempts = m.attempts.filter((a) => !which(a));
}

/** What the server, or whatever answered for it, says. It is told to the application if nothing else works either. */
function heed(m: Move, { error, retryAfter }: End): void {
  if (retryAfter !== undefined) m.spare = m.now + Math.min(retryAfter, longest);
  m.trouble = error ?? m.trouble;
}

function tell(m: Move, state: State, reason: string, retryInMs?: number): void {
  m.effects.push({ type: 'state', event: { state, reason, ...(retryInMs !== undefined && { retryInMs }) } });
}

function better({ policy }: Move, t: Transport, than: Attempt): boolean {
  return policy.ladder.indexOf(t) < policy.ladder.indexOf(than.transport);
}

function suspect(m: Move, t: Transport): void {
  m.suspects = [...m.suspects.filter((s) => s !== t), t];
}

function rung(m: Move, t: Transport, fields: Partial<Link['rungs'][Transport]>): void {
  m.rungs = { ...m.rungs, [t]: { ...m.rungs[t], ...fields } };
}
