import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { defaults } from '../../src/policy.ts';
import { serving, started } from '../support/bench.ts';

describe('climbing', () => {
  test('after 30 s, 2 min, 10 min, then hourly', () => {
    const b = serving('sse');
    b.lively = true;
    const waits: number[] = [];
    for (let i = 0, from = b.now; i < 6; i++, from = b.now) {
      while (b.begun().length === 0) b.expire();
      assert.deepEqual(b.under, ['sse', 'websocket']);
      waits.push(b.now - from);
      b.fail('websocket', 'blocked');
    }
    assert.deepEqual(waits, [30_000, 120_000, 600_000, 3_600_000, 3_600_000, 3_600_000]);
  });

  test('one at a time each: what is under way does not begin again', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(30_000 + defaults.budget - 1);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket']);
  });

  test('begins anew once it has served for five minutes', () => {
    for (const [ms, climbs] of [[defaults.settled, 0], [defaults.settled - 1, 1]] as const) {
      const b = serving('sse');
      b.lively = true;
      b.pass(30_000);
      b.prove('websocket');
      b.now += ms;
      b.do({ type: 'ended', attempt: b.at('websocket').id, end: { kind: 'server', reason: 'x' }, heard: b.now });
      assert.equal(b.link.rungs.websocket.climbs, climbs);
    }
  });

  test('never to what is worse, nor while others are tried in its place', () => {
    const b = serving('websocket');
    b.lively = true;
    b.pass(10_000_000);
    assert.deepEqual(b.begun(), []);
    const c = serving('sse');
    c.do({ type: 'goaway', attempt: c.at('sse').id, after: 29_000 });
    c.lively = true;
    c.pass(29_000);
    c.pass(3_000);
    assert.ok(!c.under.includes('websocket'));
  });

  test('never while others are tried in its place', () => {
    const b = started();
    b.fail('websocket', 'server');
    b.prove('sse');
    b.lively = true;
    b.pass(29_000);
    b.do({ type: 'goaway', attempt: b.at('sse').id, after: 0 });
    b.pass(500);
    b.fail('websocket', 'server');
    b.begun();
    b.pass(5_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['stream']);
  });

  test('at once on another network, and when the page is looked at again', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = serving('sse');
      const began = b.now;
      b.do({ type }, 10 * defaults.calm);
      b.pass(0);
      assert.deepEqual(b.begun(), [['websocket', began + 10_000]]);
      assert.equal(b.main, 'sse');
    }
  });

  test('not each time that somebody looks', () => {
    const b = serving('sse');
    b.do({ type: 'visible' }, 10 * defaults.calm - 251);
    b.do({ type: 'spoke', attempt: b.at('sse').id });
    b.pass(0);
    assert.deepEqual(b.begun(), []);
  });

  test('what failed in the race a moment ago is not climbed to at once', () => {
    const b = started({ ladder: ['websocket', 'sse', 'poll'] });
    b.fail('websocket', 'server');
    b.prove('sse');
    b.lively = true;
    b.pass(29_000);
    b.fail('sse', 'dropped');
    b.expire();
    b.fail('sse', 'blocked');
    b.fail('websocket', 'blocked');
    b.prove('poll');
    b.begun();
    b.pass(10_000);
    assert.deepEqual(b.begun(), []);
  });

  test('an attempt that is the better one of two replaces, the other goes on', () => {
    const b = serving('poll', { ladder: ['websocket', 'sse', 'poll'] });
    b.lively = true;
    b.pass(30_000);
    assert.deepEqual(b.under, ['poll', 'websocket', 'sse']);
    b.prove('sse');
    assert.deepEqual(b.under, ['websocket', 'sse']);
    b.prove('websocket');
    assert.deepEqual(b.under, ['websocket']);
  });
});
