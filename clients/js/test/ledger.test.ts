import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FairleadError } from '../src/error.ts';
import type { Gap, Message, Start, Welcome } from '../src/frame.ts';
import { Ledger, type Sub } from '../src/ledger.ts';

interface Probe extends Sub {
  got: string[];
  served_: number;
  failed: FairleadError[];
}

function bench(): { ledger: Ledger; gaps: Gap[]; add: (pattern: string, start?: Start) => Probe; ask: () => { cid: number; op: string; channel: string; after?: string; last?: number }[] } {
  const gaps: Gap[] = [];
  const ledger = new Ledger((gap) => gaps.push(gap), () => {});
  let cid = 0;
  return {
    ledger,
    gaps,
    add(pattern, start = {}) {
      const sub: Probe = {
        pattern, start, at: start.after ?? null, phase: 'idle', got: [], served_: 0, failed: [],
        deliver: (m) => void sub.got.push(m.id),
        served: () => void sub.served_++,
        fail: (e) => void sub.failed.push(e),
      };
      ledger.add(sub);
      return sub;
    },
    ask: () => ledger.commands(() => ++cid, 100).map((c) => JSON.parse(c.text) as ReturnType<ReturnType<typeof bench>['ask']>[number]),
  };
}

const welcome = (id: string, channels: Welcome['channels'] = {}): Welcome => ({ op: 'welcome', session: 's', id, channels });
const message = (id: string, channel = 'c'): Message => ({ id, channel, data: null, time: 0 });

describe('what is asked of the server', () => {
  test('a hello asks each pattern from the lowest cursor of its subscriptions', () => {
    const { ledger, add } = bench();
    add('c', { after: 'a-9' });
    add('c', { after: 'a-10' });
    add('d');
    add('e', { last: 3 });
    assert.deepEqual(ledger.hello(), { c: { after: 'a-9' }, d: {}, e: { last: 3 } });
  });

  test('cursors of two epochs are asked from the beginning', () => {
    const { ledger, add } = bench();
    add('c', { after: 'a-9' });
    add('c', { after: 'b-3' });
    assert.deepEqual(ledger.hello(), { c: { after: '0' } });
  });

  test('patterns that share channels are asked from one cursor, along the whole chain', () => {
    const { ledger, add } = bench();
    add('a.*', { after: 'a-7' });
    add('a.b', { after: 'a-9' });
    add('*.b', { after: 'a-8' });
    add('z.b', { after: 'a-5' });
    add('q', { after: 'a-1' });
    assert.deepEqual(ledger.hello(), { 'a.*': { after: 'a-5' }, 'a.b': { after: 'a-5' }, '*.b': { after: 'a-5' }, 'z.b': { after: 'a-5' }, q: { after: 'a-1' } });
  });

  test('one that starts at a place of its own within what others get is asked for later, by a command', () => {
    const { ledger, add, ask } = bench();
    add('a.*', { after: 'a-7' });
    const late = add('a.b', { last: 5 });
    assert.deepEqual(ledger.hello(), { 'a.*': { after: 'a-7' } });
    ledger.welcome(welcome('a-20'));
    assert.equal(late.served_, 0);
    assert.deepEqual(ask(), [{ op: 'subscribe', channel: 'a.b', last: 5, cid: 1 }]);
    ledger.message(message('a-15', 'a.b'));
    ledger.subscribed('a.b', 'a-12');
    ledger.message(message('a-13', 'a.b'));
    ledger.message(message('a-15', 'a.b'));
    assert.deepEqual(late.got, ['a-13', 'a-15'], 'a live message did not move it past its own past');
  });

  test('two that start alike are asked for once', () => {
    const { ledger, add } = bench();
    const subs = [add('c'), add('c'), add('c', { last: 1 })];
    assert.deepEqual(ledger.hello(), { c: {} });
    ledger.welcome(welcome('a-9', { c: { after: 'a-9' } }));
    assert.deepEqual(subs.map((s) => s.served_), [1, 1, 0]);
  });

  test('what nobody wants any more is unsubscribed, once', () => {
    const { ledger, add, ask } = bench();
    const [one, two] = [add('c'), add('c')];
    ledger.hello();
    ledger.welcome(welcome('a-9'));
    ledger.remove(one);
    assert.deepEqual(ask(), []);
    ledger.remove(two);
    assert.deepEqual(ask(), [{ op: 'unsubscribe', channel: 'c', cid: 1 }]);
    assert.deepEqual(ask(), []);
  });

  test('one command for a pattern at a time: subscribed says only the pattern', () => {
    const { ledger, add, ask } = bench();
    ledger.hello();
    ledger.welcome(welcome('a-9'));
    const now = add('c');
    const past = add('c', { last: 9 });
    assert.deepEqual(ask(), [{ op: 'subscribe', channel: 'c', cid: 1 }]);
    assert.deepEqual(ask(), []);
    ledger.subscribed('c', 'a-9');
    assert.deepEqual(ask(), [{ op: 'subscribe', channel: 'c', last: 9, cid: 2 }]);
    ledger.subscribed('c', 'a-2');
    assert.deepEqual([now.at, past.at], ['a-9', 'a-2']);
  });

  test('a command that may be lost is given again; one refused for good is not', () => {
    const { ledger, add, ask } = bench();
    ledger.hello();
    ledger.welcome(welcome('a-9'));
    const sub = add('c');
    ask();
    ledger.unasked();
    assert.equal(ask()[0]?.op, 'subscribe');
    ledger.reply({ op: 'reply', to: 2, error: { code: 'unavailable', message: '' } });
    assert.equal(ask()[0]?.cid, 3);
    ledger.reply({ op: 'reply', to: 3, error: { code: 'forbidden', message: '' } });
    assert.deepEqual(ask(), []);
    assert.deepEqual(sub.failed.map((e) => e.code), ['forbidden']);
    assert.equal(ledger.subs().length, 0);
  });

  test('commands come in bounded batches', () => {
    const { ledger, add } = bench();
    ledger.hello();
    ledger.welcome(welcome('a-1'));
    for (let i = 0; i < 5; i++) add(`c${i}`);
    let cid = 0;
    assert.deepEqual([2, 2, 2, 2].map((most) => ledger.commands(() => ++cid, most).length), [2, 2, 1, 0]);
  });
});

