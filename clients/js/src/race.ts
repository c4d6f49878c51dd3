import type { Transport } from './frame.ts';
import { climbable, free, line, mainOf } from './link.ts';
import { type Move, rung, tell } from './move.ts';

/** Attempts: which begin, and when. */

/** Begins a race from nothing. */
export function race(m: Move): void {
  m.phase = 'open';
  tell(m, 'connecting', m.reason);
  compete(m, m.reason);
}

/** Begins a race, beside the one that serves if there is one. */
export function compete(m: Move, reason: string): void {
  m.reason = reason;
  m.tried = m.now;
  m.queue = line(m).filter((s) => !m.attempts.some((a) => a.stage !== 'main' && a.transport === s.transport));
  begin(m);
}

/** The application is asked for a token, unless it is already. */
export function ask(m: Move): void {
  if (!m.asking) m.effects.push({ type: 'renew' });
  m.asking = true;
}

/** There is a token: the race begins as if no time had passed. */
export function given(m: Move): void {
  const at = m.queue[0]?.at ?? Infinity;
  m.asking = false;
  if (m.phase !== 'open') return;
  // What it was to join has ended meanwhile.
  if (at === Infinity && m.attempts.length === 0) return compete(m, m.reason);
  postpone(m, Math.max(m.now - at, 0));
  begin(m);
  climb(m);
}

/**
 * Begins what is due of the race, once there is a token. What is to be tried last is due when one serves, and nothing else is under
 * way.
 */
export function begin(m: Move): void {
  if (m.lacking) return m.queue.length > 0 ? ask(m) : undefined;
  const last = (): boolean => mainOf(m) !== undefined && !m.attempts.some((a) => a.stage !== 'main');
  for (let [first] = m.queue; first && (first.at <= m.now || (first.at === Infinity && last())); [first] = m.queue) {
    m.queue = m.queue.slice(1);
    attach(m, first.transport);
  }
}

/** Begins the next one now, and the rest as long after it as before. */
export function hurry(m: Move): void {
  const at = m.queue[0]?.at ?? 0;
  const early = at - Math.max(m.now, free(m));
  // Not what waits because the server asked for it.
  if (at !== m.spare && early > 0 && early < Infinity) postpone(m, -early);
  begin(m);
}

export function postpone(m: Move, by: number): void {
  m.queue = m.queue.map((s) => ({ ...s, at: s.at + by }));
}

/** Something answers: what is tried last is tried now. */
export function resort(m: Move): void {
  m.offline = false;
  m.phase = 'open';
  m.queue = m.queue.map(({ transport }, i) => ({ transport, at: m.now + i * m.policy.stagger }));
  begin(m);
}

export function climb(m: Move): void {
  for (const t of climbable(m)) {
    if (m.rungs[t].next > m.now) continue;
    if (m.lacking) return ask(m);
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
    {
      id, transport, began: now, stage: 'opening', since: now, heard: now, told: now,
      beat: Infinity, asked: Infinity, leave: Infinity, doubted: false, held: false, leaving: false,
    },
  ];
  m.effects.push({ type: 'attach', attempt: id, transport, beat: m.beat });
}
