import type { FairleadError } from './error.ts';
import { type End, ladder } from './link.ts';
import { heed, type Move, rung, tell } from './move.ts';

/** What happens while nothing is being tried. */

/** Asks whether anything answers: otherwise it is the network that is away. */
export function probe(m: Move): void {
  const limit = Math.min(Math.max(1_000, 4 * m.trip) * (m.offline ? 2 ** Math.min(m.failures, 2) : 1), 5_000);
  m.phase = 'probing';
  m.until = m.now + limit;
  m.effects.push({ type: 'ping', limit });
}

/** Nothing answers: nothing is held against any transport. */
export function away(m: Move, end: End): void {
  heed(m, end);
  m.reason = end.reason;
  if (!m.offline) m.effects.push({ type: 'offline', event: { reason: m.reason } });
  m.offline = true;
  m.queue = [];
  m.suspects = [];
  for (const t of ladder(m)) rung(m, t, { strikes: [] });
  wait(m);
}

/** Tells the application, once. */
export function report(m: Move, error: FairleadError | undefined): void {
  if (!error || m.reported.includes(error.code)) return;
  m.effects.push({ type: 'error', event: error });
  m.reported = [...m.reported, error.code];
}

/** `most`: instead of what the failures make it. `hint`: at the end of the reason that is told. */
export function wait(m: Move, most?: number, hint = ''): void {
  const { base, cap, soon, brief } = m.policy;
  const early = m.now - m.alive < soon;
  const asked = Math.max(m.spare - m.now, 0);
  const ceiling = most ?? Math.min(base * 2 ** Math.min(m.failures, 20), early && asked === 0 ? brief : cap);
  // Clients that were all told the same time must not all come back at the same time.
  const retryIn = m.random * ceiling + asked * (1 + m.random / 10);
  if (most === undefined && !(early && m.offline)) m.failures++;
  report(m, m.trouble);
  m.trouble = undefined;
  m.phase = 'waiting';
  m.until = m.now + retryIn;
  tell(m, m.offline ? 'offline' : 'waiting', m.reason + hint, Math.round(retryIn));
}