describe('who gets what', () => {
  function live(...starts: [string, Start?][]): ReturnType<typeof bench> & { subs: Probe[] } {
    const b = bench();
    const subs = starts.map(([pattern, start]) => b.add(pattern, start));
    b.ledger.hello();
    b.ledger.welcome(welcome('a-100'));
    return { ...b, subs };
  }

  test('each subscription sees each message once, in order, over a resume that repeats', () => {
    const { ledger, subs: [c, all] } = live(['c', { after: '0' }], ['>', { after: '0' }]);
    for (const n of [1, 2, 3]) ledger.message(message(`a-${n}`));
    ledger.detached();
    assert.equal(ledger.message(message('a-4')), false, 'no attachment, no message');
    ledger.hello();
    ledger.welcome(welcome('a-100'));
    for (const n of [2, 3, 4, 4]) ledger.message(message(`a-${n}`));
    assert.deepEqual(c?.got, ['a-1', 'a-2', 'a-3', 'a-4']);
    assert.deepEqual(all?.got, c?.got);
  });

  test('a start from now is known before the first message', () => {
    const { ledger, subs: [now] } = live(['c']);
    assert.equal(now?.at, 'a-100');
    assert.deepEqual(ledger.hello(), { c: { after: 'a-100' } }, 'so a drop at once loses nothing');
  });

  test('a beat moves what is served up, and never down', () => {
    const { ledger, add, subs: [c] } = live(['c', { after: 'a-5' }]);
    const pending = add('c', { after: 'a-3' });
    ledger.beat('a-50');
    ledger.beat('a-40');
    assert.deepEqual([c?.at, pending.at], ['a-50', 'a-3']);
  });

  test('a gap moves a cursor to where it says, even down', () => {
    const { ledger, gaps, subs: [c] } = live(['c', { after: 'a-500' }]);
    ledger.gap({ channel: 'c', from: 'a-500', to: 'a-90', reason: 'ahead' });
    assert.equal(c?.at, 'a-90');
    ledger.message(message('a-91'));
    assert.deepEqual(c?.got, ['a-91']);
    ledger.gap({ channel: 'c', from: 'a-91', to: 'b-0', reason: 'replaced' });
    assert.equal(c?.at, 'b-0');
    assert.equal(gaps.length, 2);
  });

  test('a gap touches only those that it is news to', () => {
    const { ledger, gaps, subs: [low, high, other] } = live(['c', { after: 'a-5' }], ['c', { after: 'a-50' }], ['d', { after: 'a-1' }]);
    ledger.gap({ channel: 'c', from: 'a-5', to: 'a-20', reason: 'retention' });
    assert.deepEqual([low?.at, high?.at, other?.at], ['a-20', 'a-50', 'a-1']);
    ledger.gap({ channel: 'c', from: 'a-5', to: 'a-20', reason: 'retention' });
    assert.equal(gaps.length, 1);
  });

  test('a purge of one channel moves what matches it forward, as a message would, and is told once', () => {
    const { ledger, gaps, subs: [all, one, other, ahead] } = live(['c.*', { after: 'a-5' }], ['c.1', { after: 'a-5' }], ['c.2', { after: 'a-5' }], ['c.*', { after: 'a-30' }]);
    const purge = { channel: 'c.1', from: '0', to: 'a-20', reason: 'purged' } as const;
    ledger.gap(purge);
    ledger.gap(purge);
    assert.deepEqual([all?.at, one?.at, other?.at, ahead?.at], ['a-20', 'a-20', 'a-5', 'a-30']);
    assert.deepEqual(gaps, [purge]);
    ledger.gap({ ...purge, to: 'b-40' });
    assert.deepEqual([all?.at, one?.at], ['a-20', 'a-20']);
  });

  test('another epoch without a gap is told as one: never a silent hole', () => {
    const { ledger, gaps, subs: [c, d] } = live(['c', { after: 'a-5' }], ['d', { after: 'a-5' }]);
    ledger.message(message('b-3'));
    ledger.beat('b-9');
    assert.deepEqual(gaps, [{ channel: 'c', from: 'a-5', to: 'b-2', reason: 'replaced' }, { channel: 'd', from: 'a-5', to: 'b-9', reason: 'replaced' }]);
    assert.deepEqual([c?.at, d?.at], ['b-9', 'b-9']);
  });

  test('a listener that unsubscribes another is obeyed at once', () => {
    const { ledger, subs: [first, second] } = live(['c', { after: '0' }], ['c', { after: '0' }]);
    assert.ok(first && second);
    first.deliver = () => ledger.remove(second);
    ledger.message(message('a-1'));
    assert.deepEqual(second.got, []);
  });

  test('a parked one is not served, keeps its cursor, and goes on from there', () => {
    const { ledger, ask, subs: [c] } = live(['c', { after: '0' }]);
    assert.ok(c);
    ledger.message(message('a-1'));
    ledger.park(c);
    ledger.message(message('a-2'));
    ledger.beat('a-2');
    assert.deepEqual(ask().map((k) => k.op), ['unsubscribe']);
    assert.deepEqual(ledger.hello(), {});
    ledger.welcome(welcome('a-9'));
    ledger.unpark(c);
    assert.deepEqual(ask(), [{ op: 'subscribe', channel: 'c', after: 'a-1', cid: 2 }]);
  });
});

