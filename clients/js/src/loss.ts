import { isToken } from './error.ts';
import type { Transport } from './frame.ts';
import { demand, refused } from './grant.ts';
import { later, plan, remember } from './lesson.ts';
import { type Attempt, type End, ladder, mainOf, replaced } from './link.ts';
import { heed, type Move, rung, suspect, tell, trying } from './move.ts';
import { begin, compete, hurry, resort } from './race.ts';
import { away, probe, wait } from './wait.ts';

/** Attempts and attachments that end, and what is held against their transports. */

/** Gives it up, as if it had ended so. */
export function give(m: Move, a: Attempt, end: End): void {
  m.effects.push({ type: 'detach', attempt: a.id, bye: false });
  ended(m, a, end);
}

export function ended(m: Move, a: Attempt, end: End): void {
  m.attempts = m.attempts.filter((b) => b !== a);
  const main = mainOf(m);
  const { error } = end;
  const stale = isToken(error?.code);
  // What was let in and waited for its proof for too long has failed in its own way.
  if (!main && error && (stale || error.code === 'forbidden') && a.stage !== 'welcomed') return refused(m, a, end, error);
  if (stale) demand(m);
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
  // A server that sends everybody away again and again is to be spared; a network that cuts is not.
  const brief = lived >= policy.lived && (end.kind !== 'server' || a.leave < Infinity);
  if (brief || lived >= policy.healthy) m.alive = m.now;
  if (lived >= policy.healthy) {
    m.failures = 0;
    m.reported = [];
  }
  if (lived >= policy.settled) rung(m, a.transport, { climbs: 0 });
  if (end.kind === 'dropped' || end.kind === 'blocked') strike(m, a, end.deaf);
  if (!trying(m)) return wait(m, brief ? policy.jitter : undefined);
  // Others are at it already, or, climbing, are to be joined.
  tell(m, 'connecting', m.reason);
  if (replaced(a)) begin(m);
  else compete(m, m.reason);
}

/** An unclean death: of an idle connection, or of a transport that dies young, again and again. */
export function strike(m: Move, a: Attempt, deaf = false): void {
  const { leastBeat } = m.policy;
  const { transport } = a;
  const idle = m.now - a.heard;
  if (idle >= leastBeat / 2 && idle < a.beat) m.beat = Math.max(leastBeat, Math.min(m.beat ?? Infinity, Math.round(idle / 2)));
  // There is nothing below the last.
  if ((m.now - a.began >= Math.max(2 * a.beat, m.policy.young) && !deaf) || transport === ladder(m).at(-1)) return;
  const strikes = [...struck(m, transport), m.now];
  rung(m, transport, { strikes });
  if (strikes.length >= m.policy.strikes) suspect(m, transport);
}

/** Its strikes that still count. */
export function struck(m: Move, t: Transport): readonly number[] {
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
