import { lowest, start as beginning } from './cursor.ts';
import type { Start } from './frame.ts';
import type { Sub } from './ledger.ts';
import { hasWildcard, overlap } from './pattern.ts';

/** Whether one command serves both: from a known cursor the lower one does. */
export function alike(a: Sub, b: Sub): boolean {
  if (a.at !== null || b.at !== null) return a.at !== null && b.at !== null;
  return a.start.last === b.start.last;
}

/** The start that serves all of these, which are alike. */
export function startOf(subs: readonly Sub[]): Start {
  const cursors = subs.map((s) => s.at).filter((c) => c !== null);
  if (cursors.length > 0) return { after: lowest(cursors) };
  const last = subs[0]?.start.last;
  return last === undefined ? {} : { last };
}

/** The starts by pattern. Patterns that share channels get one start, or one's messages would overtake the other's. */
export function starts(subs: readonly Sub[]): Record<string, Start> {
  const groups = new Map<string, Sub[]>();
  for (const sub of subs) groups.set(sub.pattern, [...(groups.get(sub.pattern) ?? []), sub]);
  const all = new Map([...groups].map(([pattern, group]) => [pattern, startOf(group)]));
  const wild = [...all.keys()].filter(hasWildcard);
  for (let changed = true; changed; ) {
    changed = false;
    for (const one of wild) {
      const near = [...all].filter(([other, s]) => s.after !== undefined && overlap(one, other));
      const after = lowest(near.map(([, s]) => s.after ?? beginning));
      for (const [pattern, s] of near) {
        if (s.after === after) continue;
        all.set(pattern, { after });
        changed = true;
      }
    }
  }
  return Object.fromEntries(all);
}

/** Those of subs that share no channel with one another nor with others, unless they are the same. */
export function disjoint(subs: readonly Sub[], others: readonly Sub[]): Sub[] {
  const chosen: Sub[] = [];
  const names = new Map<string, Sub>();
  const wild: Sub[] = [];
  const note = (sub: Sub): void => {
    if (hasWildcard(sub.pattern)) wild.push(sub);
    else names.set(sub.pattern, sub);
  };
  others.forEach(note);
  for (const sub of subs) {
    const near = hasWildcard(sub.pattern) ? [...names.values(), ...wild] : [...wild, ...(names.has(sub.pattern) ? [names.get(sub.pattern) as Sub] : [])];
    const clash = near.some((s) => overlap(s.pattern, sub.pattern) && !(s.pattern === sub.pattern && alike(s, sub)));
    if (clash) continue;
    chosen.push(sub);
    note(sub);
  }
  return chosen;
}
