import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { Transport } from '../src/frame.ts';
import { Life } from './support/life.ts';
import type { Lives, Told } from './support/lives.ts';

type Tale = Told['stories'][number];

/**
 * From the end of a storm until messages come: ms. The longest is to find out that a connection is dead of which nobody told, one and
 * a half beats of 25 s; then, a wait of 30 s for what failed for long. Of 24,000 worlds the worst took 39.4 s.
 */
const longest = 60_000;

/** The same where the client knew that it was down, had not been so for long, and was not asked to wait: two attempts that hang, one after the other: 15.4 s. */
const soon = 20_000;

/** The most attempts in a minute, and requests in ten seconds. The worst were 103 and 80. */
const storm = { attempts: 120, requests: 100 };

/** `WORLD=5 WORLDS=1` lives through one world of each ladder, `WORLDS=3000` through many. */
const count = Number(process.env['WORLDS'] ?? 300);
const first = Number(process.env['WORLD'] ?? 1);
const ladders: Transport[][] = [['websocket', 'sse', 'stream', 'poll'], ['websocket', 'poll'], ['sse', 'poll'], ['stream', 'poll'], ['websocket'], ['sse'], ['poll']];

async function lives(what: Lives): Promise<Told> {
  const worker = new Worker(new URL('./support/lives.ts', import.meta.url), { workerData: what });
  const [told] = (await once(worker, 'message')) as [Told];
  for (const { seed, error } of told.failed) console.error(`WORLD=${seed} WORLDS=1, ${what.ladder}: ${error}`);
  return told;
}

test('whatever the network does', { concurrency: 2 }, async (t) => {
  const tests = ladders.map((ladder) =>
    t.test(`in ${count} worlds nothing is lost, repeated or reordered, nothing storms, and it recovers: ${ladder}`, async () => {
      const { failed, stories } = await lives({ ladder, first, count });
      assert.deepEqual(failed.map((f) => f.seed), [], 'failing worlds');
      const worst = (of: 'recovery' | 'attempts' | 'requests' | 'switches', all = stories): Tale | undefined => all.toSorted((a, b) => b[of] - a[of])[0];
      const quick = worst('recovery', stories.filter(({ stood }) => /^(offline|waiting).*, soon$/.test(stood)));
      const figures = { recovery: worst('recovery'), quick, attempts: worst('attempts'), requests: worst('requests') };
      t.diagnostic(`${ladder}: ${JSON.stringify(figures)}`);
      assert.ok((figures.recovery?.recovery ?? 0) <= longest, `WORLD=${figures.recovery?.seed} took ${figures.recovery?.recovery} ms to recover`);
      assert.ok((quick?.recovery ?? 0) <= soon, `WORLD=${quick?.seed} took ${quick?.recovery} ms to recover from a short outage`);
      assert.ok((figures.attempts?.attempts ?? 0) <= storm.attempts, `WORLD=${figures.attempts?.seed} attached ${figures.attempts?.attempts} times in a minute`);
      assert.ok((figures.requests?.requests ?? 0) <= storm.requests, `WORLD=${figures.requests?.seed} made ${figures.requests?.requests} requests in ten seconds`);
      if (count >= 100) assert.ok((worst('switches')?.switches ?? 0) > 0, 'the worlds are not too calm to mean anything');
    }),
  );
  await Promise.all(tests);
});

for (const ladder of ladders) {
  test(`with tokens that expire, are revoked and come late nothing is lost either: ${ladder}`, async (t) => {
    const { failed, stories } = await lives({ ladder, tokens: true, first, count: Math.ceil(count / 3) });
    assert.deepEqual(failed.map((f) => f.seed), []);
    // After some tokens of no use the next one is asked for up to 30 s later.
    for (const [what, bound] of Object.entries({ recovery: longest + 30_000, ...storm, tokens: 30 })) {
      const key = what as 'recovery' | 'attempts' | 'requests' | 'tokens';
      const [worst] = stories.toSorted((a, b) => b[key] - a[key]);
      t.diagnostic(`${ladder}: ${what} ${worst?.[key]}, WORLD=${worst?.seed}`);
      assert.ok(worst && worst[key] <= bound, `WORLD=${worst?.seed}: ${what} ${worst?.[key]}`);
    }
  });
}

// As where a filter takes it for an advertiser's.
test('where ping is blocked but some transports work, it recovers', async () => {
  const { failed, stories } = await lives({ ladder: ladders[0] ?? [], pings: false, first, count });
  assert.deepEqual(failed.map((f) => f.seed), []);
  assert.ok(stories.every(({ recovery }) => recovery <= longest));
});

test('the same seed is the same world, and promises are all that there is to wait for', async () => {
  const ladder: Transport[] = ['websocket', 'sse', 'stream', 'poll'];
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  for (const seed of [7, 8, 9]) {
    const story = await new Life(seed, { ladder }).live();
    assert.deepEqual(await new Life(seed, { ladder }).live(), story);
    assert.deepEqual(await new Life(seed, { ladder, settled: turn }).live(), story);
  }
});
