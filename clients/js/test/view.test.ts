import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../src/error.ts';
import type { Gap, Start } from '../src/frame.ts';
import { View } from '../src/view.ts';
import { Bench, message, welcome, type Probe } from './support/subs.ts';

const isFault = (e: unknown): boolean => e instanceof FairleadError && e.code === 'bad_answer';

/** Subscriptions that one attachment serves. */
function live(...starts: [string, Start?][]): { bench: Bench; view: View; subs: Probe[] } {
  const bench = new Bench();
  const subs = starts.map(([pattern, start]) => bench.add(pattern, start));
  return { bench, view: bench.view(), subs };
}

describe('what is asked of the server', () => {
  test('a hello asks each pattern from the lowest cursor of its subscriptions', () => {
    const bench = new Bench();
    bench.add('c', { after: 'a-9' });
    bench.add('c', { after: 'a-10' });
    bench.add('d');
    bench.add('e', { last: 3 });
    assert.deepEqual(new View(bench.ledger).hello(), { c: { after: 'a-9' }, d: {}, e: { last: 3 } });
  });

  test('cursors of two epochs are asked from the beginning', () => {
    const bench = new Bench();
    bench.add('c', { after: 'a-9' });
    bench.add('c', { after: 'b-3' });
    assert.deepEqual(new View(bench.ledger).hello(), { c: { after: '0' } });
  });

  test('patterns that share channels are asked from one cursor, along the whole chain', () => {
    const bench = new Bench();
    bench.add('a.*', { after: 'a-7' });
    bench.add('a.b', { after: 'a-9' });
    bench.add('*.b', { after: 'a-8' });
    bench.add('z.b', { after: 'a-5' });
    bench.add('q', { after: 'a-1' });
    const low = { after: 'a-5' };
    assert.deepEqual(new View(bench.ledger).hello(), { 'a.*': low, 'a.b': low, '*.b': low, 'z.b': low, q: { after: 'a-1' } });
  });

  test('one that starts at a place of its own within what others get is asked for later, by a command', () => {
    const bench = new Bench();
    bench.add('a.*', { after: 'a-7' });
    const late = bench.add('a.b', { last: 5 });
    const view = new View(bench.ledger);
    const asked = view.hello();
    assert.deepEqual(asked, { 'a.*': { after: 'a-7' } });
    view.welcome(welcome('a-20', asked));
    assert.equal(late.times, 0);
    assert.deepEqual(bench.ask(view), [{ op: 'subscribe', channel: 'a.b', last: 5, cid: 1 }]);
    view.message(message('a-15', 'a.b'));
    view.subscribed('a.b', 'a-12');
    view.message(message('a-13', 'a.b'));
    view.message(message('a-15', 'a.b'));
    assert.deepEqual(late.got, ['a-13', 'a-15'], 'a live message did not move it past its own past');
  });

  test('two that start alike are asked for once', () => {
    const bench = new Bench();
    const subs = [bench.add('c'), bench.add('c'), bench.add('c', { last: 1 })];
    const view = new View(bench.ledger);
    assert.deepEqual(view.hello(), { c: {} });
    view.welcome(welcome('a-9', { c: { after: 'a-9' } }));
    assert.deepEqual(subs.map((s) => s.times), [1, 1, 0]);
  });

  test('what nobody wants any more is unsubscribed, once', () => {
    const { bench, view, subs: [one, two] } = live(['c'], ['c']);
    bench.ledger.remove(one as Probe);
    assert.deepEqual(bench.ask(view), []);
    bench.ledger.remove(two as Probe);
    assert.deepEqual(bench.ask(view), [{ op: 'unsubscribe', channel: 'c', cid: 1 }]);
    assert.deepEqual(bench.ask(view), []);
  });

  test('one command for a pattern at a time: subscribed says only the pattern', () => {
    const { bench, view } = live();
    const now = bench.add('c');
    const past = bench.add('c', { last: 9 });
    assert.deepEqual(bench.ask(view), [{ op: 'subscribe', channel: 'c', cid: 1 }]);
    assert.deepEqual(bench.ask(view), []);
    assert.equal(view.unanswered, true);
    view.subscribed('c', 'a-9');
    assert.deepEqual(bench.ask(view), [{ op: 'subscribe', channel: 'c', last: 9, cid: 2 }]);
    view.subscribed('c', 'a-2');
    assert.deepEqual([now.at, past.at, view.unanswered], ['a-9', 'a-2', false]);
  });

  test('a command that may be lost is given again; one refused for good is not', () => {
    const { bench, view } = live();
    const sub = bench.add('c');
    bench.ask(view);
    view.unasked();
    assert.equal(bench.ask(view)[0]?.op, 'subscribe');
    assert.equal(view.reply({ op: 'reply', to: 2, error: { code: 'unavailable', message: '' } }), true);
    assert.equal(bench.ask(view)[0]?.cid, 3);
    assert.equal(view.reply({ op: 'reply', to: 2, error: { code: 'forbidden', message: '' } }), false, 'an answer to an earlier one says nothing');
    view.reply({ op: 'reply', to: 3, error: { code: 'forbidden', message: '' } });
    assert.deepEqual(bench.ask(view), []);
    assert.deepEqual(sub.failed.map((e) => e.code), ['forbidden']);
    assert.equal(bench.ledger.subs().length, 0);
  });

  test('commands come in bounded batches', () => {
    const { bench, view } = live();
    for (let i = 0; i < 5; i++) bench.add(`c${i}`);
    assert.deepEqual([2, 2, 2, 2].map((most) => bench.ask(view, most).length), [2, 2, 1, 0]);
  });
});

