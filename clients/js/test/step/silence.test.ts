import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { carrier, mainOf, watched } from '../../src/link.ts';
import { defaults } from '../../src/policy.ts';
import { names, of, serving, silent, started } from '../support/bench.ts';

describe('silence', () => {
  test('past the beat and the grace, others are tried beside it; past one and a half beats it is dead', () => {
    const b = serving('websocket');
    const proven = b.now;
    b.pass(25_000 + defaults.grace - 1);
    assert.deepEqual(b.begun(), []);
    b.pass(1);
    assert.deepEqual(b.begun(), [['websocket', proven + 25_400]]);
    assert.ok(watched(b.link, 1));
    b.pass(37_500 - 25_400 - 1);
    assert.equal(b.main, 'websocket');
    const effects = b.pass(1);
    assert.equal(b.main, undefined);
    assert.deepEqual(of(effects, 'detach')[0], { type: 'detach', attempt: 1, bye: false });
  });

  test('a short beat has a second grace', () => {
    const b = serving('websocket', { ladder: ['websocket'] });
    b.link = { ...b.link, attempts: b.link.attempts.map((a) => ({ ...a, beat: 500 })) };
    b.pass(500 + defaults.grace);
    assert.ok(mainOf(b.link)?.doubted);
    b.pass(defaults.grace - 1);
    assert.ok(b.under.length === 2 && b.main);
    b.pass(1);
    assert.equal(b.main, undefined);
  });

  test('a long round trip is grace as well', () => {
    const b = started({ ladder: ['websocket'] });
    b.now += 4_000;
    b.prove('websocket');
    b.pass(25_000 + 1_999);
    assert.equal(mainOf(b.link)?.doubted, false);
    b.pass(1);
    assert.equal(mainOf(b.link)?.doubted, true);
  });

  test('is counted from what was heard last', () => {
    const b = serving('websocket');
    b.heard[1] = b.now + 20_000;
    b.pass(20_000 + 25_399);
    assert.equal(mainOf(b.link)?.doubted, false);
    b.pass(1);
    assert.equal(mainOf(b.link)?.doubted, true);
    assert.equal(b.link.reason, 'websocket: silent for 25400 ms');
  });

  test('of beats, while other things come, is a stream whose end is held back: another is tried, and this one is the last', () => {
    const b = serving('websocket');
    const { since } = b.at('websocket');
    b.lively = true;
    b.told = { 1: since };
    b.pass(37_900 - 1);
    assert.deepEqual(b.begun(), []);
    b.pass(1);
    assert.deepEqual(b.begun(), [['sse', since + 37_900]]);
    assert.deepEqual([b.main, b.link.suspects, b.link.reason], ['websocket', ['websocket'], 'websocket: held back']);
    assert.equal(carrier(b.link)?.transport, 'websocket', 'for want of another');
    b.welcome('sse');
    assert.equal(carrier(b.link)?.transport, 'sse');
    b.now += 250;
    const effects = b.proof('sse');
    assert.deepEqual(names(effects), ['detach', 'transport', 'switch']);
    assert.equal(b.link.rungs.websocket.bad, true);
  });

  test('of beats, where nothing else is to be had, is borne, and tried again later', () => {
    const b = serving('websocket', { ladder: ['websocket', 'sse'] });
    b.lively = true;
    b.told = { 1: b.now };
    b.pass(37_900);
    b.fail('sse', 'blocked');
    b.do({ type: 'ended', attempt: b.at('websocket').id, end: silent });
    assert.deepEqual([b.under, b.link.suspects], [['websocket'], []]);
    const at = b.now;
    b.begun();
    b.pass(37_900);
    assert.deepEqual(b.begun(), [['sse', at + 37_900]]);
  });

  test('that ends calls off the race: what is no better is detached, and nothing is held against it', () => {
    const b = serving('websocket');
    b.pass(25_400 + 1_300);
    assert.deepEqual(b.under, ['websocket', 'websocket', 'sse', 'poll']);
    b.fail('poll', 'blocked');
    b.welcome('sse');
    const effects = b.do({ type: 'spoke', attempt: 1 });
    assert.deepEqual(of(effects, 'detach').map((e) => e.bye), [false, true, false]);
    assert.deepEqual([b.under, b.link.queue, b.link.suspects], [['websocket'], [], []]);
    assert.equal(watched(b.link, 1), false);
    b.lively = true;
    b.begun();
    b.pass(20_000);
    assert.deepEqual(b.begun(), []);
  });

  test('that ends leaves better ones to go on', () => {
    const b = serving('sse');
    b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'x' }, 10_000);
    b.pass(100);
    // The WebSocket was bad, and so the last.
    for (const t of ['sse', 'poll', 'stream'] as const) {
      b.pass(1_000);
      b.do({ type: 'ended', attempt: b.link.attempts.findLast((a) => a.transport === t && a.stage !== 'main')?.id ?? -1, end: silent });
    }
    assert.deepEqual(b.under, ['sse', 'websocket']);
    b.do({ type: 'spoke', attempt: b.at('sse').id });
    assert.deepEqual(b.under, ['sse', 'websocket']);
    assert.equal(b.main, 'sse');
  });

  test('a climb that was under way in a doubt is repeated later, if it failed then', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(defaults.climbs[0] ?? 0);
    assert.deepEqual(b.under, ['sse', 'websocket']);
    const { id } = b.at('sse');
    b.do({ type: 'doubt', attempt: id, reason: 'x' });
    b.fail('websocket', 'blocked');
    b.do({ type: 'spoke', attempt: id });
    b.begun();
    b.pass(7_200_000);
    assert.ok(b.begun().some(([t]) => t === 'websocket'), 'it never climbs again');
  });

  test('a question has its own time to be answered', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = serving('websocket');
      assert.deepEqual(b.do({ type }, 10_000), [{ type: 'ask', attempt: 1 }]);
      assert.ok(watched(b.link, 1));
      b.pass(defaults.answer - 1);
      assert.equal(mainOf(b.link)?.doubted, false);
      b.pass(1);
      assert.equal(mainOf(b.link)?.doubted, true, 'no answer');
      const c = serving('websocket');
      c.do({ type }, 10_000);
      c.do({ type: 'spoke', attempt: 1 }, 100);
      c.pass(5_000);
      assert.equal(mainOf(c.link)?.doubted, false);
    }
  });

  test('a question over a slow network has two round trips', () => {
    const b = started({ ladder: ['websocket'] });
    b.now += 2_000;
    b.prove('websocket');
    b.do({ type: 'visible' }, 5_000);
    b.pass(1_999);
    assert.equal(mainOf(b.link)?.doubted, false);
    b.pass(1);
    assert.equal(mainOf(b.link)?.doubted, true);
  });

  test('a question to one that is in doubt already does not shorten its life', () => {
    const b = serving('websocket');
    b.pass(25_400 + 2_000);
    b.do({ type: 'visible' });
    b.pass(1_000);
    assert.equal(b.main, 'websocket', 'it has one and a half beats');
  });

  test('a doubt about another than the main one, or a second doubt, changes nothing', () => {
    const b = started();
    b.do({ type: 'doubt', attempt: b.at('websocket').id, reason: 'x' });
    assert.equal(b.link.attempts[0]?.doubted, false);
    const c = serving('websocket');
    c.do({ type: 'doubt', attempt: 1, reason: 'x' });
    c.begun();
    c.do({ type: 'doubt', attempt: 1, reason: 'y' });
    assert.deepEqual([c.begun(), c.link.reason], [[], 'websocket: x']);
  });
});
