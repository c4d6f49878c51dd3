import { defaults } from '../../src/policy.ts';
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../../src/error.ts';
import { deadline } from '../../src/link.ts';
import { names, of, serving, started } from '../support/bench.ts';

describe('the application', () => {
  test('reconnects: what there is is dropped in every phase, and a race begins at once', () => {
    const b = started({ ladder: ['websocket', 'sse'] });
    assert.deepEqual(names(b.do({ type: 'reconnect' })), ['detach', 'connecting', 'attach']);
    b.prove('websocket');
    const effects = b.do({ type: 'reconnect' });
    assert.deepEqual(of(effects, 'detach').map((e) => e.bye), [true]);
    b.failAll('server', { retryAfter: 60_000 });
    assert.equal(b.link.phase, 'waiting');
    b.do({ type: 'reconnect' });
    assert.deepEqual([b.link.phase, b.under, b.link.reason], ['open', ['websocket'], 'reconnect']);
    b.failAll('refused');
    b.failAll('refused');
    b.do({ type: 'reconnect' });
    assert.deepEqual(b.under, ['websocket']);
  });

  test('closes, for good', () => {
    const b = started();
    b.pass(300);
    b.welcome('sse');
    assert.deepEqual(names(b.do({ type: 'close' })), ['detach', 'detach', 'detach', 'closed']);
    for (const type of ['start', 'online', 'visible', 'reconnect', 'close'] as const) assert.deepEqual(b.do({ type }), []);
    assert.deepEqual(b.tick(), []);
    assert.equal(deadline(b.link), Infinity);
  });
});

describe('a stop', () => {
  test('drops everything, and a start goes on', () => {
    const b = serving('sse');
    b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'x' });
    assert.deepEqual(names(b.do({ type: 'stop' })), ['detach', 'detach']);
    assert.deepEqual([b.link.phase, b.under, deadline(b.link)], ['idle', [], Infinity]);
    for (const type of ['online', 'visible', 'reconnect'] as const) assert.deepEqual(b.do({ type }, 60_000), [], type);
    b.begun();
    b.do({ type: 'start' });
    assert.deepEqual(b.begun().map(([t]) => t), ['sse'], 'what served is the first');
    assert.deepEqual(b.do({ type: 'start' }), [], 'one start is enough');
  });

  test('ends a wait and a probe', () => {
    const b = started();
    b.failAll('refused');
    b.do({ type: 'stop' });
    assert.equal(deadline(b.link), Infinity);
    assert.deepEqual(b.pong(), []);
    assert.equal(b.link.phase, 'idle');
  });

  test('leaves close to work', () => {
    const b = serving('sse');
    b.do({ type: 'stop' });
    assert.deepEqual(names(b.do({ type: 'close' })), ['closed']);
    assert.deepEqual(b.do({ type: 'start' }), []);
  });
});

describe('errors, states', () => {
  const error = new FairleadError('bad_answer', 'this is a captive portal');

  test('an error is told once, until something has worked for long', () => {
    const b = started();
    let told = 0;
    for (let pass = 0; pass < 3; pass++) {
      while (b.link.attempts[0]) told += of(b.fail(b.link.attempts[0].transport, 'blocked', { error }), 'error').length;
      told += of(b.pong({ kind: 'blocked', reason: 'portal', error }), 'error').length;
      b.expire();
      b.pong();
    }
    assert.equal(told, 1);
    b.prove('websocket');
    b.pass(1_000);
    assert.deepEqual(of(b.fail('websocket', 'dropped', { error }), 'error'), []);
    b.expire();
    b.prove('websocket');
    b.lively = true;
    b.pass(defaults.healthy);
    assert.equal(of(b.fail('websocket', 'dropped', { error }), 'error').length, 1);
  });

  test('the same code in other words is told once, another code again', () => {
    const b = started({ ladder: ['poll'] });
    const told: string[] = [];
    for (let i = 0; i < 30; i++) {
      b.fail('poll', 'server', { error: new FairleadError(i < 20 ? 'x' : 'y', `error ${i}`) });
      told.push(...of(b.effects, 'error').map((e) => e.event.message));
      b.expire();
    }
    assert.deepEqual(told, ['error 0', 'error 20']);
  });

  test('an error of one transport is not told while another works', () => {
    const b = started();
    const effects = [...b.fail('websocket', 'blocked', { error }), ...b.fail('poll', 'server', { error }), ...b.prove('sse')];
    b.lively = true;
    effects.push(...b.pass(29_000), ...b.fail('sse', 'server'));
    assert.deepEqual(of(effects, 'error'), []);
  });

  test('a state has its reason', () => {
    const b = started({ ladder: ['poll'] });
    assert.deepEqual(b.effects[0], { type: 'state', event: { state: 'connecting', reason: '' } });
    b.fail('poll', 'refused');
    b.pong();
    assert.deepEqual(b.effects, [{ type: 'state', event: { state: 'waiting', reason: 'poll: refused, but pings pass: is this origin listed?', retryInMs: 250 } }]);
    b.expire();
    assert.deepEqual(b.effects[0], { type: 'state', event: { state: 'connecting', reason: 'poll: refused' } });
    b.prove('poll');
    assert.deepEqual(of(b.effects, 'state'), [{ type: 'state', event: { state: 'connected', reason: 'poll: refused' } }]);
    assert.equal(b.link.reason, '');
  });
});
