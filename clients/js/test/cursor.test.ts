import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advance, compare, epoch, isAfter, isCursor, isId, lowest, sequence } from '../src/cursor.ts';
import { vectors } from './support/vectors.ts';

interface Cursors {
  ids: { text: string; epoch: string; seq: number }[];
  cursors: { text: string; ids: string[] }[];
  invalid: string[];
}

const golden = vectors<Cursors>('cursors');

test('every id of the vectors is an id, and a cursor', () => {
  for (const { text, epoch: e, seq } of golden.ids) {
    assert.ok(isId(text) && isCursor(text), text);
    assert.deepEqual([epoch(text), sequence(text)], [e, seq]);
  }
});

test('every cursor of the vectors is one, and nothing else is', () => {
  for (const { text, ids } of golden.cursors) {
    assert.ok(isCursor(text), text);
    assert.ok(ids.every(isId));
  }
  for (const text of golden.invalid) assert.ok(!isCursor(text), JSON.stringify(text));
  for (const other of [null, undefined, 0, {}, ['a-1']]) assert.ok(!isCursor(other));
});

test('ids are ordered within an epoch, and not beyond', () => {
  assert.equal(isAfter('a-10', 'a-9'), true, 'by number, not by text');
  assert.equal(isAfter('a-9', 'a-9'), false);
  assert.equal(isAfter('a-9', 'a-10'), false);
  assert.equal(isAfter('b-1', 'a-10'), undefined);
  assert.equal(isAfter('ab-1', 'b-0'), undefined);
  assert.equal(isAfter('a-1', '0'), true);
  assert.equal(isAfter('b-9', 'a-5,b-9'), false);
  assert.equal(isAfter('b-10', 'a-5,b-9'), true);
});

test('cursors compare by stream', () => {
  const cases: [string, string, number | undefined][] = [
    ['0', '0', 0], ['0', 'a-0', 0], ['0', 'a-1', -1], ['a-1', '0', 1], ['a-2', 'a-10', -1], ['a-2', 'b-2', undefined],
    ['a-1,b-2', 'b-2,a-1', 0], ['a-1,b-2', 'a-1,b-3', -1], ['a-2,b-2', 'a-1,b-3', undefined], ['a-1', 'a-1,b-1', undefined],
  ];
  for (const [a, b, want] of cases) {
    assert.equal(compare(a, b), want, `${a} ${b}`);
    if (want !== undefined) assert.equal(compare(b, a), want === 0 ? 0 : -want, `${b} ${a}`);
  }
});

test('the lowest cursor loses nothing', () => {
  assert.equal(lowest(['a-9', 'a-10', 'a-11']), 'a-9');
  assert.equal(lowest(['a-9', '0']), '0');
  assert.equal(lowest(['a-9', 'b-1']), '0', 'epochs cannot be compared');
  assert.equal(lowest([]), '0');
});

test('a cursor moves within its stream', () => {
  assert.equal(advance('a-1', 'a-2'), 'a-2');
  assert.equal(advance('0', 'a-2'), 'a-2');
  assert.equal(advance('a-5,b-9', 'b-12'), 'a-5,b-12');
  assert.equal(advance('a-5', 'b-1'), 'b-1');
});
