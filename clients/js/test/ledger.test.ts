import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bench } from './support/subs.ts';

test('a channel finds its subscriptions, by name and by pattern, and no others', () => {
  const bench = new Bench();
  assert.deepEqual(bench.ledger.matching('a.b'), []);
  const [name, again, star, all] = [bench.add('a.b'), bench.add('a.b'), bench.add('a.*'), bench.add('>')];
  bench.add('a.c');
  bench.add('a');
  assert.deepEqual(bench.ledger.matching('a.b'), [name, again, star, all]);
  bench.ledger.remove(name);
  bench.ledger.remove(star);
  assert.deepEqual(bench.ledger.matching('a.b'), [again, all]);
});

test('its cursor is the lowest one: who starts from there misses nothing', () => {
  const { ledger, add } = bound();
  assert.equal(ledger.cursor(), null);
  add('a');
  assert.equal(ledger.cursor(), null, 'one that has no start yet says nothing');
  add('b', { after: 'a-10' });
  add('c', { after: 'a-9' });
  assert.equal(ledger.cursor(), 'a-9');
  add('d', { after: 'b-3' });
  assert.equal(ledger.cursor(), '0', 'of two epochs none is lower');
});

test('a parked one is not to be served, until it goes on', () => {
  const { ledger, add } = bound();
  const [one, two] = [add('a'), add('b')];
  ledger.park(one);
  assert.deepEqual(ledger.active(), [two]);
  assert.deepEqual(ledger.subs(), [one, two]);
  ledger.unpark(one);
  assert.deepEqual(ledger.active(), [one, two]);
});

test('watchers hear of each change, and which one is gone, until they leave', () => {
  const bench = new Bench();
  const heard: unknown[] = [];
  const forget = bench.ledger.watch({ changes: (gone) => void heard.push(gone) });
  const sub = bench.add('a');
  bench.ledger.park(sub);
  bench.ledger.unpark(sub);
  bench.ledger.remove(sub);
  assert.deepEqual(heard, [undefined, sub, undefined, sub]);
  forget();
  bench.add('b');
  assert.deepEqual([heard.length, bench.changes], [4, 5]);
});

test('a gap is told to those that it moved, and once to the application', () => {
  const bench = new Bench();
  const [one, two, three] = [bench.add('c'), bench.add('c'), bench.add('c')];
  const gap = { channel: 'c', from: 'a-1', to: 'a-2', reason: 'retention' };
  bench.ledger.gap(gap, [one, two]);
  assert.deepEqual([one, two, three].map((s) => s.missing), [[gap], [gap], []]);
  assert.deepEqual(bench.gaps, [gap]);
});

test('the view of an attachment that ended is told of nothing more', () => {
  const bench = new Bench();
  const [gone, here] = [bench.view(), bench.view()];
  for (const view of [gone, here]) bench.ask(view);
  gone.close();
  bench.add('c');
  assert.deepEqual([gone.changed, here.changed], [false, true]);
});

function bound(): { ledger: Bench['ledger']; add: Bench['add'] } {
  const bench = new Bench();
  return { ledger: bench.ledger, add: bench.add.bind(bench) };
}
