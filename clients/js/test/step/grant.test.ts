import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../../src/error.ts';
import { deadline, mainOf } from '../../src/link.ts';
import { Bench, names, of, refused, serving, started } from '../support/bench.ts';

const failure = (code: string): FairleadError => new FairleadError(code, code);

/** A bench whose main one was welcomed with a token of that life. */
function granted(expires: number, random = 0): Bench {
  const b = started({ ladder: ['websocket', 'sse', 'poll'] });
  b.random = random;
  b.do({ type: 'welcome', attempt: b.at('websocket').id, beat: 1e9, expires });
  b.proof('websocket');
  b.begun();
  return b;
}

/** Lets time pass until another token is asked for; how long that took. */
function until(b: Bench): number {
  const began = b.now;
  while (of(b.effects, 'renew').length === 0) {
    assert.ok(deadline(b.link) - began < 1e9, 'it is never asked for');
    b.expire();
  }
  b.effects = [];
  return b.now - began;
}

describe('a token', () => {
  test('is renewed after four fifths of its life, at least five seconds ahead of its end, and not by all clients at once', () => {
    for (const [life, random, want] of [[100_000, 0, 80_000], [100_000, 1, 72_000], [20_000, 0, 15_000], [10_000, 0, 5_000], [6_000, 0, 3_000], [5_000, 1, 2_250]] as const) {
      assert.equal(until(granted(life, random)), want, `${life}, ${random}`);
    }
  });

  test('that does not end is not renewed', () => {
    const b = serving('websocket');
    b.lively = true;
    b.pass(86_400_000);
    assert.equal(b.link.renewal, Infinity);
  });

  test('that lives shortly is renewed later and later', () => {
    const b = granted(1_000, 0.5);
    const waits: number[] = [];
    for (let i = 0; i < 12; i++) {
      waits.push(until(b));
      b.do({ type: 'renewed', expires: 1_000 });
    }
    assert.deepEqual(waits.slice(0, 5), [475, 750, 1_500, 3_000, 6_000]);
    assert.ok(waits.slice(8).every((wait) => wait === 22_500), String(waits));
  });

  test('that nobody gives, or answers for, is asked for again', () => {
    const b = granted(100_000);
    until(b);
    assert.equal(until(b), b.link.policy.budget);
    b.do({ type: 'renewed', error: failure('token') });
    assert.deepEqual(names(b.effects), []);
    assert.equal(until(b), 0, 'the first time at once');
    assert.deepEqual(names(b.do({ type: 'renewed', error: failure('token') })), ['error'], 'and then it is told');
    assert.equal(until(b), 500);
    assert.deepEqual(names(b.do({ type: 'renewed', error: failure('token') })), [], 'once');
    until(b);
    b.do({ type: 'renewed', expires: 100_000 });
    assert.equal(until(b), 80_000);
  });

  test('that a command was refused for is renewed at once, and at once only', () => {
    const b = granted(100_000);
    b.do({ type: 'stale' });
    b.tick();
    assert.equal(until(b), 0);
    b.do({ type: 'renewed', expires: 100_000 });
    b.do({ type: 'stale' });
    assert.equal(until(b), 500);
  });

  test('is renewed for who serves only', () => {
    const b = granted(100_000);
    b.fail('websocket', 'dropped');
    b.failAll('blocked');
    b.pass(99_000);
    assert.deepEqual(of(b.effects, 'renew'), []);
  });

  test('that the application has anew is asked for, and takes the place of waits', () => {
    const b = granted(100_000);
    assert.deepEqual(names(b.do({ type: 'refresh' })), ['renew']);
    b.fail('websocket', 'server', { error: failure('expired') });
    b.fail('websocket', 'server', { error: failure('expired') });
    assert.equal(b.link.phase, 'waiting');
    b.begun();
    b.do({ type: 'refresh' });
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket']);
    const idle = started();
    idle.do({ type: 'stop' });
    assert.deepEqual(idle.do({ type: 'refresh' }), []);
  });
});

