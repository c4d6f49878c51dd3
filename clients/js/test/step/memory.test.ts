import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Transport } from '../../src/frame.ts';
import { of, started } from '../support/bench.ts';

describe('memory', () => {
  test('what is remembered to be bad comes last, what is good first and with time to prove it', () => {
    const b = started({}, { net: 'n', remembered: { good: 'sse', bad: ['websocket'] } });
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['sse', 1_000], ['poll', 2_000], ['stream', 3_000]]);
    const c = started({}, { net: 'n', remembered: { good: 'poll', bad: [] } });
    c.pass(5_000);
    assert.deepEqual(c.begun(), [['poll', 1_000], ['websocket', 2_000], ['sse', 3_000], ['stream', 4_000]]);
  });

  test('what carried us last is first in the next race, at the usual pace', () => {
    const b = started();
    b.pass(300);
    b.prove('sse');
    b.fail('websocket', 'server');
    b.now += 5_000;
    b.fail('sse', 'dropped');
    b.expire();
    b.begun();
    const at = b.now;
    b.pass(2_500);
    assert.deepEqual(b.begun(), [['websocket', at + 250], ['poll', at + 1_250], ['stream', at + 2_250]]);
  });

  test('the beat is remembered', () => {
    const b = started({}, { net: 'n', remembered: { bad: [], beat: 7_000 } });
    assert.equal(of(b.effects, 'attach')[0]?.beat, 7_000);
    const effects = b.prove('websocket');
    assert.deepEqual(of(effects, 'remember'), [{ type: 'remember', net: 'n', good: 'websocket', bad: [], beat: 7_000 }]);
  });

  test('another network: what was known is forgotten, and what is remembered of it is taken up', () => {
    const b = started({}, { net: 'n', remembered: { good: 'sse', bad: ['websocket'], beat: 7_000 } });
    b.welcome('sse', { net: 'm', remembered: { good: 'poll', bad: ['stream'] } });
    assert.deepEqual([b.link.net, b.link.beat], ['m', null]);
    assert.deepEqual([b.link.rungs.websocket.bad, b.link.rungs.stream.bad], [false, true]);
    b.now += 250;
    const effects = b.proof('sse');
    assert.deepEqual(of(effects, 'remember'), [{ type: 'remember', net: 'm', good: 'sse', bad: ['stream'] }]);
  });

  test('the first hint of a network is no change of it', () => {
    const b = started();
    b.fail('websocket', 'blocked');
    b.welcome('sse', { net: 'n' });
    assert.deepEqual(b.link.suspects, ['websocket']);
    assert.equal(b.link.net, 'n');
  });

  test('the same hint, or none, changes nothing', () => {
    for (const more of [{ net: 'n' }, {}]) {
      const b = started({}, { net: 'n', remembered: { bad: ['websocket'] } });
      b.welcome('sse', { ...more, remembered: { bad: ['poll'] } });
      assert.deepEqual([b.link.rungs.websocket.bad, b.link.rungs.poll.bad], [true, false]);
    }
  });

  test('better ones are tried at once where the network turns out to be another', () => {
    const b = started({}, { net: 'n', remembered: { good: 'poll', bad: ['websocket', 'sse', 'stream'] } });
    b.prove('poll', { net: 'm' });
    b.begun();
    b.pass(100);
    assert.ok(b.begun().length > 0 || b.link.rungs.websocket.next <= b.now + 30_000);
  });

  test('nothing is remembered of a network without a name', () => {
    const b = started();
    b.fail('websocket', 'blocked');
    assert.deepEqual(of(b.prove('sse'), 'remember'), []);
  });

  test('a failed climb is remembered', () => {
    const b = started({}, { net: 'n' });
    b.pass(300);
    b.prove('sse');
    assert.deepEqual(of(b.fail('websocket', 'blocked'), 'remember'), [{ type: 'remember', net: 'n', good: 'sse', bad: ['websocket'] }]);
  });

  test('names of transports that nobody knows are ignored', () => {
    const b = started({}, { net: 'n', remembered: { good: 'telex' as Transport, bad: ['fax' as Transport] } });
    assert.deepEqual(b.under, ['websocket']);
    assert.deepEqual(Object.keys(b.link.rungs).sort(), ['poll', 'sse', 'stream', 'websocket']);
  });
});
