import type { Attempt, Link, State } from './link.ts';
import type { Note, Session } from './session.ts';

/** What a client is doing, and why. Times are milliseconds of a monotonic clock; `now` is one of them. */
export interface Diagnostics extends Omit<Link, 'attempts' | 'trouble'> {
  state: State;
  session: string;
  position: string | null;
  attempts: readonly Attempt[];
  subscriptions: { pattern: string; cursor: string | null }[];
  /** How many publishes wait. */
  waiting: number;
  /** What happened lately, oldest first; `at` is milliseconds since the Unix epoch. */
  log: readonly Note[];
}

export function diagnose(session: Session): Diagnostics {
  const { id, ledger, log, outbox, position, state } = session;
  const { trouble: _, ...link } = session.link;
  return {
    ...link,
    state,
    session: id,
    position,
    attempts: link.attempts.map((a) => ({ ...a, heard: session.heard(a) })),
    subscriptions: ledger.subs().map(({ pattern, at }) => ({ pattern, cursor: at })),
    waiting: outbox.size,
    log: [...log],
  };
}
