import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../../src/error.ts';
import type { End } from '../../src/link.ts';
import { defaults, longest } from '../../src/policy.ts';
import { names, of, refused, serving, started, type Bench } from '../support/bench.ts';

describe('backoff', () => {
  /** All fail, and something answers the ping. */
  function round(b: Bench, kind: End['kind'] = 'refused', more: Partial<End> = {}): number {
    b.failAll(kind, more);
    if (b.link.phase === 'probing') b.pong();
    const { wait } = b;
    b.expire();
    return wait;
  }

  test('does not bound the attempts alone: no more than so many begin in a time', () => {
    const b = started();
    for (let i = 0; i < 200; i++) {
      b.failAll('refused');
      if (b.link.phase === 'probing') b.pong();
      b.expire();
    }
    const times = b.begun().map(([, at]) => at);
    assert.ok(times.length > 2 * defaults.most);
    for (let i = defaults.most; i < times.length; i++) assert.ok((times[i] ?? 0) - (times[i - defaults.most] ?? 0) >= defaults.span, `attempt ${i}`);
  });

  test('is random up to a bound that doubles up to a cap, and at first is brief', () => {
    const b = started({ most: 1_000 });
    b.random = 0.999999;
    const waits: number[] = [];
    for (let i = 0; i < 40; i++) waits.push(Math.round(round(b)));
    assert.deepEqual([waits[0], waits[1]], [500, 700]);
    const long = waits.findIndex((w) => w > 700);
    assert.ok(waits.slice(1, long).every((w) => w === 700));
    assert.ok(waits.slice(0, long).reduce((a, w) => a + w, 0) >= defaults.soon, 'brief for the first 15 s');
    assert.ok(waits.slice(long).every((w) => w === 30_000));
    b.random = 0;
    assert.equal(round(b), 0);
    b.random = 0.5;
    assert.equal(Math.round(round(b)), 15_000);
  });

  test('doubles', () => {
    const b = started();
    b.random = 0.999999;
    b.now += defaults.soon;
    assert.deepEqual(Array.from({ length: 8 }, () => Math.round(round(b))), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  test('is brief for 15 s after something worked, not longer', () => {
    for (const [ms, most] of [[defaults.soon - 1, 700], [defaults.soon, 30_000]] as const) {
      const b = started();
      b.random = 0.999999;
      b.link = { ...b.link, failures: 10 };
      b.now += ms;
      b.failAll('refused');
      b.pong();
      assert.equal(Math.round(b.wait), most);
    }
  });

  test('while offline in that time it does not grow', () => {
    const b = started();
    b.random = 0.999999;
    b.failAll('refused');
    for (let i = 0; i < 10; i++) {
      b.pong(refused);
      assert.equal(Math.round(b.wait), 500);
      b.expire();
    }
    assert.equal(b.link.failures, 0);
    b.now += defaults.soon;
    b.pong(refused);
    assert.equal(b.link.failures, 1);
  });

  test('the first wait after a loss is 300 ms at most; of what lived for less than a second it is a failure', () => {
    for (const [lived, most, failures] of [[defaults.lived, 300, 0], [defaults.lived - 1, 500, 1]] as const) {
      const b = serving('websocket');
      b.random = 0.999999;
      b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, lived);
      assert.deepEqual([Math.round(b.wait), b.link.failures], [most, failures]);
      assert.deepEqual(of(b.effects, 'state')[0]?.event, { state: 'waiting', reason: 'websocket: cut', retryInMs: most });
    }
  });

  test('failures are forgotten after 30 s of health', () => {
    for (const [lived, failures] of [[defaults.healthy, 0], [defaults.healthy - 1, 3]] as const) {
      const b = serving('websocket');
      b.link = { ...b.link, failures: 3 };
      b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, lived);
      assert.equal(b.link.failures, failures);
    }
  });

  test('what lived for a second is something that worked', () => {
    const b = serving('websocket');
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, defaults.lived);
    assert.equal(b.link.alive, b.now);
    const c = serving('websocket');
    const { alive } = c.link;
    c.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, defaults.lived - 1);
    assert.equal(c.link.alive, alive);
  });

  test('Retry-After is waited out, with a tenth of jitter, and is never brief', () => {
    for (const [random, least, most] of [[0, 7_000, 7_000], [0.999999, 8_199, 8_200]] as const) {
      const b = started({ ladder: ['poll'] });
      b.random = random;
      b.fail('poll', 'server', { retryAfter: 7_000 });
      assert.ok(b.wait >= least && b.wait <= most, String(b.wait));
      assert.deepEqual(names(b.effects), ['waiting']);
    }
  });

  test('no server sends a client away for more than five minutes', () => {
    const b = started({ ladder: ['poll'] });
    b.random = 0;
    b.fail('poll', 'server', { retryAfter: 1e9 });
    assert.equal(b.wait, longest);
  });

  test('a server that asks for no time at all is not asked in a hot loop', () => {
    const b = started({ ladder: ['poll'] });
    for (let i = 0; i < 100; i++) round(b, 'server', { retryAfter: 0 });
    assert.ok(b.now > 300_000, String(b.now));
  });

  test('an error of the server needs no ping, a server that says nothing of it does', () => {
    const b = started({ ladder: ['poll'] });
    b.fail('poll', 'server', { error: new FairleadError('bad_request', 'no') });
    assert.equal(b.link.phase, 'waiting');
    const c = started({ ladder: ['poll'] });
    c.fail('poll', 'server');
    assert.equal(c.link.phase, 'probing');
  });
});
