import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '../src/pace.ts';
import { VirtualClock } from './support/clock.ts';

/** With the worst of luck: each wait is the longest that it can be. */
function worst(): { pace: Pace; clock: VirtualClock } {
  const clock = Object.assign(new VirtualClock(1), { random: () => 1 });
  return { pace: new Pace(clock, { base: 500, cap: 30_000 }), clock };
}

test('commands go at once until some fail', () => {
  const { pace } = worst();
  assert.ok(pace.wait <= 0);
  assert.equal(pace.failures, 0);
});

test('each failure doubles the longest wait, up to the cap, and what is settled begins anew', () => {
  const { pace } = worst();
  const waits = Array.from({ length: 9 }, () => (pace.back(false), pace.wait));
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(pace.failures, 9);
  pace.settled();
  pace.back(false);
  assert.equal(pace.wait, 500);
});

test('a wait ends by the clock, and is random from nothing on', async () => {
  const { pace, clock } = worst();
  pace.back(false);
  await clock.run(499);
  assert.equal(pace.wait, 1);
  await clock.run(1);
  assert.ok(pace.wait <= 0);
  const lucky = new Pace(Object.assign(new VirtualClock(1), { random: () => 0 }), { base: 500, cap: 30_000 });
  lucky.back(false);
  assert.ok(lucky.wait <= 0);
});

test('the time that the server names is the least', () => {
  const { pace } = worst();
  pace.back(true, 7_000);
  assert.equal(pace.wait, 7_000);
});

test('another attachment need not wait for what the last one lost, but for what the server refused', () => {
  const { pace } = worst();
  pace.back(false);
  pace.anew();
  assert.deepEqual([pace.wait <= 0, pace.failures], [true, 0]);
  pace.back(true);
  pace.anew();
  assert.deepEqual([pace.wait, pace.failures], [500, 1]);
});

test('a server cannot send commands away for longer than five minutes, nor past a new beginning', () => {
  const { pace } = worst();
  pace.back(true, 86_400_000);
  assert.equal(pace.wait, 300_000);
  pace.anew();
  assert.equal(pace.wait, 300_000, 'another attachment is of the same server');
  pace.reset();
  assert.ok(pace.wait <= 0);
});