describe('who gets what', () => {
  test('each subscription sees each message once, in order, over a resume that repeats', () => {
    const { bench, view, subs: [c, all] } = live(['c', { after: '0' }], ['>', { after: '0' }]);
    for (const n of [1, 2, 3]) view.message(message(`a-${n}`));
    view.close();
    const next = new View(bench.ledger);
    assert.equal(next.message(message('a-4')), false, 'not welcomed, no message');
    const asked = next.hello();
    assert.deepEqual(asked, { c: { after: 'a-3' }, '>': { after: 'a-3' } });
    next.welcome(welcome('a-100', asked));
    for (const n of [2, 3, 4, 4]) next.message(message(`a-${n}`));
    assert.deepEqual(c?.got, ['a-1', 'a-2', 'a-3', 'a-4']);
    assert.deepEqual(all?.got, c?.got);
  });

  test('a start from now is known before the first message', () => {
    const { bench, subs: [now] } = live(['c']);
    assert.equal(now?.at, 'a-100');
    assert.deepEqual(new View(bench.ledger).hello(), { c: { after: 'a-100' } }, 'so a drop at once loses nothing');
  });

  test('a beat moves what is served up, and never down', () => {
    const { bench, view, subs: [c] } = live(['c', { after: 'a-5' }]);
    const pending = bench.add('c', { after: 'a-3' });
    view.beat('a-50');
    view.beat('a-40');
    assert.deepEqual([c?.at, pending.at], ['a-50', 'a-3']);
  });

  test('a listener that unsubscribes another is obeyed at once', () => {
    const { bench, view, subs: [first, second] } = live(['c', { after: '0' }], ['c', { after: '0' }]);
    assert.ok(first && second);
    first.deliver = () => bench.ledger.remove(second);
    view.message(message('a-1'));
    assert.deepEqual(second.got, []);
  });

  test('a parked one is not served, keeps its cursor, and goes on from there', () => {
    const { bench, view, subs: [c] } = live(['c', { after: '0' }]);
    assert.ok(c);
    view.message(message('a-1'));
    bench.ledger.park(c);
    view.message(message('a-2'));
    view.beat('a-2');
    assert.deepEqual(bench.ask(view).map((k) => k.op), ['unsubscribe']);
    const next = new View(bench.ledger);
    assert.deepEqual(next.hello(), {});
    next.welcome(welcome('a-9'));
    bench.ledger.unpark(c);
    assert.deepEqual(bench.ask(next), [{ op: 'subscribe', channel: 'c', after: 'a-1', cid: 2 }]);
  });
});

