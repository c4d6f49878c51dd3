import type { FairleadError } from './error.ts';
import type { Transport } from './frame.ts';

/**
 * Which transport to try, when, and when to give one up, as a pure machine: step(policy, state, event) gives the next
 * state and what to do. It reads no clock and rolls no dice: events bring `now` (monotonic milliseconds) and `random`
 * (in [0, 1)). The driver attaches and detaches as told, reports what happens, and sends `tick` at deadline(state).
 *
 * A transport is trusted (phase `live`) when it has been welcomed and proven, PROTOCOL.md section 2.1.
 */

/** Times are milliseconds. */
export interface Policy {
  ladder: readonly Transport[];
  /** For a welcome, from the start of an attempt. */
  welcome: number;
  /** The same on the last resort, the poll: the slowest network that works at all must get through. */
  pollWelcome: number;
  /** For the proof, from the welcome. */
  proof: number;
  /** Full jitter: a wait is random up to base * 2^failures, and never more than cap. */
  base: number;
  cap: number;
  /** The longest wait after a drop of a proven transport: the server is there, so it need not be spared for long. */
  dropCap: number;
  /** The longest wait before the first reconnect after a drop: spreads the clients of a node that died. */
  jitter: number;
  /** A transport that lived this long was healthy: the next drop starts from no failures. */
  healthy: number;
  /** For how long a transport that was found blocked is tried last. */
  blocked: number;
  /** Online and visible events closer to the last attempt than this change nothing, and an attachment that was sent away
   *  sooner than this failed. */
  calm: number;
}

export const defaults: Policy = {
  ladder: ['websocket', 'sse', 'poll'],
  welcome: 2_000,
  pollWelcome: 10_000,
  proof: 1_500,
  base: 500,
  cap: 30_000,
  dropCap: 5_000,
  jitter: 100,
  healthy: 30_000,
  blocked: 120_000,
  calm: 1_000,
};

/** The longest that a server may send a client away for. */
const longest = 300_000;

/** How an attempt or attachment ended. */
export interface End {
  /**
   * `refused`: nothing answered. `blocked`: something on the way, or what answered, does not carry this transport.
   * `server`: the server said no, which says nothing against the transport. `dropped`: it worked, and broke off.
   */
  kind: 'refused' | 'blocked' | 'server' | 'dropped';
  reason: string;
  error?: FairleadError;
  /** The server asks to be left alone for so long. */
  retryAfter?: number | undefined;
}

interface Common {
  /** Counts attempts; events of an earlier one are stale. */
  readonly attempt: number;
  readonly began: number;
  /** Attempts in a row that came to nothing, or that did not stay healthy. */
  readonly failures: number;
  /** The transport proven last. */
  readonly last: Transport | null;
  readonly proven: readonly Transport[];
  /** When each transport was found blocked while another worked. */
  readonly blocked: Readonly<Partial<Record<Transport, number>>>;
  /** Found blocked since the last proof: confirmed when another is proven, forgotten when none is. */
  readonly suspects: readonly Transport[];
  /** What the server offers, once it has said so. */
  readonly offered: readonly Transport[] | null;
  readonly reason: string;
  /** The errors that were reported since something worked: they are not repeated. */
  readonly reported: readonly string[];
}

export type Link = Common &
  (
    | { readonly phase: 'idle' | 'closed' }
    | {
        readonly phase: 'attaching';
        readonly transport: Transport;
        readonly rest: readonly Transport[];
        readonly until: number;
        readonly beat: number;
        readonly leave: number | null;
      }
    | {
        readonly phase: 'live';
        readonly transport: Transport;
        readonly beat: number;
        readonly since: number;
        readonly until: number;
        readonly leave: number | null;
      }
    // `forced`: the server named the time, so nothing shortens it.
    | { readonly phase: 'waiting'; readonly until: number; readonly forced: boolean }
  );

interface At {
  readonly now: number;
  readonly random: number;
}

/** What happens to a link. */
export type Event = At &
  (
    | { readonly type: 'start' | 'online' | 'visible' | 'reconnect' | 'close' }
    | { readonly type: 'tick'; /** When anything arrived last. */ readonly heard: number }
    | { readonly type: 'welcome'; readonly attempt: number; readonly beat: number; readonly offered?: readonly Transport[] }
    | { readonly type: 'proof'; readonly attempt: number }
    | { readonly type: 'goaway'; readonly attempt: number; readonly after: number }
    | { readonly type: 'ended'; readonly attempt: number; readonly end: End }
  );

export type Effect =
  | { readonly type: 'attach'; readonly attempt: number; readonly transport: Transport }
  /** `bye`: tell the server, if there is a way to. */
  | { readonly type: 'detach'; readonly bye: boolean }
  /** The rest is for the application. */
  | { readonly type: 'state'; readonly event: StateEvent }
  | { readonly type: 'transport'; readonly event: TransportEvent }
  | { readonly type: 'error'; readonly event: FairleadError };

