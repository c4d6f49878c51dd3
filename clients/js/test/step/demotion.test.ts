import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Transport } from '../../src/frame.ts';
import { line } from '../../src/link.ts';
import { defaults } from '../../src/policy.ts';
import { names, of, serving, started, type Bench } from '../support/bench.ts';

describe('an unclean death', () => {
  /** The main one dies, is taken up again, and proves itself. */
  function die(b: Bench, t: Transport, ms: number): void {
    b.now += ms;
    b.heard[b.at(t).id] = b.now;
    b.do({ type: 'ended', attempt: b.at(t).id, end: { kind: 'dropped', reason: 'reset' }, heard: b.now });
    b.expire();
  }

  test('twice within two beats, in five minutes: last in line, and bad once another is proven', () => {
    const b = serving('websocket');
    die(b, 'websocket', 20_000);
    assert.equal(b.under[0], 'websocket', 'once is nothing');
    b.prove('websocket');
    die(b, 'websocket', 20_000);
    assert.deepEqual(b.under, ['sse']);
    assert.deepEqual(b.link.suspects, ['websocket']);
    assert.equal(b.link.rungs.websocket.bad, false);
    b.prove('sse');
    assert.equal(b.link.rungs.websocket.bad, true);
    assert.deepEqual(line(b.link).map((s) => s.transport), ['sse', 'poll', 'stream', 'websocket']);
    assert.equal(line(b.link)[3]?.at, Infinity);
  });

  test('after two beats is none', () => {
    const b = serving('websocket');
    for (let i = 0; i < 3; i++) {
      const { began } = b.at('websocket');
      die(b, 'websocket', began + 50_000 - b.now);
      b.prove('websocket');
    }
    assert.deepEqual(b.link.rungs.websocket.strikes, []);
    die(b, 'websocket', b.at('websocket').began + 49_999 - b.now);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
  });

  test('counts for five minutes', () => {
    const b = serving('websocket');
    die(b, 'websocket', 20_000);
    b.prove('websocket');
    const first = b.link.rungs.websocket.strikes[0] ?? 0;
    b.lively = true;
    b.pass(first + 290_000 - b.now);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
    b.do({ type: 'reconnect' });
    b.prove('websocket');
    die(b, 'websocket', first + defaults.strikeWindow - b.now);
    assert.deepEqual(b.link.suspects, []);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
    b.prove('websocket');
    die(b, 'websocket', 20_000);
    assert.deepEqual(b.link.suspects, ['websocket']);
  });

  test('is no clean end, and no word of the server', () => {
    for (const kind of ['server', 'refused'] as const) {
      const b = serving('websocket');
      b.fail('websocket', kind);
      assert.deepEqual(b.link.rungs.websocket.strikes, []);
    }
  });

  test('is damage, too', () => {
    const b = serving('websocket');
    b.fail('websocket', 'blocked');
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
  });

  test('is one that takes nothing up, however old it is', () => {
    const b = serving('websocket');
    b.lively = true;
    b.pass(3_600_000);
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', deaf: true, reason: 'commands are not answered' } });
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
  });

  test('is not held against the last of the ladder: there is nothing below it', () => {
    const b = serving('poll', { ladder: ['websocket', 'poll'] });
    for (let i = 0; i < 3; i++) {
      die(b, 'poll', 2_000);
      b.prove('poll');
    }
    assert.deepEqual(b.link.rungs.poll.strikes, []);
  });

  test('of an idle connection makes the beat half of what it lived, and never less than 5 s', () => {
    const b = serving('websocket');
    assert.equal(b.link.beat, null);
    b.fail('websocket', 'dropped');
    assert.equal(b.link.beat, null, 'it was not idle');
    b.expire();
    b.prove('websocket');
    b.do({ type: 'ended', attempt: b.at('websocket').id, end: { kind: 'dropped', reason: 'x' }, heard: b.now }, 20_000);
    assert.equal(b.link.beat, 10_000);
    b.expire();
    assert.equal(of(b.effects, 'attach')[0]?.beat, 10_000, 'and is asked for');
    const c = serving('websocket');
    c.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: c.now }, 2_500);
    assert.equal(c.link.beat, 5_000);
    const d = serving('websocket');
    d.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: d.now }, 2_499);
    assert.equal(d.link.beat, null);
    const e = serving('websocket');
    e.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: e.now }, 25_000);
    assert.equal(e.link.beat, null, 'a beat was due: that is another matter');
  });

  test('never makes the beat longer', () => {
    const b = serving('websocket');
    b.link = { ...b.link, beat: 6_000 };
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: b.now }, 20_000);
    assert.equal(b.link.beat, 6_000);
  });

  test('what was heard last is known to the end as well', () => {
    const b = serving('websocket');
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: b.now + 19_000 }, 20_000);
    assert.equal(b.link.beat, null);
  });
});