describe('gaps', () => {
  test('one moves a cursor to where it says, even down, and what follows is new', () => {
    const { bench, view, subs: [c] } = live(['c', { after: 'a-500' }]);
    view.gap({ channel: 'c', from: 'a-500', to: 'a-90', reason: 'ahead' });
    assert.equal(c?.at, 'a-90');
    view.message(message('a-91'));
    assert.deepEqual(c?.got, ['a-91']);
    const next = bench.view('b-1');
    next.gap({ channel: 'c', from: 'a-91', to: 'b-0', reason: 'replaced' });
    assert.equal(c?.at, 'b-0');
    assert.equal(bench.gaps.length, 2);
    assert.deepEqual(c?.missing, bench.gaps);
  });

  test('one touches only those that it is news to', () => {
    const { bench, view, subs: [low, high, other] } = live(['c', { after: 'a-5' }], ['c', { after: 'a-50' }], ['d', { after: 'a-1' }]);
    const gap = { channel: 'c', from: 'a-5', to: 'a-20', reason: 'retention' };
    view.gap(gap);
    assert.deepEqual([low?.at, high?.at, other?.at], ['a-20', 'a-50', 'a-1']);
    view.gap(gap);
    assert.equal(bench.gaps.length, 1);
  });

  test('retention never moves a cursor back', () => {
    const { bench, view, subs: [c] } = live(['c', { after: 'a-5' }]);
    view.beat('a-50');
    view.gap({ channel: 'c', from: 'a-5', to: 'a-20', reason: 'retention' });
    assert.deepEqual([c?.at, bench.gaps], ['a-50', []]);
  });

  test('a log that was rolled back never moves a cursor up', () => {
    const { bench, view, subs: [c] } = live(['c', { after: 'a-5' }]);
    view.gap({ channel: 'c', from: 'a-500', to: 'a-90', reason: 'ahead' });
    assert.deepEqual([c?.at, bench.gaps], ['a-5', []]);
  });

  test('a purge of one channel moves what matches it forward, as a message would, and is told once', () => {
    const { bench, view, subs } = live(['c.*', { after: 'a-5' }], ['c.1', { after: 'a-5' }], ['c.2', { after: 'a-5' }], ['c.*', { after: 'a-30' }]);
    const purge = { channel: 'c.1', from: '0', to: 'a-20', reason: 'purged' } as const;
    view.gap(purge);
    view.gap(purge);
    assert.deepEqual(subs.map((s) => s.at), ['a-20', 'a-20', 'a-5', 'a-30']);
    assert.deepEqual(bench.gaps, [purge]);
    view.gap({ ...purge, to: 'b-40' });
    assert.deepEqual(subs.slice(0, 2).map((s) => s.at), ['a-20', 'a-20']);
  });

  test('a position of another log without a gap is a fault: it moves nothing', () => {
    const { bench, view, subs: [c] } = live(['c', { after: 'a-5' }]);
    assert.throws(() => view.message(message('b-3')), isFault);
    assert.throws(() => view.beat('b-9'), isFault);
    assert.deepEqual([c?.at, c?.got, bench.gaps], ['a-5', [], []]);
  });

  test('but where cursors of several logs were asked for from the beginning, it is told as a gap', () => {
    const { bench, view, subs: [old, current] } = live(['c', { after: 'a-5' }], ['c', { after: 'b-2' }]);
    view.message(message('b-2'));
    view.message(message('b-3'));
    assert.deepEqual(bench.gaps, [{ channel: 'c', from: 'a-5', to: 'b-1', reason: 'replaced' }]);
    assert.deepEqual([old?.got, current?.got], [['b-2', 'b-3'], ['b-3']]);
    const quiet = live(['c', { after: 'a-5' }], ['c', { after: 'b-2' }]);
    quiet.view.beat('b-9');
    assert.deepEqual(quiet.bench.gaps, [{ channel: 'c', from: 'a-5', to: 'b-9', reason: 'replaced' }]);
    assert.deepEqual(quiet.subs.map((s) => s.at), ['b-9', 'b-9']);
  });
});

