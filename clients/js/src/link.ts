import type { FairleadError } from './error.ts';
import type { Transport } from './frame.ts';
import type { Policy } from './policy.ts';

/**
 * What is known of the ways to the server, and what is being tried: the state of the machine in step.ts. Plain data; times are
 * monotonic milliseconds. Nobody changes a link that was given out.
 *
 * Several attempts may be under way. One of them, the main one, has been proven (PROTOCOL.md section 2.1) and is trusted; it
 * is left for another only when that one is proven as well, or when it has died.
 */
export interface Link {
  policy: Policy;
  /**
   * `open`: attempts are under way or about to be. `waiting`: until then. `probing`: a ping asks whether anything answers.
   * `refused`: the server lets nobody in with such a token; the application is to do something about it.
   */
  phase: 'idle' | 'open' | 'waiting' | 'probing' | 'refused' | 'closed';
  attempts: readonly Attempt[];
  /** Attempts of the race that have not begun, in order. */
  queue: readonly Start[];
  rungs: Record<Transport, Rung>;
  /** Failed since the last proof: bad if another is proven, forgotten if none is. */
  suspects: readonly Transport[];
  /** The transport that works here: the one proven last, or else remembered. */
  good: Transport | null;
  /** The transport proven last. */
  last: Transport | null;
  /** The server's hint of the network. */
  net: string | null;
  /** What the server offers, once it has said so. */
  offered: readonly Transport[] | null;
  /** The beat to ask for; null for the server's. */
  beat: number | null;
  /** The least that a round trip was seen to take. */
  trip: number;
  /** Nothing answers at all. */
  offline: boolean;
  failures: number;
  /** How many attempts there were, and when the last ones began. */
  count: number;
  begun: readonly number[];
  /** When something worked last, or the beginning. */
  alive: number;
  /** When the last race or nudge was. */
  tried: number;
  /** The end of a wait or a probe. */
  until: number;
  /** The server asks to be left alone until then. */
  spare: number;
  /** When another token is to be asked for, while something serves. */
  renewal: number;
  /** There is no token, and the application is to be asked for one; it has been. */
  lacking: boolean;
  asking: boolean;
  /** When tokens were of no use. */
  wasted: readonly number[];
  /** The last one was no good, and another was asked for. */
  denied: boolean;
  reason: string;
  /** The error of the last attempts, and the codes of those that were reported since something worked: they are not repeated. */
  trouble: FairleadError | undefined;
  reported: readonly string[];
  /** Of the last event. */
  now: number;
  random: number;
}

/** One attachment, or the attempt at one. */
export interface Attempt {
  readonly id: number;
  readonly transport: Transport;
  readonly began: number;
  stage: 'opening' | 'welcomed' | 'main';
  /** When that began. */
  since: number;
  /** When anything came on it, as of the last tick; before its proof, anything from before its welcome. */
  heard: number;
  /** When a beat came on it, as of the last tick. */
  told: number;
  /** The longest silence that is in order. */
  beat: number;
  /** It was asked to speak, and has until then. */
  asked: number;
  /** The server asks to leave it then. */
  leave: number;
  /** Others are being tried in its place: because it is silent, because it is held back, or because it is to be left. */
  doubted: boolean;
  held: boolean;
  leaving: boolean;
}

/** What is known of a transport on this network. */
export interface Rung {
  /** Something does not let it through, while others work: it is tried last. */
  bad: boolean;
  /** When it died young. */
  strikes: readonly number[];
  /** How often it was to be tried again. */
  climbs: number;
  /** When it is to be tried again while a worse one serves. */
  next: number;
}

export interface Start {
  readonly transport: Transport;
  readonly at: number; // Infinity: when all before it have failed
}

/** What was learned of a network before. */
export interface Remembered {
  readonly good?: Transport;
  readonly bad: readonly Transport[];
  readonly beat?: number;
}

/** How an attempt or attachment ended. */
export interface End {
  /**
   * `refused`: nothing answered. `blocked`: something on the way, or what answered, does not carry this transport.
   * `server`: the server said no, which says nothing against the transport. `dropped`: it worked, and broke off.
   */
  kind: 'refused' | 'blocked' | 'server' | 'dropped';
  /** It brought what came down, and took nothing up. */
  deaf?: boolean;
  reason: string;
  error?: FairleadError | undefined;
  /** The server asks to be left alone for so long. */
  retryAfter?: number | undefined;
  /** There is no other token to be had. */
  final?: boolean;
}

/** `waiting`: for the next attempt. `offline`: nothing answers at all. `refused`: for the application, because the server does not let it in. */
export type State = 'connecting' | 'connected' | 'waiting' | 'offline' | 'refused' | 'closed';

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

/** One attachment took over from another that still served, or should have: nothing was lost, nothing waited. */
export interface SwitchEvent {
  readonly from: Transport;
  readonly to: Transport;
  readonly reason: string;
}

/** Nothing answers: the network is away, not this or that transport. */
export interface OfflineEvent {
  readonly reason: string;
}

