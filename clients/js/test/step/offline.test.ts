import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deadline } from '../../src/link.ts';
import { defaults } from '../../src/policy.ts';
import { names, of, refused, serving, started } from '../support/bench.ts';

describe('offline', () => {
  test('when all have failed a ping asks whether anything answers', () => {
    const b = started();
    b.failAll('refused');
    assert.deepEqual(b.effects, [{ type: 'ping', limit: 1_000 }]);
    assert.equal(b.link.phase, 'probing');
    assert.equal(deadline(b.link), b.now + 1_000);
  });

  test('the ping has four round trips, but no more than 5 s', () => {
    for (const [trip, limit] of [[200, 1_000], [400, 1_600], [2_000, 5_000]] as const) {
      const b = started();
      b.link = { ...b.link, trip };
      b.failAll('refused');
      assert.deepEqual(b.effects, [{ type: 'ping', limit }]);
    }
  });

  test('nothing answers: everything is forgiven, and the application is told once', () => {
    const b = serving('websocket');
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' } }, 500);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
    b.expire();
    b.failAll('blocked');
    const effects = b.pong(refused);
    assert.deepEqual(names(effects), ['offline', 'offline']);
    assert.deepEqual(of(effects, 'offline'), [{ type: 'offline', event: { reason: 'no route' } }]);
    assert.deepEqual([b.link.suspects, b.link.rungs.websocket.strikes], [[], []]);
    assert.deepEqual(names(b.expire()), ['ping'], 'and asks again, without a race');
    assert.deepEqual(names(b.pong(refused)), ['offline'], 'the state, not the event');
  });

  test('a ping that is not answered is a failed one', () => {
    const b = started();
    b.failAll('refused');
    const effects = b.pass(1_000);
    assert.deepEqual(of(effects, 'offline')[0]?.event, { reason: 'nothing answers' });
    assert.ok(b.link.offline);
  });

  test('an answer brings a race at once', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.expire();
    b.begun();
    assert.deepEqual(names(b.pong()), ['connecting', 'attach', 'attach']);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket', 'poll']);
    assert.equal(b.link.offline, false);
  });

  test('a ping that is answered means that only the transports fail: the next race is not hurried', () => {
    const b = started();
    b.failAll('server');
    assert.deepEqual(names(b.pong()), ['waiting']);
    assert.equal(b.wait, 250);
    assert.deepEqual(names(b.expire()), ['connecting', 'attach', 'attach']);
  });

  test('a race that fails while offline needs no ping', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.do({ type: 'reconnect' });
    b.failAll('refused');
    assert.equal(b.link.phase, 'waiting');
    assert.deepEqual(names(b.effects), ['offline']);
  });

  test('what is proven ends it, and the next time is told again', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.do({ type: 'reconnect' });
    b.prove('websocket');
    assert.equal(b.link.offline, false);
    b.fail('websocket', 'dropped');
    b.expire();
    b.failAll('refused');
    assert.deepEqual(names(b.pong(refused)), ['offline', 'offline']);
  });

  test('pings have more patience after failures', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    assert.equal(of(b.expire(), 'ping')[0]?.limit, 1_000);
    b.link = { ...b.link, failures: 5 };
    b.pong(refused);
    assert.equal(of(b.expire(), 'ping')[0]?.limit, 4_000);
  });

  test('what stops only pings does not stop the races for ever', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.now += defaults.soon;
    assert.ok(of(b.expire(), 'attach').length > 0);
  });

  test('a pong that nobody waits for changes nothing', () => {
    const b = started();
    assert.deepEqual(b.pong(), []);
    assert.deepEqual(b.pong(refused), []);
    assert.deepEqual([b.link.phase, b.link.offline], ['open', false]);
  });
});
