import type { FairleadError } from './error.ts';
import type { Transport } from './frame.ts';
import type { Attempt, End, Link, OfflineEvent, Remembered, State, StateEvent, SwitchEvent, TransportEvent } from './link.ts';
import { longest } from './policy.ts';

/** What happens to a link. `lacking`: there is no token until the application has given one. */
export type Event = { readonly now: number; readonly random: number; readonly lacking: boolean } & (
  | { readonly type: 'start'; readonly net?: string | undefined; readonly remembered?: Remembered | undefined }
  /** `stop`: something else serves for now; `start` goes on. */
  | { readonly type: 'close' | 'reconnect' | 'stop' }
  /** The application has another token. */
  | { readonly type: 'refresh' }
  /** What the application gave for `renew` is at hand. */
  | { readonly type: 'given' }
  /** What came of it: the token is good for so long, or the server or the application gave this error. */
  | { readonly type: 'renewed'; readonly expires?: number | undefined; readonly error?: FairleadError | undefined }
  /** A command was refused because of the token. */
  | { readonly type: 'stale' }
  /** Something has changed: perhaps the network, perhaps only the page. */
  | { readonly type: 'online' | 'visible' }
  /** When anything, and when a beat, came on each attempt last. */
  | { readonly type: 'tick'; readonly heard: Readonly<Record<number, number>>; readonly told?: Readonly<Record<number, number>> }
  | Welcomed
  /** From now on its silences may be so long. */
  | { readonly type: 'beat'; readonly attempt: number; readonly beat: number }
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

export interface Welcomed {
  readonly type: 'welcome';
  readonly attempt: number;
  readonly beat: number;
  readonly offered?: readonly Transport[];
  /** So long the token is good. */
  readonly expires?: number | undefined;
  readonly net?: string | undefined;
  readonly remembered?: Remembered | undefined;
}

export type Effect =
  | { readonly type: 'attach'; readonly attempt: number; readonly transport: Transport; readonly beat: number | null }
  /** Ask for a new token: `given`, and give it to what is attached: `renewed`. */
  | { readonly type: 'renew' }
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

/** A link in the middle of a step, and what is to be done so far. The functions below change it. */
export type Move = Link & { effects: Effect[] };

export function tell(m: Move, state: State, reason: string, retryInMs?: number): void {
  m.effects.push({ type: 'state', event: { state, reason, ...(retryInMs !== undefined && { retryInMs }) } });
}

/** What the server, or whatever answered for it, says. It is told to the application if nothing else works either. */
export function heed(m: Move, { error, retryAfter }: End): void {
  if (retryAfter !== undefined) m.spare = m.now + Math.min(retryAfter, longest);
  m.trouble = error ?? m.trouble;
}

/** Drops the attempts and starts that are no better than this one. */
export function keep(m: Move, a: Attempt): void {
  m.queue = m.queue.filter((s) => s.at < Infinity && better(m, s.transport, a));
  drop(m, (b) => b !== a && (b.stage === 'main' || !better(m, b.transport, a)));
}

export function drop(m: Move, which: (a: Attempt) => boolean): void {
  for (const a of m.attempts) if (which(a)) m.effects.push({ type: 'detach', attempt: a.id, bye: a.stage !== 'opening' });
  m.attempts = m.attempts.filter((a) => !which(a));
}

/** Whether others than the main one are being tried, or about to be. */
export function trying(m: Move): boolean {
  return m.queue.length > 0 || m.attempts.some((a) => a.stage !== 'main');
}

export function better({ policy }: Move, t: Transport, than: Attempt): boolean {
  return policy.ladder.indexOf(t) < policy.ladder.indexOf(than.transport);
}

export function suspect(m: Move, t: Transport): void {
  m.suspects = [...m.suspects.filter((s) => s !== t), t];
}

export function rung(m: Move, t: Transport, fields: Partial<Link['rungs'][Transport]>): void {
  m.rungs = { ...m.rungs, [t]: { ...m.rungs[t], ...fields } };
}
