import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isChannel, isPattern, matches, overlap } from '../src/pattern.ts';
import { vectors } from './support/vectors.ts';

interface Names {
  channels: string[];
  patterns: string[];
  invalid: string[];
  matches: [pattern: string, channel: string, want: boolean][];
}

const golden = vectors<Names>('names');

test('the names of the vectors', () => {
  for (const name of golden.channels) assert.ok(isChannel(name) && isPattern(name), name);
  for (const name of golden.patterns) assert.ok(!isChannel(name) && isPattern(name), name);
  for (const name of golden.invalid) assert.ok(!isChannel(name) && !isPattern(name), JSON.stringify(name));
});

test('the matches of the vectors, which are overlaps too', () => {
  for (const [pattern, channel, want] of golden.matches) {
    assert.equal(matches(pattern, channel), want, `${pattern} ${channel}`);
    assert.equal(overlap(channel, pattern), want, `${pattern} ${channel}`);
  }
});

test('patterns overlap when a channel matches both', () => {
  const cases: [string, string, boolean][] = [
    ['a.*', '*.b', true], ['a.*', 'b.*', false], ['a.>', 'a.b.*', true], ['a.>', 'a', false], ['>', '*', true], ['a.*', 'a.*.c', false], ['a.*.>', 'a.b', false],
  ];
  for (const [a, b, want] of cases) assert.deepEqual([overlap(a, b), overlap(b, a)], [want, want], `${a} ${b}`);
});
