import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Transport } from '../../src/frame.ts';
import { deadline, ladder, mainOf } from '../../src/link.ts';
import { longest } from '../../src/policy.ts';
import { names, serving, started } from '../support/bench.ts';

describe('goaway', () => {
  test('moves after the time it names, beside the one that still serves, without a penalty', () => {
    const b = serving('websocket');
    b.now += 5_000;
    assert.deepEqual(b.do({ type: 'goaway', attempt: 1, after: 1_500 }), []);
    assert.equal(deadline(b.link), b.now + 1_500);
    b.lively = true;
    b.pass(1_499);
    assert.deepEqual(b.begun(), []);
    b.pass(1);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket']);
    assert.equal(b.link.reason, 'the server asked to move');
    b.prove('websocket');
    assert.deepEqual([b.under, b.link.failures, b.link.suspects], [['websocket'], 0, []]);
  });

  test('that ends before its time waits it out, with jitter', () => {
    for (const [random, least, most] of [[0, 600, 600], [0.999999, 900, 960]] as const) {
      const b = serving('websocket');
      b.random = random;
      b.do({ type: 'goaway', attempt: 1, after: 1_000 }, 5_000);
      b.do({ type: 'ended', attempt: 1, end: { kind: 'server', reason: '1012' } }, 400);
      assert.ok(b.wait >= least && b.wait <= most, String(b.wait));
      assert.equal(b.link.failures, 0);
    }
  });

  test('that was never given, though the server sends everybody away again and again, makes the waits grow', () => {
    const b = serving('websocket', { ladder: ['websocket'] });
    b.random = 0.999999;
    const waits: number[] = [];
    for (let i = 0; i < 30; i++) {
      b.pass(2_000);
      b.do({ type: 'ended', attempt: b.at('websocket').id, end: { kind: 'server', reason: '1011' } });
      waits.push(Math.round(b.wait));
      b.expire();
      b.prove('websocket');
    }
    assert.ok((waits.at(-1) ?? 0) >= 20_000, String(waits));
  });

  test('that ends after its time goes on with the race', () => {
    const b = serving('websocket');
    b.do({ type: 'goaway', attempt: 1, after: 100 }, 5_000);
    b.pass(100);
    b.begun();
    b.do({ type: 'ended', attempt: 1, end: { kind: 'server', reason: '1012' } });
    assert.deepEqual(names(b.effects), ['connecting']);
    assert.deepEqual([b.under, b.begun()], [['websocket'], []]);
  });

  test('is waited out even if a better one was being tried', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(30_000);
    b.do({ type: 'goaway', attempt: b.at('sse').id, after: 5_000 });
    b.begun();
    b.fail('sse', 'server');
    b.pass(4_000);
    assert.deepEqual(b.begun(), [], 'no new attempt within the time');
    b.fail('websocket', 'blocked');
    assert.deepEqual(b.begun(), [], 'nor when the better one fails');
    b.pass(1_000);
    assert.ok(b.begun().length > 0, 'and then there is');
  });

  test('for a time before now is at once, for a year is five minutes', () => {
    for (const [after, at] of [[-5, 0], [1e12, longest]] as const) {
      const b = serving('websocket');
      b.do({ type: 'goaway', attempt: 1, after });
      assert.equal(b.link.attempts[0]?.leave, b.now + at);
    }
  });

  test('silence while it is being left does not make a second race', () => {
    const b = serving('websocket');
    b.do({ type: 'goaway', attempt: 1, after: 20_000 });
    b.pass(20_000);
    b.begun();
    b.pass(5_500);
    assert.deepEqual([mainOf(b.link)?.doubted, mainOf(b.link)?.leaving], [true, true]);
    assert.deepEqual(b.begun().filter(([t]) => t === 'websocket'), []);
    b.do({ type: 'spoke', attempt: 1 });
    assert.deepEqual([mainOf(b.link)?.doubted, mainOf(b.link)?.leaving], [false, true]);
    assert.ok(b.under.length > 1, 'it is left all the same');
  });

  test('silence while it is being left does not try again what has failed', () => {
    const b = serving('websocket');
    b.do({ type: 'goaway', attempt: 1, after: 20_000 });
    b.pass(22_000);
    b.fail('websocket', 'server');
    b.begun();
    b.pass(3_500);
    assert.equal(mainOf(b.link)?.doubted, true);
    assert.deepEqual(b.begun().filter(([t]) => t === 'websocket'), []);
  });

  test('a server that sends everybody away at once is not asked in a hot loop', () => {
    const b = started();
    for (let i = 0; i < 50; i++) {
      b.prove('websocket');
      b.do({ type: 'goaway', attempt: b.at('websocket').id, after: 0 });
      b.fail('websocket', 'server');
      b.expire();
    }
    assert.ok(b.now > 300_000, String(b.now));
  });
});

describe('what the server offers', () => {
  test('and nothing else is tried, in the order of the policy', () => {
    const b = started();
    b.prove('websocket', { offered: ['poll', 'websocket'] });
    assert.deepEqual(ladder(b.link), ['websocket', 'poll']);
    b.do({ type: 'reconnect' });
    b.begun();
    b.pass(5_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['poll']);
  });

  test('is believed until it says otherwise', () => {
    const b = started();
    b.welcome('websocket', { offered: ['poll'] });
    b.welcome('poll');
    assert.deepEqual(ladder(b.link), ['poll']);
  });

  test('nonsense is not believed', () => {
    const b = started({ ladder: ['sse', 'poll'] });
    for (const offered of [[], ['websocket'], ['telex' as Transport]] as Transport[][]) {
      b.welcome('sse', { offered });
      assert.deepEqual(ladder(b.link), ['sse', 'poll']);
    }
  });

  test('what it does not offer is not climbed to', () => {
    const b = serving('poll', { ladder: ['websocket', 'sse', 'poll'] });
    b.lively = true;
    b.link = { ...b.link, offered: ['sse', 'poll'] };
    b.pass(30_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['sse']);
  });
});
