import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Memory, type Networks } from '../src/memory.ts';
import { Stored } from '../src/storage.ts';
import { Shelf } from './support/page.ts';

const minute = 60_000;
const day = 24 * 60 * minute;

/** A memory in storage, which outlives it, at a time that can be set. */
class Desk {
  now = 1_700_000_000_000;
  readonly storage = new Shelf();
  writes = 0;
  readonly #stored = new Stored<Networks>(
    { ...this.storage, setItem: (key, value) => (this.writes++, this.storage.setItem(key, value)) }, 'h', (e) => assert.fail(e.message),
  );

  /** As the next page finds it. */
  get memory(): Memory {
    return new Memory(this.#stored, () => this.now);
  }
}

test('what works on a network is recalled there, on the next page too, and nowhere else', () => {
  const desk = new Desk();
  assert.equal(desk.memory.last, undefined);
  desk.memory.learn('office', { good: 'sse', bad: ['websocket'], beat: 6_000 });
  assert.deepEqual(desk.memory.recall('office'), { good: 'sse', bad: ['websocket'], beat: 6_000 });
  assert.equal(desk.memory.last, 'office');
  assert.equal(desk.memory.recall('home'), undefined);
  assert.equal(desk.memory.recall(undefined), undefined);
});

test('what was bad is forgotten after half an hour, what was good after a week, and both when the clock is set back', () => {
  const desk = new Desk();
  desk.memory.learn('office', { good: 'sse', bad: ['websocket'] });
  const at = desk.now;
  const after = (ms: number): unknown => {
    desk.now = at + ms;
    return desk.memory.recall('office');
  };
  assert.deepEqual(after(30 * minute - 1), { good: 'sse', bad: ['websocket'] });
  assert.deepEqual(after(30 * minute), { good: 'sse', bad: [] });
  assert.deepEqual(after(7 * day - 1), { good: 'sse', bad: [] });
  assert.equal(after(7 * day), undefined);
  assert.equal(after(-1), undefined);
});

test('a network where nothing is bad takes no place, and clears what was there', () => {
  const desk = new Desk();
  desk.memory.learn('home', { good: 'websocket', bad: [] });
  assert.deepEqual([desk.memory.recall('home'), desk.memory.last], [undefined, 'home']);
  assert.equal(desk.writes, 1);
  desk.memory.learn('home', { good: 'websocket', bad: [] });
  assert.equal(desk.writes, 1, 'and is not written again and again');
  desk.memory.learn('home', { good: 'sse', bad: ['websocket'] });
  desk.memory.learn('home', { good: 'websocket', bad: [] });
  assert.equal(desk.memory.recall('home'), undefined);
});

test('a beat alone is worth remembering', () => {
  const desk = new Desk();
  desk.memory.learn('tram', { good: 'websocket', bad: [], beat: 5_000 });
  assert.deepEqual(desk.memory.recall('tram'), { good: 'websocket', bad: [], beat: 5_000 });
});

test('twenty networks are kept, and those that were seen last', () => {
  const desk = new Desk();
  for (let n = 1; n <= 22; n++) {
    desk.memory.learn(`n${n}`, { good: 'sse', bad: ['websocket'] });
    desk.memory.learn('n1', { good: 'sse', bad: ['websocket'] });
  }
  const known = Array.from({ length: 22 }, (_, i) => i + 1).filter((n) => desk.memory.recall(`n${n}`));
  assert.deepEqual(known, [1, ...Array.from({ length: 19 }, (_, i) => i + 4)]);
  desk.memory.learn('home', { good: 'websocket', bad: [] });
  assert.ok(desk.memory.recall('n4'), 'one that takes no place drives none out');
});

test('what is damaged is not believed', () => {
  const desk = new Desk();
  for (const text of ['7', 'null', '{}', '{"nets":7}', '{"nets":null}', '{"nets":{"a":7}}', '{"nets":{"a":{"at":1,"good":"sse"}}}', '{"nets":{"a":{"at":"x","good":"sse","bad":[]}}}']) {
    desk.storage.setItem('fairlead:h', text);
    assert.equal(desk.memory.recall('a'), undefined, text);
    desk.memory.learn('b', { good: 'sse', bad: ['websocket'] });
    assert.ok(desk.memory.recall('b'), text);
  }
});

test('a network that is called like a part of an object is a network', () => {
  const desk = new Desk();
  for (const name of ['constructor', 'toString']) assert.equal(desk.memory.recall(name), undefined);
});
