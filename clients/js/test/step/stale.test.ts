import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Event } from '../../src/move.ts';
import { step } from '../../src/step.ts';
import { refused, silent, started } from '../support/bench.ts';

describe('what is stale', () => {
  test('events of an attempt that is gone change nothing', () => {
    const b = started();
    b.fail('websocket', 'refused');
    const before = b.link;
    for (const attempt of [1, 0, 99]) {
      for (const type of ['proof', 'welcome', 'goaway', 'ended', 'spoke', 'doubt'] as const) {
        const event = { type, attempt, now: b.now, random: b.random, lacking: false, beat: 1, after: 1, reason: '', end: silent } as Event;
        const [after, effects] = step(before, event);
        assert.deepEqual([after, effects], [before, []]);
      }
    }
  });

  test('a tick that comes early changes nothing', () => {
    const b = started();
    const { now: _, ...before } = b.link;
    b.do({ type: 'tick', heard: {}, told: {} }, 249);
    const { now: __, ...after } = b.link;
    assert.deepEqual([after, b.effects], [before, []]);
    b.failAll('server', { retryAfter: 10_000 });
    assert.deepEqual(b.do({ type: 'tick', heard: {}, told: {} }, 9_000), [], 'in a wait');
  });

  test('nobody changes a link that was given out', () => {
    const freeze = <T>(value: T): T => {
      if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
      return value;
    };
    const b = started();
    const run = (act: () => void): void => {
      freeze(b.link);
      act();
    };
    run(() => void b.fail('websocket', 'blocked'));
    run(() => void b.welcome('sse', { net: 'n' }));
    run(() => void b.proof('sse'));
    run(() => void b.do({ type: 'goaway', attempt: b.at('sse').id, after: 0 }));
    run(() => void b.expire());
    run(() => void b.fail('sse', 'dropped'));
    run(() => b.failAll('refused'));
    run(() => void b.pong(refused));
    run(() => void b.do({ type: 'online' }, 5_000));
    run(() => void b.do({ type: 'close' }));
  });
});
