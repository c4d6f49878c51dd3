import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../src/error.ts';
import { Lines } from '../src/lines.ts';
import { EventStreamParser } from '../src/sse.ts';
import { vectors } from './support/vectors.ts';

interface Stream {
  name: string;
  stream: string;
  events: { data: string }[];
}

const golden = vectors<Stream[]>('sse');

/** Parses bytes cut at each of the places, as the client does. */
function parse(bytes: Uint8Array, cuts: number[]): string[] {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const parser = new EventStreamParser();
  return [0, ...cuts].flatMap((from, i) => parser.push(decoder.decode(bytes.subarray(from, cuts[i] ?? bytes.length), { stream: true })));
}

for (const { name, stream, events: all } of golden) {
  const events = all.map((e) => e.data);
  test(`event stream, cut at every byte, and at every two: ${name}`, () => {
    const bytes = new TextEncoder().encode(stream);
    const whole = parse(bytes, []);
    assert.deepEqual(whole, events);
    for (let a = 1; a < bytes.length; a++) {
      for (let b = a; b < bytes.length; b++) assert.deepEqual(parse(bytes, [a, b]), events, `cut at ${a} and ${b}`);
    }
    assert.deepEqual(parse(bytes, Array.from(bytes.keys()).slice(1)), events, 'byte by byte');
  });
}

test('an event stream of CRLF, cut between the two, has no empty line there', () => {
  const parser = new EventStreamParser();
  assert.deepEqual(parser.push('data: a\r'), []);
  assert.deepEqual(parser.push('\n'), []);
  assert.deepEqual(parser.push('\n'), ['a'], 'and a second LF is one');
});

test('a line without an end does not fill the memory', () => {
  const megabyte = 'x'.repeat(1 << 20);
  for (const parser of [new EventStreamParser(), new Lines()]) {
    assert.throws(() => {
      for (let i = 0; i < 20; i++) parser.push(megabyte);
    }, FairleadError);
  }
});

test('lines, cut at every place', () => {
  const text = '   \n{"a":1}\r\n\n{"b":"é😀"}\n{"unfinished"';
  for (let cut = 0; cut <= text.length; cut++) {
    const parser = new Lines();
    const lines = [...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))];
    assert.deepEqual(lines, ['   ', '{"a":1}', '', '{"b":"é😀"}'], `cut at ${cut}`);
  }
});
