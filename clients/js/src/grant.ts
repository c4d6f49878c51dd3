import type { FairleadError } from './error.ts';
import { type Attempt, type End, mainOf } from './link.ts';
import { drop, heed, type Move, tell } from './move.ts';
import { race } from './race.ts';
import { report, wait } from './wait.ts';

/** What the token grants: when another is asked for, and what is done where the server does not take it. None of it is held against a transport. */

/** Counts a token that was of no use, and gives for how long no other is asked for: not at all after the first in a while. */
function waste(m: Move): number {
  const { base, cap, strikeWindow } = m.policy;
  const before = m.wasted.filter((at) => m.now - at < strikeWindow);
  m.wasted = [...before, m.now];
  if (before.length === 0) m.reported = [];
  return before.length && ((1 + m.random) / 2) * Math.min(base * 2 ** before.length, cap);
}

/** The token is good, for so long if the server says so. */
export function granted(m: Move, expires: number | undefined): void {
  const { share, ahead, least } = m.policy;
  if (typeof expires !== 'number') return;
  const soon = Math.max(Math.min(share * expires, expires - ahead), expires / 2, 0) * (1 - m.random / 10);
  // One that lives shortly, or is given out after its end, must not keep anybody busy.
  m.renewal = m.now + (soon < least ? Math.max(soon, waste(m)) : soon);
}

/** The application is asked for another token, which what serves is given. */
export function renew(m: Move): void {
  m.renewal = m.now + m.policy.budget; // again, if nobody answers
  m.asking = true;
  m.effects.push({ type: 'renew' });
}

/** What came of that. Where nothing serves and nothing is under way, no race is run without a token. */
export function renewed(m: Move, expires: number | undefined, error: FairleadError | undefined): void {
  m.renewal = Infinity;
  granted(m, expires);
  if (!error) return;
  m.asking = false;
  const later = waste(m);
  if (m.wasted.length > 1) report(m, error);
  if (mainOf(m)) m.renewal = Math.min(m.renewal, m.now + later);
  if (m.phase !== 'open' || m.attempts.length > 0) return;
  m.reason = error.message;
  if (later > 0) wait(m, later);
  else race(m);
}

/** The server wants another token of what serves. */
export function demand(m: Move): void {
  m.renewal = Math.min(m.renewal, m.now + waste(m));
}

/** The server does not let us in, and nothing serves. */
export function refused(m: Move, a: Attempt, end: End, error: FairleadError): void {
  drop(m, () => true);
  m.offline = false;
  m.reason = `${a.transport}: ${end.reason}`;
  heed(m, end);
  const denied = error.code === 'unauthorized';
  if (end.final || error.code === 'forbidden' || (denied && m.denied)) {
    m.phase = 'refused';
    m.trouble = undefined;
    report(m, error);
    return tell(m, 'refused', m.reason);
  }
  // Whoever was let in before has been revoked, and with it what was issued within that second (PROTOCOL.md section 4.7).
  const revoked = denied && m.trip > 0 ? m.policy.revoked : 0;
  m.denied ||= denied;
  m.spare = Math.max(m.spare, m.now + revoked + waste(m));
  if (m.wasted.length < 2) m.trouble = undefined;
  if (m.spare > m.now) wait(m, 0);
  else race(m);
}
