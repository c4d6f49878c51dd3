import assert from 'node:assert/strict';
import { test } from 'node:test';
import { due, mainOf } from '../src/link.ts';
import { busiest, settle, storm, thirstiest, transports, World } from './support/storm.ts';

/*
 * The machine alone in random worlds: no promises, no sockets, no time but the world's. After each step what must always hold
 * is checked; after the storm, that the machine finds what works, and how soon.
 */

const seeds = Number(process.env['SEEDS'] ?? 1_000);
const first = Number(process.env['SEED'] ?? 1);

/** The worst of 5,000 seeds, and a margin. Most of it is one transport that hangs, last in line, with nothing beside it. */
const bounds = {
  attempts: 150, // in a minute of a storm
  renewals: 40, // in such a minute
  late: 100_000, // from the end of a storm, and of what was forced by it
  refuses: 60_000,
  swallows: 100_000,
  refused: 150, // in a minute
};

/** Says what was seen, if asked to. */
function show(seen: Record<string, number | number[]>): void {
  if (process.env['LOUD'] === undefined) return;
  for (const [name, values] of Object.entries(seen)) {
    const sorted = [values].flat().sort((a, b) => a - b);
    const at = [0.5, 0.9, 0.99, 1].map((q) => Math.round(sorted[Math.min(Math.floor(q * sorted.length), sorted.length - 1)] ?? 0));
    console.log(`${name}: half ${at[0]}, ninety ${at[1]}, ninety-nine ${at[2]}, most ${at[3]}`);
  }
}

function each(live: (seed: number) => void): void {
  for (let seed = first; seed < first + seeds; seed++) {
    try {
      live(seed);
    } catch (cause) {
      throw new Error(`SEED=${seed} SEEDS=1: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
}

test(`in ${seeds} storms the machine stays sound, and then finds the best transport and stays with it`, () => {
  const late: number[] = [];
  const rates: number[] = [];
  const renewals: number[] = [];
  let steps = 0;
  each((seed) => {
    const world = new World(seed);
    world.dispatch({ type: 'start', ...(world.dice(0.5) && { net: 'net0', remembered: { good: world.pick(transports), bad: transports.filter(() => world.dice(0.3)) } }) });
    storm(world);
    rates.push(busiest(world));
    assert.ok(busiest(world) <= bounds.attempts, `${busiest(world)} attempts in a minute`);
    assert.ok(thirstiest(world) <= bounds.renewals, `${thirstiest(world)} tokens asked for in a minute`);
    renewals.push(thirstiest(world));
    const best = settle(world);
    const { link, now } = world;
    // What the server asked for, and a silence that nobody can have noticed yet, are not the machine's to hurry.
    const forced = Math.max(link.phase === 'waiting' || link.phase === 'probing' ? link.until : 0, ...link.attempts.map((a) => due(link, a)), link.spare * 1.1, now);
    world.run(forced + bounds.late, () => world.works());
    late.push(Math.max(world.now - forced, 0));
    assert.ok(world.works(), `nothing serves after ${bounds.late} ms`);
    world.run(now + 3 * 3_600_000, () => world.works() && world.rests(best));
    assert.ok(world.rests(best), `it never climbs to ${best}`);
    const { count } = world.link;
    world.run(world.now + 1_800_000);
    assert.ok(world.rests(best), 'it does not stay');
    // Four climbs to each better one, and a race each time that the page wakes up.
    assert.ok(world.link.count - count <= 4 * transports.indexOf(best) + 12, `${world.link.count - count} attempts in half an hour`);
    world.dispatch({ type: 'close' });
    steps += world.steps;
  });
  show({ steps, attempts: rates, renewals, late });
});

/** A world where the ladder is as it will stay, and where the best that works has served for a while. */
function established(seed: number): World {
  const world = new World(seed);
  const best = settle(world);
  world.dispatch({ type: 'start' });
  world.run(600_000, () => world.works() && world.rests(best) && world.now > 120_000);
  assert.ok(world.rests(best));
  return world;
}

for (const network of ['refuses', 'swallows'] as const) {
  test(`a network that comes back within ten seconds, and ${network} till then, is in use soon after`, () => {
    const late: number[] = [];
    const pings: number[] = [];
    each((seed) => {
      const world = established(seed);
      const { delay } = world.conditions[mainOf(world.link)?.transport ?? 'poll'];
      const before = world.pings;
      world.network = network;
      for (const live of [...world.lives.values()]) world.end(live, { kind: 'dropped', reason: 'cut' });
      world.run(world.now + 10_000 * world.random());
      world.network = 'up';
      const back = world.now;
      world.run(back + 600_000, () => world.works());
      late.push(world.now - back - delay);
      pings.push(world.pings - before);
    });
    show({ late, pings });
    assert.ok(Math.max(...late) <= bounds[network], `${Math.max(...late)} ms`);
  });
}

test('where all is refused at once the attempts are few', () => {
  const rates: number[] = [];
  each((seed) => {
    const world = new World(seed);
    for (const t of transports) world.conditions[t] = { kind: 'refuse', delay: 1, life: 0 };
    if (world.dice(0.3)) world.network = 'refuses';
    world.dispatch({ type: 'start' });
    world.run(120_000);
    rates.push(busiest(world));
  });
  show({ rates });
  assert.ok(Math.max(...rates) <= bounds.refused, `${Math.max(...rates)} attempts in a minute`);
});
