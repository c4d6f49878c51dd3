import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deadline, mainOf } from '../../src/link.ts';
import { defaults } from '../../src/policy.ts';
import { Bench, names, serving, started } from '../support/bench.ts';

describe('online and visible', () => {
  test('in a wait: a race at once, but not in a hot loop', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = started({ ladder: ['poll'] });
      b.random = 0.999;
      b.failAll('refused');
      b.pong();
      b.do({ type }, 500);
      if (b.link.phase === 'waiting') b.do({ type: 'reconnect' });
      b.failAll('refused');
      b.pong();
      b.link = { ...b.link, until: b.now + 30_000 };
      b.begun();
      b.do({ type }, defaults.calm - 1);
      assert.deepEqual(b.begun(), [], 'too close to the last one');
      b.do({ type }, 1);
      assert.deepEqual(b.begun().map(([t]) => t), ['poll']);
      b.do({ type }, 1);
      assert.deepEqual(b.begun(), []);
    }
  });

  test('never against the word of the server', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = started();
      b.failAll('server', { retryAfter: 10_000 });
      assert.equal(b.link.phase, 'waiting');
      b.do({ type }, 5_000);
      assert.equal(b.link.phase, 'waiting');
      b.do({ type }, 4_999);
      assert.equal(b.link.phase, 'waiting');
      b.do({ type }, 1);
      assert.equal(b.link.phase, 'open');
    }
  });

  test('online in the middle of a race begins it anew: what hangs on the old network would hang for long', () => {
    const b = started();
    b.pass(2_500);
    b.begun();
    const effects = b.do({ type: 'online' });
    assert.deepEqual(names(effects), ['detach', 'detach', 'detach', 'detach', 'connecting', 'attach', 'attach']);
    const c = started();
    c.pass(2_500);
    assert.deepEqual(c.do({ type: 'visible' }), [], 'looking changes nothing');
  });

  test('online forgets what is known of the network', () => {
    const b = serving('sse');
    b.link = { ...b.link, beat: 6_000, trip: 300, suspects: ['poll'] };
    b.do({ type: 'online' }, 2_000);
    const { rungs, suspects, beat, trip } = b.link;
    assert.deepEqual([rungs.websocket.bad, suspects, beat, trip], [false, [], null, 0]);
    const c = serving('sse');
    c.do({ type: 'visible' }, 2_000);
    assert.equal(c.link.rungs.websocket.bad, true, 'visible does not');
  });

  test('a burst of them is one', () => {
    const b = serving('sse');
    b.pass(20_000);
    for (let i = 0; i < 10; i++) {
      b.do({ type: 'online' });
      b.pass(0);
      if (b.under.includes('websocket')) b.fail('websocket', 'refused');
      b.do({ type: 'spoke', attempt: b.at('sse').id }, 50);
    }
    const begun = b.begun();
    assert.ok(begun.length <= 1, `${begun.length} attempts in half a second`);
  });

  test('before the start they change nothing', () => {
    const b = new Bench();
    assert.deepEqual(b.do({ type: 'online' }), []);
    assert.deepEqual(b.do({ type: 'visible' }), []);
    assert.equal(b.link.phase, 'idle');
  });
});

describe('frozen timers', () => {
  test('an attempt that slept with its page had no chance: nothing is held against it', () => {
    for (const [late, bad] of [[defaults.frozen + 1, false], [defaults.frozen, true]] as const) {
      const b = started();
      b.fail('websocket', 'server');
      b.prove('sse');
      b.lively = true;
      b.pass(defaults.climbs[0] ?? 0);
      assert.deepEqual(b.under, ['sse', 'websocket']);
      b.late = late;
      b.expire();
      assert.deepEqual([b.under, b.link.rungs.websocket.bad], [['sse'], bad]);
    }
  });

  test('the main one is asked about before it is given up, however long it slept', () => {
    for (const late of [3_001, 12_000, 12_200, 14_000, 20_000, 3_600_000]) {
      const b = serving('websocket');
      b.late = late;
      b.expire();
      b.tick();
      assert.equal(b.main, 'websocket', `after ${late} ms`);
      assert.equal(mainOf(b.link)?.doubted, true, 'others are tried');
      b.late = 0;
      b.do({ type: 'spoke', attempt: 1 }, 50);
      assert.deepEqual(b.under, ['websocket']);
    }
  });

  test('one in doubt gets another half a beat', () => {
    const b = serving('websocket', { ladder: ['websocket'] });
    b.pass(25_400);
    b.fail('websocket', 'server');
    b.late = 60_000;
    b.expire();
    assert.equal(b.main, 'websocket');
    b.late = 0;
    b.pass(12_499);
    assert.equal(b.main, 'websocket');
    b.pass(1);
    assert.equal(b.main, undefined);
  });

  test('with a question open they do not spin', () => {
    const b = serving('websocket', { ladder: ['websocket'] });
    b.pass(25_400 + 2_000);
    b.do({ type: 'visible' });
    b.now += 60_000;
    for (let i = 0; i < 5; i++) b.tick();
    assert.ok(deadline(b.link) > b.now, 'the next tick is in the past');
  });
});
