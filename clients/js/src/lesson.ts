import type { Transport } from './frame.ts';
import { type Attempt, climbable, type Remembered, unknown } from './link.ts';
import { type Move, rung } from './move.ts';
import { longest } from './policy.ts';

/** What is learned of the transports, and when what is better than what serves is tried again. */

/** It is tried again after a while, each time a longer one. */
export function later(m: Move, t: Transport, climbs: number, least = 0): void {
  const { climbs: all } = m.policy;
  rung(m, t, { climbs: climbs + 1, next: m.now + Math.max(all[Math.min(climbs, all.length - 1)] ?? Infinity, Math.min(least, longest)) });
}

/** Whatever is better than what serves will be tried again. */
export function plan(m: Move): void {
  for (const t of climbable(m)) if (m.rungs[t].next === Infinity) later(m, t, m.rungs[t].climbs);
}

/** What failed while this one was proven is bad, and what is better is tried again later. */
export function learn(m: Move, a: Attempt): void {
  for (const t of m.suspects) rung(m, t, { bad: true, next: Infinity });
  m.suspects = [];
  rung(m, a.transport, { bad: false, next: Infinity });
  plan(m);
  remember(m);
}

export function remember(m: Move): void {
  const { net, good, beat } = m;
  if (net === null || !good) return;
  m.effects.push({ type: 'remember', net, good, bad: m.policy.ladder.filter((t) => m.rungs[t].bad), ...(beat !== null && { beat }) });
}

export function recall(m: Move, remembered: Remembered | undefined): void {
  if (!remembered) return;
  for (const t of remembered.bad) if (t in m.rungs) rung(m, t, { bad: true });
  m.good ??= remembered.good ?? null;
  m.beat = remembered.beat ?? m.beat;
}

/** This may be another network. */
export function forget(m: Move): void {
  m.rungs = unknown();
  m.suspects = [];
  m.good = m.last;
  m.beat = null;
  m.trip = 0;
  for (const t of climbable(m)) rung(m, t, { next: m.now });
}