export function initial(policy: Policy): Link {
  return {
    policy, phase: 'idle', attempts: [], queue: [], rungs: unknown(), suspects: [], good: null, last: null, net: null, offered: null, beat: null, trip: 0,
    offline: false, failures: 0, count: 0, begun: [], alive: 0, tried: -Infinity, until: 0, spare: 0,
    renewal: Infinity, lacking: false, asking: false, wasted: [], denied: false, reason: '', trouble: undefined, reported: [], now: 0, random: 0,
  };
}

/** Nothing is known of any transport. */
export function unknown(): Link['rungs'] {
  const rung = (): Rung => ({ bad: false, strikes: [], climbs: 0, next: Infinity });
  return { websocket: rung(), sse: rung(), stream: rung(), poll: rung() };
}

/** The attempt that is trusted. */
export function mainOf(link: Link): Attempt | undefined {
  return link.attempts.find((a) => a.stage === 'main');
}

/** The attempt that commands go to: the trusted one, or what comes nearest to it. */
export function carrier(link: Link): Attempt | undefined {
  const main = mainOf(link);
  return main && !main.doubted && !main.held ? main : (link.attempts.find((a) => a.stage === 'welcomed') ?? main);
}

/** Whether the machine wants to be told when something comes on the attempt. */
export function watched(link: Link, id: number): boolean {
  return link.attempts.some((a) => a.id === id && (a.doubted || a.asked < Infinity));
}

/** What the policy allows and the server offers, best first. */
export function ladder({ policy, offered }: Link): readonly Transport[] {
  const both = policy.ladder.filter((t) => offered?.includes(t) ?? true);
  return both.length > 0 ? both : policy.ladder;
}

/** What is better than what serves, and not being tried. */
export function climbable(link: Link): readonly Transport[] {
  const main = mainOf(link);
  if (!main || replaced(main)) return [];
  const all = ladder(link);
  return all.slice(0, Math.max(all.indexOf(main.transport), 0)).filter((t) => ![...link.attempts, ...link.queue].some((a) => a.transport === t));
}

/** Whether others are being tried in its place. */
export function replaced(a: Attempt): boolean {
  return a.doubted || a.held || a.leaving;
}

/** From when on another attempt may begin. */
export function free({ policy, begun }: Link): number {
  return begun.length < policy.most ? 0 : (begun[0] ?? 0) + policy.span;
}

/** What to try, and when, if a race began now. */
export function line(link: Link): Start[] {
  const { policy, now, good, trip } = link;
  const all = ladder(link);
  const held = all.filter((t) => link.rungs[t].bad || link.suspects.includes(t));
  // Where nothing answers nothing is sure.
  const shut = held.length < all.length && !link.offline ? held : [];
  // The stream is for networks that hold back only text/event-stream: its turn comes last.
  const place = (t: Transport): number => (t === good ? -1 : t === 'stream' ? 9 : all.indexOf(t));
  const open = all.filter((t) => !shut.includes(t)).sort((a, b) => place(a) - place(b));
  // What is remembered to work here is given time to prove it.
  const recalled = link.last === null && open[0] === good;
  const begin = Math.max(now, link.spare, free(link));
  let at = begin;
  let count = 0;
  const starts = open.map((transport) => {
    // Where nothing is known a poll begins at once: it brings the first messages in one round trip through whatever there is.
    if (transport === 'poll' && good === null) return { transport, at: begin };
    if (count++ > 0) at += recalled || transport === 'poll' || transport === 'stream' ? policy.pause : Math.max(policy.stagger, 2 * trip);
    return { transport, at };
  });
  starts.sort((a, b) => a.at - b.at);
  return [...starts, ...shut.map((transport) => ({ transport, at: Infinity }))];
}

/** When something must have happened to the attempt. */
export function due(link: Link, a: Attempt): number {
  const { policy, trip } = link;
  // Where round trips are short, what takes so long was begun in a hole.
  if (a.stage === 'opening') return a.since + (trip > 0 ? Math.min(Math.max(policy.hurried, 20 * trip), policy.budget) : policy.budget);
  // Behind a long history the proof comes late, and all the while something is heard.
  if (a.stage === 'welcomed') return Math.min(Math.max(a.since, a.heard) + policy.proof, a.since + 3 * policy.budget);
  const late = a.beat + Math.max(policy.grace, trip);
  const silent = a.heard + (a.doubted ? Math.max(1.5 * a.beat, late + policy.grace) : late);
  return Math.min(silent, a.asked, a.leaving ? Infinity : a.leave, a.held || a.doubted ? Infinity : heldAt(link, a));
}

/** When it has been too long without a beat, whatever else comes: something on the way keeps the last of it back. */
export function heldAt({ policy, trip }: Link, a: Attempt): number {
  return a.told + 1.5 * a.beat + Math.max(policy.grace, trip);
}

/** When the machine wants its next tick; Infinity for never. */
export function deadline(link: Link): number {
  if (link.phase === 'waiting' || link.phase === 'probing') return link.until;
  if (link.phase !== 'open') return Infinity;
  // Without a token nothing begins.
  const starts = link.lacking ? [] : [...link.queue.map((s) => s.at), ...climbable(link).map((t) => link.rungs[t].next)];
  return Math.min(mainOf(link) ? link.renewal : Infinity, ...link.attempts.map((a) => due(link, a)), ...starts);
}