/** `waiting`: for the next attempt. */
export type State = 'connecting' | 'connected' | 'waiting' | 'closed';

export interface StateEvent {
  readonly state: State;
  /** What led to it, for people. */
  readonly reason: string;
  readonly retryInMs?: number;
}

/** Another transport than the last one has been proven. */
export interface TransportEvent {
  readonly transport: Transport;
  readonly from: Transport | null;
  readonly reason: string;
}

export type Step = [Link, Effect[]];

export function initial(): Link {
  return {
    phase: 'idle', attempt: 0, began: -Infinity, failures: 0, last: null, proven: [], blocked: {}, suspects: [], offered: null, reason: '', reported: [],
  };
}

/** When the machine wants its next tick; null for never. */
export function deadline(link: Link): number | null {
  if (isAttached(link)) return Math.min(link.until, link.leave ?? Infinity);
  return link.phase === 'waiting' ? link.until : null;
}

/** The transports to try, in order, if a pass began now. */
export function order(policy: Policy, link: Link, now: number): Transport[] {
  const offered = policy.ladder.filter((t) => link.offered?.includes(t) ?? true);
  const ladder = offered.length > 0 ? offered : [...policy.ladder];
  const open = ladder.filter((t) => !(now - (link.blocked[t] ?? -Infinity) < policy.blocked));
  return [...open, ...ladder.filter((t) => !open.includes(t))];
}

export function step(policy: Policy, link: Link, event: Event): Step {
  if (link.phase === 'closed') return [link, []];
  if ('attempt' in event && (event.attempt !== link.attempt || !isAttached(link))) return [link, []];
  switch (event.type) {
    case 'start':
      return link.phase === 'idle' ? pass(policy, link, event.now, []) : [link, []];
    case 'close':
      return [{ ...link, phase: 'closed' }, [{ type: 'detach', bye: true }, state('closed', 'closed')]];
    case 'reconnect':
      return pass(policy, { ...link, reason: 'reconnect' }, event.now, [{ type: 'detach', bye: true }]);
    case 'online':
      // Another network, perhaps: what the last one blocked says nothing about it.
      return again(policy, { ...link, blocked: {} }, event);
    case 'visible':
      return again(policy, link, event);
    case 'welcome':
      return link.phase === 'attaching' ? welcome(policy, link, event) : [link, []];
    case 'proof':
      return link.phase === 'attaching' ? proof(link, event) : [link, []];
    case 'goaway':
      return goaway(link, event);
    case 'ended':
      return ended(policy, link, event, event.end, []);
    case 'tick':
      return tick(policy, link, event);
  }
}

function state(state: State, reason: string): Effect {
  return { type: 'state', event: { state, reason } };
}

function isAttached(link: Link): link is Of<'attaching' | 'live'> {
  return link.phase === 'attaching' || link.phase === 'live';
}

type Of<P extends Link['phase']> = Extract<Link, { phase: P }>;
type On<T extends Event['type']> = Extract<Event, { type: T }>;

/** Begins a pass down the ladder. */
function pass(policy: Policy, link: Link, now: number, effects: Effect[]): Step {
  return attach(policy, { ...link, suspects: [] }, order(policy, link, now), now, [...effects, state('connecting', link.reason)]);
}

function attach(policy: Policy, link: Link, [transport, ...rest]: readonly Transport[], now: number, effects: Effect[]): Step {
  if (transport === undefined) return [link, effects];
  const attempt = link.attempt + 1;
  const until = now + (transport === 'poll' ? policy.pollWelcome : policy.welcome);
  return [
    { ...link, phase: 'attaching', attempt, began: now, transport, rest, until, beat: Infinity, leave: null },
    [...effects, { type: 'attach', attempt, transport }],
  ];
}

function welcome(policy: Policy, link: Of<'attaching'>, event: On<'welcome'>): Step {
  const until = event.now + policy.proof;
  // A poll that is whole is proof enough and comes with no beat: each of its requests has its own limit.
  const beat = link.transport === 'poll' ? Infinity : event.beat;
  return [{ ...link, until, beat, offered: event.offered ?? link.offered }, []];
}

function proof(link: Of<'attaching'>, { now }: At): Step {
  const { transport, beat, leave } = link;
  const blocked: Partial<Record<Transport, number>> = { ...link.blocked };
  for (const each of link.suspects) blocked[each] = now;
  delete blocked[transport];
  const effects = [state('connected', link.reason)];
  if (transport !== link.last) effects.unshift({ type: 'transport', event: { transport, from: link.last, reason: link.reason } });
  return [
    {
      ...link, phase: 'live', transport, beat, leave, since: now, until: now + 1.5 * beat, blocked, suspects: [], last: transport,
      proven: [...new Set([...link.proven, transport])], reason: '', reported: [],
    },
    effects,
  ];
}

function goaway(link: Link, event: On<'goaway'>): Step {
  if (!isAttached(link)) return [link, []];
  const after = Math.min(Math.max(event.after, 0), longest);
  return [{ ...link, leave: event.now + after, reason: 'the server asked to move' }, []];
}

