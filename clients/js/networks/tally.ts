import type { Log } from './voyage.ts';

/** What became of a row of numbers. */
export interface Tally {
  missing: number;
  repeated: number;
  disordered: number;
}

/** tally compares the numbers that came with those from first to last. */
export function tally(came: readonly number[], first: number, last: number): Tally {
  const seen = new Set<number>();
  let highest = -Infinity;
  const found: Tally = { missing: 0, repeated: 0, disordered: 0 };
  for (const n of came) {
    if (seen.has(n)) found.repeated++;
    else if (n < highest) found.disordered++;
    seen.add(n);
    highest = Math.max(highest, n);
  }
  for (let n = first; n <= last; n++) if (!seen.has(n)) found.missing++;
  return found;
}

/** From publish to delivery, in milliseconds, of all but the number 0, which was there before; sorted. */
export function latencies({ deliveries }: Log): number[] {
  return deliveries.filter(({ n }) => n > 0).map(({ sent, got }) => got - sent).sort((a, b) => a - b);
}

export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(Math.floor(q * sorted.length), sorted.length - 1)] ?? NaN;
}