describe('polls', () => {
  test('those whose start is not known come first and alone', () => {
    const { ledger, add } = bench();
    add('a.*', { after: 'a-7' });
    const fresh = add('a.b', { last: 2 });
    assert.deepEqual(ledger.poll(), { channels: { 'a.b': { last: 2 } }, fresh: true });
    ledger.welcome();
    ledger.message(message('a-9', 'a.b'));
    ledger.beat('a-30');
    assert.deepEqual([fresh.got, fresh.at], [['a-9'], 'a-30']);
    assert.deepEqual(ledger.poll(), { channels: { 'a.*': { after: 'a-7' }, 'a.b': { after: 'a-7' } }, fresh: false });
    assert.equal(ledger.changed, false);
  });

  test('those that clash take turns', () => {
    const { ledger, add } = bench();
    add('c', { last: 2 });
    add('c', { last: 3 });
    add('*');
    const asked: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      asked.push(ledger.poll());
      ledger.welcome();
      ledger.beat('a-5');
    }
    assert.deepEqual(asked, [
      { channels: { c: { last: 2 } }, fresh: true }, { channels: { c: { last: 3 } }, fresh: true }, { channels: { '*': {} }, fresh: true },
      { channels: { c: { after: 'a-5' }, '*': { after: 'a-5' } }, fresh: false },
    ]);
  });
});
