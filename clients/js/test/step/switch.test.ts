import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { defaults } from '../../src/policy.ts';
import { names, of, serving, started } from '../support/bench.ts';

describe('a proof', () => {
  test('is a second thing, after the welcome', () => {
    const b = started({ ladder: ['websocket'] });
    assert.deepEqual(names(b.welcome('websocket')), []);
    assert.equal(b.main, undefined);
    assert.deepEqual(names(b.proof('websocket')), ['transport', 'connected']);
    assert.equal(b.main, 'websocket');
    assert.deepEqual(names(b.proof('websocket')), [], 'once');
  });

  test('comes in time, or the transport is held back', () => {
    const b = started({ ladder: ['websocket'] });
    b.welcome('websocket');
    b.pass(defaults.proof - 1);
    assert.deepEqual(b.under, ['websocket']);
    assert.deepEqual(names(b.pass(1)), ['detach', 'ping']);
    assert.equal(b.link.reason, 'websocket: no proof in time');
  });

  test('may come later while something is heard, but not for ever', () => {
    const b = started({ ladder: ['websocket'] });
    b.now += 100;
    b.welcome('websocket');
    const welcomed = b.now;
    const { id } = b.at('websocket');
    while (b.under.length > 0) {
      b.heard[id] = b.now + 900;
      b.pass(1_000);
    }
    assert.equal(b.now - welcomed, 3 * defaults.budget);
    const c = started({ ladder: ['websocket'] });
    c.welcome('websocket');
    c.heard[c.at('websocket').id] = c.now + 1_000;
    c.pass(1_000 + defaults.proof - 1);
    assert.deepEqual(c.under, ['websocket']);
    c.pass(1);
    assert.deepEqual(c.under, []);
  });

  test('a welcome that does not come within the budget is none', () => {
    const b = started({ ladder: ['websocket'] });
    b.pass(defaults.budget - 1);
    assert.deepEqual(b.under, ['websocket']);
    const [detach] = b.pass(1);
    assert.deepEqual(detach, { type: 'detach', attempt: 1, bye: false });
    assert.equal(b.link.reason, 'websocket: no welcome in time');
  });

  test('a second welcome does not take the trust away', () => {
    const b = serving('websocket');
    b.welcome('websocket');
    assert.equal(b.main, 'websocket');
  });

  test('a proof without a welcome proves nothing', () => {
    const b = started();
    b.proof('websocket');
    assert.equal(b.main, undefined);
  });

  test('what is no better than the one that serves by now is not wanted', () => {
    const b = started();
    b.pass(300);
    b.welcome('websocket');
    b.welcome('sse');
    const { id } = b.at('sse');
    b.now += 250;
    b.proof('websocket');
    assert.deepEqual(b.do({ type: 'proof', attempt: id }), [], 'it is gone already');
    assert.equal(b.main, 'websocket');
  });
});

describe('make before break', () => {
  test('upward: the one that serves is detached when the better one is proven, not before', () => {
    const b = serving('sse');
    b.lively = true;
    const { id } = b.at('sse');
    b.pass(defaults.climbs[0] ?? 0);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket']);
    assert.deepEqual(names(b.welcome('websocket')), []);
    b.now += 250;
    const effects = b.proof('websocket');
    assert.deepEqual(names(effects), ['detach', 'transport', 'switch']);
    assert.deepEqual(of(effects, 'detach')[0], { type: 'detach', attempt: id, bye: true });
    assert.deepEqual(of(effects, 'switch')[0]?.event, { from: 'sse', to: 'websocket', reason: 'climbing back' });
    assert.deepEqual(of(effects, 'transport')[0]?.event, { transport: 'websocket', from: 'sse', reason: 'climbing back' });
  });

  test('downward: the one in doubt stays until another is proven', () => {
    const b = serving('websocket');
    b.do({ type: 'doubt', attempt: b.at('websocket').id, reason: 'a publish is not answered' }, 10_000);
    assert.deepEqual(names(b.effects), ['attach']);
    b.pass(300);
    assert.deepEqual(b.under, ['websocket', 'websocket', 'sse'], 'the same again, beside it, and the next');
    b.welcome('sse');
    assert.equal(b.main, 'websocket');
    b.now += 250;
    const effects = b.proof('sse');
    assert.deepEqual(names(effects), ['detach', 'transport', 'switch']);
    assert.equal(of(effects, 'switch')[0]?.event.reason, 'websocket: a publish is not answered');
    assert.deepEqual(b.under, ['websocket', 'sse'], 'the better one that has begun goes on');
  });

  test('the same transport again takes over without a transport event', () => {
    const b = serving('websocket');
    const { id } = b.at('websocket');
    b.do({ type: 'goaway', attempt: id, after: 0 }, 10_000);
    b.expire();
    const effects = b.prove('websocket');
    assert.deepEqual(names(effects), ['detach', 'switch']);
    assert.deepEqual(of(effects, 'detach')[0], { type: 'detach', attempt: id, bye: true });
    assert.deepEqual(of(effects, 'switch')[0]?.event, { from: 'websocket', to: 'websocket', reason: 'the server asked to move' });
  });

  test('when it dies while others are at it, they go on, and what is left of the race begins', () => {
    const b = serving('websocket');
    const { id } = b.at('websocket');
    b.do({ type: 'doubt', attempt: id, reason: 'x' }, 10_000);
    b.begun();
    b.do({ type: 'ended', attempt: id, end: { kind: 'dropped', reason: 'reset' } }, 100);
    assert.deepEqual(names(b.effects), ['connecting']);
    assert.deepEqual(b.under, ['websocket']);
    const effects = b.prove('websocket');
    assert.deepEqual(names(effects), ['connected']);
  });

  test('when it dies while others are at it, what has failed is not tried again', () => {
    const b = serving('websocket');
    b.do({ type: 'doubt', attempt: 1, reason: 'x' }, 10_000);
    b.pass(300);
    b.fail('websocket', 'server');
    b.begun();
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'reset' } });
    assert.deepEqual(b.begun(), []);
  });

  test('when it dies while one climbs, the rest of the ladder joins that one at once', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(defaults.climbs[0] ?? 0);
    b.begun();
    b.now += 50;
    const at = b.now;
    assert.deepEqual(names(b.fail('sse', 'dropped')), ['connecting', 'attach']);
    b.pass(3_000);
    assert.deepEqual(b.begun(), [['sse', at], ['poll', at + 1_000], ['stream', at + 2_000]], 'no second WebSocket');
  });

  test('when nothing is to be had, the one that serves goes on', () => {
    const b = serving('websocket');
    b.lively = true;
    const { id } = b.at('websocket');
    b.do({ type: 'goaway', attempt: id, after: 1_000 }, 10_000);
    b.pass(1_000);
    assert.deepEqual(b.under, ['websocket', 'websocket']);
    for (const t of ['websocket', 'sse', 'poll', 'stream'] as const) b.fail(t, 'server');
    assert.deepEqual(b.under, ['websocket']);
    assert.equal(b.main, 'websocket');
    const at = b.now;
    b.begun();
    b.pass(defaults.cap);
    assert.deepEqual(b.begun()[0], ['websocket', at + defaults.cap], 'and is to be left again later');
  });
});
