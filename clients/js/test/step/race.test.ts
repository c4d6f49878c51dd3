import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { carrier, line } from '../../src/link.ts';
import { defaults } from '../../src/policy.ts';
import { names, of, serving, started } from '../support/bench.ts';

describe('a race', () => {
  test('is staggered: SSE after 250 ms, the stream a second after that; where nothing is known the poll begins at once', () => {
    const b = started();
    assert.deepEqual(names(b.effects), ['connecting', 'attach', 'attach']);
    b.pass(9_000);
    assert.deepEqual(b.begun(), [['websocket', 1_000], ['poll', 1_000], ['sse', 1_250], ['stream', 2_250]]);
  });

  test('where something is known to work, the poll comes a second after SSE, and the stream last', () => {
    const b = serving('websocket');
    b.do({ type: 'reconnect' }, 5_000);
    const at = b.now;
    b.pass(9_000);
    assert.deepEqual(b.begun(), [['websocket', at], ['sse', at + 250], ['poll', at + 1_250], ['stream', at + 2_250]]);
  });

  test('pauses at a welcome: the next one begins when the proof is overdue', () => {
    const b = started();
    b.pass(100);
    b.welcome('websocket');
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['websocket', 1_000], ['poll', 1_000], ['sse', 1_600], ['stream', 2_600]]);
    const c = started();
    c.pass(100);
    c.welcome('poll');
    c.pass(200);
    assert.deepEqual(c.begun().map(([t]) => t), ['websocket', 'poll', 'sse'], 'but for a poll: that proves nothing of a better one');
    const d = started();
    d.pass(300);
    d.welcome('websocket');
    d.pass(5_000);
    assert.deepEqual(d.begun().at(-1), ['stream', 2_250], 'what is further off keeps its time');
  });

  test('gives a slow network two round trips', () => {
    const b = started();
    b.now += 800;
    b.prove('websocket');
    b.begun();
    b.do({ type: 'reconnect' }, 10_000);
    const at = b.now;
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['websocket', at], ['sse', at + 800], ['poll', at + 1_800], ['stream', at + 2_800]]);
    const quick = serving('websocket');
    assert.equal(quick.link.trip, 0);
    quick.do({ type: 'reconnect' });
    quick.pass(300);
    assert.deepEqual(quick.begun().map(([t]) => t), ['websocket', 'sse'], 'never less than the stagger');
  });

  test('knows the quickest round trip that it saw', () => {
    const b = started({ ladder: ['websocket', 'sse'] });
    b.pass(600);
    b.welcome('websocket');
    assert.equal(b.link.trip, 300);
    b.now += 50;
    b.welcome('sse');
    assert.equal(b.link.trip, 200);
    const c = started({ ladder: ['websocket', 'sse'] });
    c.pass(450);
    c.welcome('sse');
    c.welcome('websocket');
    assert.equal(c.link.trip, 100);
  });

  test('takes no nap of the page for a round trip', () => {
    const b = started();
    b.now += 60_000;
    b.prove('websocket');
    b.do({ type: 'reconnect' }, 60_000);
    const [, second] = line(b.link);
    assert.ok((second?.at ?? Infinity) - b.now <= 5_000, `the next one begins after ${(second?.at ?? 0) - b.now} ms`);
  });

  test('goes on at once after a failure, and the rest keeps its distance', () => {
    const b = started();
    b.now += 100;
    b.fail('websocket', 'refused');
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['websocket', 1_000], ['poll', 1_000], ['sse', 1_100], ['stream', 2_100]]);
    const c = started();
    for (const t of ['websocket', 'sse', 'poll'] as const) c.fail(t, 'refused');
    assert.deepEqual(c.begun().map(([, at]) => at), [1_000, 1_000, 1_000, 1_000], 'what fails at once costs no time');
  });

  test('ends with the first one that is proven: worse ones are detached, with a goodbye if they were welcomed', () => {
    const b = started();
    b.pass(3_000);
    b.welcome('poll');
    b.welcome('sse');
    const effects = b.proof('sse');
    assert.deepEqual(names(effects), ['detach', 'detach', 'transport', 'connected']);
    assert.deepEqual(of(effects, 'detach').map((e) => e.bye), [true, false]);
    assert.deepEqual(b.under, ['websocket', 'sse']);
    assert.deepEqual(of(effects, 'transport')[0]?.event, { transport: 'sse', from: null, reason: '' });
  });

  test('what has not begun and is worse does not begin any more', () => {
    const b = started();
    b.prove('websocket');
    b.lively = true;
    b.pass(10_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket', 'poll']);
  });

  test('lets better ones go on, to the end of their budget, which is short where round trips are', () => {
    const b = started();
    b.lively = true;
    b.pass(300);
    b.prove('poll');
    assert.equal(b.main, 'poll');
    b.pass(1_000 + defaults.hurried - b.now - 1);
    assert.deepEqual(b.under, ['websocket', 'poll', 'sse', 'stream']);
    b.pass(1);
    assert.deepEqual(b.under, ['poll', 'sse', 'stream']);
    assert.deepEqual(names(b.prove('sse')), ['detach', 'detach', 'transport', 'switch']);
    assert.deepEqual(b.under, ['sse']);
  });

  test('a better one that is still queued begins in its time, beside the one that serves', () => {
    const b = started({}, { net: 'n', remembered: { good: 'poll', bad: [] } });
    b.prove('poll');
    b.lively = true;
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['poll', 1_000], ['websocket', 2_000], ['sse', 3_000], ['stream', 4_000]]);
  });

  test('a better one that fails beside the one that serves brings the next at once', () => {
    const b = started({}, { net: 'n', remembered: { good: 'poll', bad: [] } });
    b.prove('poll');
    b.lively = true;
    b.pass(800);
    b.begun();
    const at = b.now;
    b.fail('websocket', 'blocked');
    assert.deepEqual(b.begun(), [['sse', at]]);
  });

  test('the poll serves, and the stream is better still', () => {
    const b = serving('poll');
    b.lively = true;
    assert.equal(b.main, 'poll');
    b.pass(defaults.climbs[0] ?? 0);
    assert.ok(b.begun().some(([t]) => t === 'stream'));
  });

  test('commands go to the main one, or to what comes nearest to it', () => {
    const b = started();
    assert.equal(carrier(b.link), undefined);
    b.pass(300);
    b.welcome('sse');
    assert.equal(carrier(b.link)?.transport, 'sse');
    b.now += 250;
    b.proof('sse');
    b.welcome('websocket');
    assert.equal(carrier(b.link)?.transport, 'sse', 'while it is not in doubt');
    b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'no reply' });
    assert.equal(carrier(b.link)?.transport, 'websocket');
    b.fail('websocket', 'dropped');
    assert.equal(carrier(b.link)?.transport, 'sse');
  });
});