describe('what the server does not let in', () => {
  test('with a token that has expired comes again at once with another, then later and later; that is told the second time', () => {
    const b = started();
    b.random = 0;
    const told: string[] = [];
    for (const wait of [0, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
      const effects = b.fail(b.link.attempts[0]?.transport ?? 'poll', 'server', { error: failure('expired') });
      told.push(...of(effects, 'error').map((e) => e.event.code));
      if (wait > 0) assert.equal(b.wait, wait);
      if (wait > 0) b.expire();
      assert.deepEqual(b.begun().at(-1)?.[1], b.now);
    }
    assert.deepEqual(told, ['expired']);
    assert.deepEqual([b.link.suspects, b.link.rungs.websocket.bad, b.link.rungs.poll.strikes], [[], false, []]);
  });

  test('after some minutes is let off again', () => {
    const b = started({ ladder: ['poll'] });
    b.fail('poll', 'server', { error: failure('expired') });
    b.prove('poll');
    b.lively = true;
    b.pass(b.link.policy.strikeWindow);
    b.begun();
    b.fail('poll', 'server', { error: failure('expired') });
    assert.deepEqual(b.begun(), [['poll', b.now]]);
  });

  test('as unauthorized is let go after a second token; with a welcome between them it is not', () => {
    const b = started({ ladder: ['poll'] });
    b.fail('poll', 'server', { error: failure('unauthorized') });
    b.prove('poll');
    assert.deepEqual(names(b.fail('poll', 'server', { error: failure('unauthorized') })), ['error', 'waiting']);
    b.expire();
    assert.deepEqual(names(b.fail('poll', 'server', { error: failure('unauthorized') })), ['refused'], 'it was told');
    assert.equal(deadline(b.link), Infinity);
    for (const type of ['online', 'visible'] as const) assert.deepEqual(b.do({ type }, 10_000), []);
    assert.deepEqual(names(b.do({ type: 'reconnect' })), ['connecting', 'attach']);
    assert.deepEqual(names(b.fail('poll', 'server', { error: failure('unauthorized') })), ['connecting', 'attach'], 'a new beginning');
  });

  test('as unauthorized after a welcome is asked for anew when the second of the revocation is over', () => {
    const b = started({ ladder: ['websocket'] });
    b.pass(10);
    b.prove('websocket');
    b.lively = true;
    b.begun();
    b.fail('websocket', 'server', { error: failure('unauthorized') });
    b.pass(b.link.policy.revoked - 1);
    assert.deepEqual(b.begun(), []);
    b.pass(b.link.policy.base);
    assert.notEqual(b.begun().length, 0);
  });

  test('for good is told once, whatever served', () => {
    for (const [code, final] of [['forbidden', false], ['expired', true], ['unauthorized', true]] as const) {
      for (const b of [serving('websocket'), started({ ladder: ['websocket'] })]) {
        assert.deepEqual(names(b.fail('websocket', 'server', { error: failure(code), final })), ['error', 'refused']);
        assert.equal(b.link.attempts.length, 0);
      }
    }
  });

  test('beside what serves is no reason to leave that', () => {
    const b = serving('sse');
    b.lively = true;
    for (const code of ['expired', 'unauthorized', 'forbidden', 'unauthorized']) {
      while (!b.under.includes('websocket')) b.expire();
      assert.deepEqual(names(b.fail('websocket', 'server', { error: failure(code) })), []);
      assert.equal(mainOf(b.link)?.transport, 'sse');
      assert.equal(b.link.rungs.websocket.bad, true, 'as before');
      if (code === 'forbidden') continue;
      assert.ok(b.link.renewal < b.now + 10_000, 'what serves gets another token, too');
      b.do({ type: 'renewed' });
    }
  });

  test('one of several that begin together takes the others back', () => {
    const b = started();
    assert.deepEqual(names(b.fail('websocket', 'server', { error: failure('expired') })), ['detach', 'connecting', 'attach', 'attach']);
  });

  test('says that the server answers: the network is not away', () => {
    const b = started({ ladder: ['poll'] });
    b.fail('poll', 'refused');
    b.pong(refused);
    assert.equal(b.link.offline, true);
    b.do({ type: 'visible' }, 60_000);
    b.fail('poll', 'server', { error: failure('forbidden') });
    assert.deepEqual([b.link.offline, b.link.phase], [false, 'refused']);
  });

  test('once is not told, not even when something else fails after it', () => {
    const b = started({ ladder: ['poll'] });
    b.fail('poll', 'server', { error: failure('expired') });
    b.fail('poll', 'refused');
    assert.deepEqual(of(b.pong(refused), 'error'), []);
  });

  test('while it waits for its proof gives the others their turn', () => {
    const b = started({ ladder: ['stream', 'websocket'] });
    b.fail('websocket', 'blocked');
    b.begun();
    b.do({ type: 'welcome', attempt: b.at('stream').id, beat: 25_000, expires: 20_000 });
    b.do({ type: 'ended', attempt: b.at('stream').id, end: { kind: 'server', reason: 'expired', error: failure('expired') } });
    assert.equal(b.link.phase, 'waiting');
    const c = started({ ladder: ['websocket', 'stream'] }, { remembered: { bad: ['websocket'] } });
    c.welcome('stream');
    c.begun();
    c.fail('stream', 'server', { error: failure('expired') });
    assert.deepEqual(c.begun().map(([t]) => t), ['websocket'], 'not that one again and again');
  });

  test('waits at least as long as the server asks', () => {
    const b = started({ ladder: ['poll'] });
    b.random = 0;
    b.fail('poll', 'server', { error: failure('expired'), retryAfter: 7_000 });
    assert.equal(b.wait, 7_000);
  });
});

/** A bench that was started without a token, and has asked for one. */
function lacking(): Bench {
  const b = new Bench();
  b.lacking = true;
  assert.deepEqual(names(b.do({ type: 'start' })), ['connecting', 'renew']);
  return b;
}

/** The application has given one. */
function give(b: Bench, ms = 0): void {
  b.lacking = false;
  b.do({ type: 'given' }, ms);
}

describe('without a token', () => {
  test('nothing begins: it is asked for once, and no time runs', () => {
    const b = lacking();
    assert.equal(deadline(b.link), Infinity);
    for (const type of ['online', 'visible'] as const) assert.deepEqual(of(b.do({ type }, 2_000), 'renew'), []);
    assert.deepEqual([b.begun(), b.link.attempts], [[], []]);
    give(b, 5_000);
    b.pass(250);
    assert.deepEqual(b.begun(), [['websocket', 10_000], ['poll', 10_000], ['sse', 10_250]], 'as if it had begun now');
  });

  test('a race that another was refused in goes on from the start', () => {
    const b = started();
    b.lacking = true;
    b.begun();
    assert.deepEqual(names(b.fail('websocket', 'server', { error: failure('expired') })), ['detach', 'connecting', 'renew']);
    give(b, 7_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket', 'poll']);
    assert.deepEqual([b.link.suspects, b.link.failures], [[], 0]);
  });

  test('beside what serves neither a race nor a climb begins before it is there', () => {
    const b = serving('sse');
    b.lacking = true;
    assert.deepEqual(names(b.do({ type: 'refresh' })), ['renew']);
    assert.deepEqual(names(b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'no reply' })), [], 'it is asked for');
    b.do({ type: 'spoke', attempt: b.at('sse').id });
    assert.deepEqual(b.begun(), []);
    b.lively = true;
    b.pass(60_000);
    assert.ok(b.now >= b.link.rungs.websocket.next);
    assert.deepEqual(b.begun(), [], 'whatever else was due meanwhile');
    give(b);
    assert.deepEqual(b.begun(), [['websocket', b.now]]);
  });

  test('what serves can be lost, and the race that was to join it is run when it is there', () => {
    const b = serving('sse');
    b.lacking = true;
    b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'no reply' });
    b.fail('sse', 'dropped');
    assert.equal(b.link.phase, 'open');
    give(b, 100);
    assert.notEqual(b.begun().length, 0);
  });

  test('it is asked for at once when there was none, later and later after that, and told the second time', () => {
    const b = lacking();
    b.random = 0.5;
    assert.deepEqual(names(b.do({ type: 'renewed', error: failure('token') })), ['connecting', 'renew']);
    assert.deepEqual(names(b.do({ type: 'renewed', error: failure('token') })), ['error', 'waiting']);
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      waits.push(b.wait);
      assert.deepEqual(names(b.expire()), ['connecting', 'renew']);
      assert.deepEqual(names(b.do({ type: 'renewed', error: failure('token') })), ['waiting'], 'once');
    }
    assert.deepEqual(waits, waits.toSorted((a, c) => a - c));
    assert.ok((waits[0] ?? 0) > 0 && (waits.at(-1) ?? Infinity) <= b.link.policy.cap, String(waits));
    assert.deepEqual(names(b.do({ type: 'online' }, 2_000)), ['connecting', 'renew'], 'the network may have been why');
    assert.deepEqual([b.link.offline, b.link.suspects], [false, []]);
  });

  test('that is asked for while something is under way nothing else is done when there is none', () => {
    const b = started();
    b.lacking = true;
    b.tick();
    assert.deepEqual(names(b.do({ type: 'renewed', error: failure('token') })), []);
    assert.equal(b.link.phase, 'open');
    b.failAll('refused');
    assert.equal(b.link.asking, true, 'when that has failed it is asked for again');
  });

  test('another function is asked, though the first has not answered', () => {
    const b = lacking();
    for (const type of ['refresh', 'reconnect'] as const) assert.deepEqual(names(b.do({ type })), ['connecting', 'renew']);
    b.do({ type: 'stop' });
    b.do({ type: 'refresh' });
    assert.deepEqual(names(b.do({ type: 'start' })), ['connecting', 'renew']);
  });

  test('a cookie, of which nothing is known, is shown when the application says so, and again only then', () => {
    for (const transport of ['sse', 'stream'] as const) {
      const b = serving(transport);
      b.lively = true;
      assert.deepEqual(names(b.do({ type: 'refresh' })), ['renew']);
      b.do({ type: 'given' });
      b.do({ type: 'renewed' }, 100);
      assert.equal(b.link.renewal, Infinity);
      assert.deepEqual(names(b.do({ type: 'refresh' })), ['renew']);
      b.do({ type: 'given' });
      assert.deepEqual(names(b.do({ type: 'renewed', error: failure('expired') }, 100)), [], 'told the second time');
      assert.deepEqual(names(b.expire()), ['renew'], 'the browser may have another by now');
      assert.equal(b.main, transport);
    }
  });
});