describe('two attachments at once', () => {
  const ids = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, i) => `a-${from + i}`);

  test('each message once, in order, whichever brings it first', () => {
    // Every way to merge five messages of one with the same five of the other.
    for (let merge = 0; merge < 1 << 10; merge++) {
      const turns = Array.from({ length: 10 }, (_, i) => (merge >> i) & 1);
      if (turns.filter((t) => t === 1).length !== 5) continue;
      const { bench, view, subs: [c, all] } = live(['c', { after: 'a-2' }], ['>', { after: 'a-3' }]);
      const views = [view, bench.view()];
      const next = [1, 1];
      let told = 0;
      for (const turn of turns) if (views[turn]?.message(message(`a-${2 + (next[turn] as number)++}`))) told++;
      assert.deepEqual([c?.got, all?.got, told], [ids(3, 7), ids(4, 7), 5], turns.join(''));
    }
  });

  test('the one that lags moves nothing back, and may leave at any time', () => {
    const { bench, view, subs: [c] } = live(['c', { after: '0' }]);
    const second = bench.view();
    for (const id of ids(1, 5)) second.message(message(id));
    view.message(message('a-1'));
    view.beat('a-2');
    assert.equal(c?.at, 'a-5');
    second.close();
    for (const id of ids(2, 7)) view.message(message(id));
    assert.deepEqual(c?.got, ids(1, 7));
  });

  test('a start of its own within what others get waits for its command in each of them', () => {
    const bench = new Bench();
    bench.add('>', { after: 'a-9' });
    const sub = bench.add('c', { last: 2 });
    const views = [bench.view(), bench.view()];
    for (const view of views) assert.deepEqual(bench.ask(view).map((k) => [k.channel, k.last]), [['c', 2]]);
    views[0]?.message(message('a-10'));
    assert.equal(sub.at, null);
    views[0]?.subscribed('c', 'a-7');
    assert.equal(sub.at, 'a-7');
    views[0]?.message(message('a-8'));
    // The other's answer is from later on: its messages would make a hole.
    views[1]?.subscribed('c', 'a-9');
    views[1]?.message(message('a-10'));
    assert.deepEqual([sub.got, sub.at], [['a-8'], 'a-8']);
    assert.deepEqual(bench.ask(views[1] as View), [{ op: 'subscribe', channel: 'c', after: 'a-8', cid: 3 }]);
    views[1]?.subscribed('c', 'a-8');
    views[1]?.message(message('a-10'));
    assert.deepEqual(sub.got, ['a-8', 'a-10']);
  });

  test('one that is welcomed at a later place than another gave is not live until it is asked for from there', () => {
    const bench = new Bench();
    const sub = bench.add('c');
    const [first, second] = [new View(bench.ledger), new View(bench.ledger)];
    assert.deepEqual([first.hello(), second.hello()], [{ c: {} }, { c: {} }]);
    first.welcome(welcome('a-5', { c: { after: 'a-5' } }));
    second.welcome(welcome('a-8', { c: { after: 'a-8' } }));
    assert.equal(sub.at, 'a-5');
    second.message(message('a-9'));
    second.beat('a-9');
    assert.deepEqual([sub.got, sub.at, sub.times], [[], 'a-5', 1]);
    assert.deepEqual(bench.ask(second), [{ op: 'subscribe', channel: 'c', after: 'a-5', cid: 1 }]);
    second.subscribed('c', 'a-5');
    for (const id of ids(6, 9)) second.message(message(id));
    assert.deepEqual(sub.got, ids(6, 9));
  });

  test('one that is welcomed at an earlier place is live at once', () => {
    const bench = new Bench();
    const sub = bench.add('c');
    const [first, second] = [new View(bench.ledger), new View(bench.ledger)];
    first.hello();
    second.hello();
    first.welcome(welcome('a-8', { c: { after: 'a-8' } }));
    second.welcome(welcome('a-5', { c: { after: 'a-5' } }));
    second.message(message('a-7'));
    second.message(message('a-9'));
    assert.deepEqual(sub.got, ['a-9'], 'and brings nothing from before its start');
    assert.deepEqual(bench.ask(second), []);
  });

  const told: [string, Gap, string][] = [
    ['retention', { channel: 'c', from: 'a-5', to: 'a-20', reason: 'retention' }, 'a-20'],
    ['another log', { channel: 'c', from: 'a-5', to: 'b-0', reason: 'replaced' }, 'b-0'],
    ['a log that was rolled back', { channel: 'c', from: 'a-5', to: 'a-2', reason: 'ahead' }, 'a-2'],
    ['a purge', { channel: 'c', from: '0', to: 'a-20', reason: 'purged' }, 'a-20'],
  ];
  for (const [name, gap, at] of told) {
    test(`a gap told by both moves a cursor once: ${name}`, () => {
      const { bench, view, subs: [c] } = live(['c', { after: 'a-5' }]);
      const second = bench.view();
      view.gap(gap);
      const after = `${at.split('-')[0]}-${Number(at.split('-')[1]) + 1}`;
      view.message(message(after));
      second.gap(gap);
      assert.deepEqual([c?.at, c?.missing.length, bench.gaps.length], [after, 1, 1]);
      second.message(message(after));
      assert.deepEqual(c?.got, [after]);
    });
  }

  test('back it moves only those that were beyond where this attachment began', () => {
    const { bench, view, subs: [c] } = live(['c', { after: 'a-50' }]);
    const gap = { channel: 'c', from: 'a-50', to: 'a-20', reason: 'ahead' };
    view.gap({ ...gap, from: 'a-49' });
    assert.equal(c?.at, 'a-50', 'not where it began');
    view.gap(gap);
    // An attachment of later, and its own start: the gap of another is not about that.
    const later = bench.view();
    later.gap(gap);
    assert.deepEqual([c?.at, bench.gaps.length], ['a-20', 1]);
    later.message(message('a-21'));
    view.gap(gap);
    assert.deepEqual([c?.at, c?.got], ['a-21', ['a-21']]);
  });

  test('a gap that is told to a command of one is as good as to its hello', () => {
    const { bench, view } = live();
    const sub = bench.add('c', { after: 'a-50' });
    bench.ask(view);
    view.subscribed('c', 'a-50');
    view.gap({ channel: 'c', from: 'a-50', to: 'b-0', reason: 'replaced' });
    assert.equal(sub.at, 'b-0');
  });
});

