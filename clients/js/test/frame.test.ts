import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../src/error.ts';
import { encode, parseFrame } from '../src/frame.ts';
import { EventStreamParser } from '../src/sse.ts';
import { vectors } from './support/vectors.ts';

interface Golden {
  name: string;
  json: string;
  sse: string;
  message?: { payload64?: string };
}

for (const { name, json, sse, message } of vectors<Golden[]>('frames')) {
  test(`frame: ${name}`, () => {
    const frame = parseFrame(json);
    const want = JSON.parse(json) as Record<string, unknown>;
    if (message?.payload64 !== undefined) want['data'] = new Uint8Array(Buffer.from(message.payload64, 'base64'));
    assert.deepEqual(frame, want);
    assert.deepEqual(new EventStreamParser().push(sse), [json]);
  });
}

test('a frame that is damaged or not complete is an error, whatever is wrong with it', () => {
  const bad = [
    '', '{', 'null', '[]', '7', '{}', '{"op":7}', '{"op":"message"}', '{"op":"message","id":"a-01","channel":"c"}', '{"op":"message","id":"a-1"}', '{"op":"beat"}',
    '{"op":"beat","id":"x"}', '{"op":"welcome","session":"s"}', '{"op":"welcome","session":"s","id":"a-1","channels":{"c":{"after":"?"}}}', '{"op":"gap","channel":"c","from":"0"}',
    '{"op":"subscribed","channel":"c"}', '{"op":"unsubscribed","channel":"c"}', '{"op":"unsubscribed","code":"forbidden"}',
    '{"op":"goaway"}', '{"op":"error"}', '{"op":"reply"}', '{"op":"message","id":"a-1","channel":"c","data":"%","encoding":"base64"}',
  ];
  for (const text of bad) assert.throws(() => parseFrame(text), (e) => e instanceof FairleadError && e.code === 'bad_answer', text);
});

test('every prefix of every frame is an error', () => {
  for (const { json } of vectors<Golden[]>('frames')) {
    for (let end = 0; end < json.length; end++) assert.throws(() => parseFrame(json.slice(0, end)), FairleadError);
  }
});

test('an op that this version does not know is ignored, even one with an odd name', () => {
  for (const op of ['presence', 'constructor', '__proto__', 'toString', '']) assert.equal(parseFrame(JSON.stringify({ op })), undefined);
});

test('bytes go out as base64 and come back as they were', () => {
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7);
  for (const data of [bytes, bytes.buffer, new DataView(bytes.buffer)]) {
    const sent = encode(data);
    assert.equal(sent.encoding, 'base64');
    const frame = parseFrame(JSON.stringify({ op: 'message', id: 'a-1', channel: 'c', time: 1, ...sent }));
    assert.deepEqual(frame?.op === 'message' && frame.data, bytes);
  }
  assert.deepEqual(encode(undefined), { data: null });
  assert.deepEqual(encode({ a: 1 }), { data: { a: 1 } });
});