/** Ends a wait that is our own. */
function again(policy: Policy, link: Link, event: At): Step {
  const calm = event.now - link.began >= policy.calm;
  return link.phase === 'waiting' && !link.forced && calm ? pass(policy, link, event.now, []) : [link, []];
}

function tick(policy: Policy, link: Link, event: On<'tick'>): Step {
  const at = deadline(link);
  if (at === null || event.now < at) return [link, []];
  if (link.phase === 'waiting') return pass(policy, link, event.now, []);
  if (!isAttached(link)) return [link, []];
  if (link.leave !== null && event.now >= link.leave) return leave(policy, link, event);
  const gone: Effect = { type: 'detach', bye: false };
  if (link.phase === 'attaching') {
    const reason = link.beat === Infinity ? 'no welcome in time' : 'no proof in time';
    return ended(policy, link, event, { kind: 'blocked', reason }, [gone]);
  }
  const until = event.heard + 1.5 * link.beat;
  if (until > event.now) return [{ ...link, until }, []];
  return ended(policy, link, event, { kind: 'dropped', reason: 'silent for too long' }, [gone]);
}

/** Leaves as the server asked, with no penalty unless it sent us away as soon as we came. */
function leave(policy: Policy, link: Of<'attaching' | 'live'>, event: At): Step {
  const effects: Effect[] = [{ type: 'detach', bye: true }];
  if (event.now - link.began >= policy.calm) return pass(policy, link, event.now, effects);
  return wait(policy, link, event, { ceiling: policy.cap, reason: link.reason }, effects);
}

function ended(policy: Policy, link: Link, event: At, end: End, effects: Effect[]): Step {
  if (!isAttached(link)) return [link, effects];
  const { error } = end;
  const news = error && !link.reported.includes(error.message);
  if (news) effects = [...effects, { type: 'error', event: error }];
  // A server that words each of its errors anew is remembered for a while only.
  const reported = news ? [...link.reported, error.message].slice(-10) : link.reported;
  const next = { ...link, reason: `${link.transport}: ${end.reason}`, reported };
  if (end.retryAfter !== undefined) return wait(policy, next, event, { ceiling: policy.cap, reason: next.reason, least: end.retryAfter }, effects);
  if (link.leave !== null) {
    const ceiling = event.now - link.began >= policy.calm ? 0 : policy.cap;
    return wait(policy, next, event, { ceiling, reason: next.reason, least: Math.max(link.leave - event.now, 0) }, effects);
  }
  return next.phase === 'live' ? dropped(policy, next, event, end, effects) : failed(policy, next, event, end, effects);
}

/** A proven transport ended: once at once, then with growing waits, until one has been healthy. */
function dropped(policy: Policy, link: Of<'live'>, event: At, end: End, effects: Effect[]): Step {
  // Drops alone count no further than to their own cap: one failed attempt after many drops is not the twentieth failure.
  const most = Math.log2(policy.dropCap / policy.base);
  const failures = event.now - link.since >= policy.healthy ? 0 : Math.min(link.failures, most);
  const first = failures === 0 && end.kind !== 'server';
  const ceiling = first ? policy.jitter : policy.dropCap;
  return wait(policy, { ...link, failures }, event, { ceiling, reason: link.reason, first }, effects);
}

/** An attempt failed: down the ladder, and at its end a pause. */
function failed(policy: Policy, link: Of<'attaching'>, event: At, end: End, effects: Effect[]): Step {
  // What has carried us before is not called blocked because nothing answered just now.
  const held = end.kind === 'blocked' || end.kind === 'dropped' || (end.kind === 'refused' && !link.proven.includes(link.transport));
  const suspects = held ? [...link.suspects, link.transport] : link.suspects;
  if (link.rest.length > 0) return attach(policy, { ...link, suspects }, link.rest, event.now, effects);
  return wait(policy, link, event, { ceiling: policy.cap, reason: link.reason }, effects);
}

interface Wait {
  ceiling: number;
  reason: string;
  /** At least so long, because the server said so. */
  least?: number;
  /** The first wait after a drop: only the jitter. */
  first?: boolean;
}

function wait(policy: Policy, link: Link, { now, random }: At, { ceiling, reason, least, first }: Wait, effects: Effect[]): Step {
  const most = first ? ceiling : Math.min(ceiling, policy.base * 2 ** Math.min(link.failures, 20));
  const asked = Math.min(least ?? 0, longest);
  // Clients that were all told the same time must not all come back at the same time.
  const retryIn = random * most + asked * (1 + random / 10);
  // A move that the server announced (no ceiling) is no failure.
  const failures = link.failures + (ceiling === 0 ? 0 : 1);
  return [
    { ...link, phase: 'waiting', failures, suspects: [], reason, until: now + retryIn, forced: least !== undefined },
    [...effects, { type: 'state', event: { state: 'waiting', reason, retryInMs: Math.round(retryIn) } }],
  ];
}