describe('what is held against a transport', () => {
  test('failures, once another is proven', () => {
    for (const kind of ['refused', 'blocked', 'dropped'] as const) {
      const b = started({}, { net: 'n' });
      b.fail('websocket', kind);
      assert.equal(b.link.rungs.websocket.bad, false, 'not yet');
      assert.deepEqual(b.link.suspects, ['websocket']);
      const effects = b.prove('sse');
      assert.deepEqual(of(effects, 'remember'), [{ type: 'remember', net: 'n', good: 'sse', bad: ['websocket'] }]);
      assert.deepEqual([b.link.rungs.websocket.bad, b.link.suspects], [true, []]);
    }
  });

  test('never what the server says', () => {
    const b = started();
    b.fail('websocket', 'server', { retryAfter: 1_000 });
    b.prove('sse');
    assert.equal(b.link.rungs.websocket.bad, false);
  });

  test('not a refusal of what has carried us before', () => {
    const b = serving('websocket');
    b.fail('websocket', 'dropped');
    b.expire();
    b.fail('websocket', 'refused');
    assert.deepEqual(b.link.suspects, []);
    const c = serving('websocket');
    c.fail('websocket', 'dropped');
    c.expire();
    c.fail('websocket', 'blocked');
    assert.deepEqual(c.link.suspects, ['websocket']);
  });

  test('a refusal of it beside the one in doubt is', () => {
    const b = serving('websocket');
    b.do({ type: 'doubt', attempt: 1, reason: 'x' });
    b.fail('websocket', 'refused');
    assert.deepEqual(b.link.suspects, ['websocket']);
  });

  test('a climb that failed, unless the server said so', () => {
    for (const [kind, bad] of [['blocked', true], ['refused', true], ['server', false]] as const) {
      const b = started();
      b.pass(300);
      b.prove('sse');
      b.fail('websocket', kind);
      assert.equal(b.link.rungs.websocket.bad, bad, kind);
      b.do({ type: 'reconnect' });
      assert.equal(b.link.rungs.websocket.bad, false, 'who asks for a new beginning gets one');
    }
    const b = serving('sse');
    b.lively = true;
    b.pass(30_000);
    b.fail('websocket', 'server');
    assert.equal(b.link.rungs.websocket.bad, true, 'nor does it say that it is good');
  });

  test('what serves is not bad any more', () => {
    const b = started({}, { net: 'n', remembered: { bad: ['websocket'] } });
    b.failAll('blocked');
    assert.equal(b.link.phase, 'probing');
    const c = serving('sse');
    c.lively = true;
    c.pass(30_000);
    c.prove('websocket');
    assert.equal(c.link.rungs.websocket.bad, false);
    assert.equal(c.link.rungs.websocket.next, Infinity);
  });

  test('nothing, when all fail: the next race is staggered again', () => {
    const b = started();
    b.failAll('blocked');
    b.pong();
    b.expire();
    b.begun();
    const at = b.now;
    b.pass(3_000);
    assert.deepEqual(b.begun().map(([, when]) => when - at), [250, 1_250], 'one at a time, each for its whole budget, is too slow');
  });

  test('what is tried last and hangs does not keep the rest from being tried again', () => {
    const b = serving('sse');
    b.fail('sse', 'dropped');
    b.expire();
    for (const t of ['sse', 'poll', 'stream'] as const) b.fail(t, 'refused');
    b.begun();
    const effects = b.pass(5_000);
    assert.ok(names(effects).includes('ping') || b.begun().some(([t]) => t === 'sse'), `only ${b.under} is being tried`);
  });

  test('where all are bad none is', () => {
    const b = started({}, { remembered: { bad: ['websocket', 'sse', 'stream', 'poll'] } });
    b.pass(2_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket', 'poll', 'sse', 'stream']);
  });

  test('what is tried last begins when nothing else is under way', () => {
    const b = started({}, { remembered: { bad: ['websocket', 'stream'] } });
    b.pass(5_000);
    assert.deepEqual(b.under, ['sse', 'poll']);
    b.fail('sse', 'blocked');
    assert.deepEqual(b.under, ['poll']);
    assert.deepEqual(names(b.fail('poll', 'blocked')), ['ping'], 'but not where nothing answers at all');
    b.pong();
    assert.deepEqual(b.under, ['websocket']);
    b.pass(defaults.stagger);
    assert.deepEqual(b.under, ['websocket', 'stream']);
    b.fail('websocket', 'blocked');
    assert.deepEqual(names(b.fail('stream', 'blocked')), ['ping']);
  });
});