describe('what is not granted', () => {
  const no = new FairleadError('forbidden', 'no');

  test('ends what is served or asked for, and what is not yet is left to its own answer', () => {
    const bench = new Bench();
    const [served, other] = [bench.add('c'), bench.add('d')];
    const view = bench.view();
    view.unsubscribed('c', no);
    view.unsubscribed('elsewhere', no);
    assert.deepEqual([served.failed, other.failed, bench.ledger.subs()], [[no], [], [other]]);
    const again = bench.add('c');
    view.unsubscribed('c', no);
    assert.deepEqual(again.failed, []);
    assert.deepEqual(bench.ask(view).map(({ op, channel }) => `${op} ${channel}`), ['subscribe c']);
    view.message(message('a-200', 'c'));
    assert.deepEqual(served.got, []);
  });

  test('is not served by a welcome that does not name it', () => {
    const bench = new Bench();
    const [granted, denied] = [bench.add('c'), bench.add('d')];
    const view = new View(bench.ledger);
    const { d: _, ...rest } = view.hello();
    view.welcome(welcome('a-5', rest));
    assert.deepEqual([granted.times, denied.times], [1, 0]);
    view.unsubscribed('d', no);
    assert.deepEqual(denied.failed, [no]);
  });
});

describe('polls', () => {
  test('those whose start is not known come first and alone', () => {
    const bench = new Bench();
    bench.add('a.*', { after: 'a-7' });
    const fresh = bench.add('a.b', { last: 2 });
    const view = new View(bench.ledger);
    assert.deepEqual(view.poll(), { channels: { 'a.b': { last: 2 } }, fresh: true, all: false });
    view.welcome();
    view.message(message('a-9', 'a.b'));
    view.beat('a-30');
    assert.deepEqual([fresh.got, fresh.at], [['a-9'], 'a-30']);
    assert.deepEqual(view.poll(), { channels: { 'a.*': { after: 'a-7' }, 'a.b': { after: 'a-7' } }, fresh: false, all: true });
    assert.equal(view.changed, false);
    bench.add('d');
    assert.equal(view.changed, true);
  });

  test('one that does not say from where it was served moves no cursor that another attachment gave meanwhile', () => {
    const bench = new Bench();
    const sub = bench.add('c');
    const [socket, poll] = [new View(bench.ledger), new View(bench.ledger)];
    const asked = socket.hello();
    poll.poll();
    socket.welcome(welcome('a-5', asked));
    poll.welcome();
    poll.beat('a-9');
    socket.message(message('a-6'));
    assert.deepEqual(sub.got, ['a-6']);
  });

  test('those that clash take turns', () => {
    const bench = new Bench();
    bench.add('c', { last: 2 });
    bench.add('c', { last: 3 });
    bench.add('*');
    const view = new View(bench.ledger);
    const asked: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      asked.push(view.poll());
      view.welcome();
      view.beat('a-5');
    }
    assert.deepEqual(asked, [
      { channels: { c: { last: 2 } }, fresh: true, all: false }, { channels: { c: { last: 3 } }, fresh: true, all: false },
      { channels: { '*': {} }, fresh: true, all: false }, { channels: { c: { after: 'a-5' }, '*': { after: 'a-5' } }, fresh: false, all: true },
    ]);
  });
});
