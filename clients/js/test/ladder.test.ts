import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '../src/client.ts';
import { realClock } from '../src/clock.ts';
import { FairleadError } from '../src/error.ts';
import { dial, quick } from './support/dial.ts';
import { Inbox, next, range } from './support/events.ts';
import { Gateway, json, problem } from './support/gateway.ts';
import { scripted } from './support/socket.ts';

describe('the ladder', () => {
  for (const [mode, reason] of [
    ['refuse', 'closed with 1006'], ['mute', 'no welcome in time'], ['no proof', 'no proof in time'], ['throw', 'cannot be made'], ['wrong protocol', 'speaks no protocol'],
  ] as const) {
    test(`a WebSocket that fails (${mode}) gives way to SSE, and nothing is lost on the way`, async () => {
      await using gateway = await Gateway.start();
      gateway.log.publish('c', 1);
      const script = scripted(gateway.log, mode);
      await using client = connect(gateway.url, { WebSocket: script.WebSocket, timing: { ...quick, welcome: 400, proof: 400 } });
      const inbox = new Inbox();
      client.channel('c').subscribe(inbox.take, { after: '0' });
      const event = await next(client, 'transport');
      assert.deepEqual([event.transport, event.from, client.transport], ['sse', null, 'sse']);
      assert.match(event.reason, new RegExp(`websocket: .*${reason}`));
      gateway.log.publish('c', 2);
      await inbox.has(2);
      assert.deepEqual(inbox.data, [1, 2]);
      const tried = script.sockets.length;
      client.reconnect();
      await next(client, 'state', (e) => e.state === 'connected');
      assert.equal(script.sockets.length, tried, 'and is not tried again for now');
    });
  }

  test('a stream that is held back gives way to polling', async () => {
    await using gateway = await Gateway.start();
    const script = scripted(gateway.log, 'refuse');
    gateway.intercept = (req, res) => {
      if (req.headers.accept !== 'text/event-stream') return false;
      res.writeHead(200, { 'content-type': 'text/event-stream' }).write(': held\n\n');
      return true;
    };
    await using client = connect(gateway.url, { WebSocket: script.WebSocket, timing: { ...quick, welcome: 50 } });
    assert.equal((await next(client, 'transport')).reason, 'sse: no welcome in time');
    assert.equal(client.transport, 'poll');
  });

  test('silence ends an attachment, and the next one resumes', async () => {
    await using gateway = await Gateway.start();
    const script = scripted(gateway.log);
    await using client = connect(gateway.url, { WebSocket: script.WebSocket, transports: ['websocket'], timing: quick });
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    const [socket] = script.sockets;
    assert.ok(socket);
    // The next welcome promises a beat every 50 ms, and none comes.
    const attach = gateway.log.attach.bind(gateway.log);
    gateway.log.attach = (channels, send) => attach(channels, send, { beat: 50 });
    client.reconnect();
    const dead = await next(client, 'state', (e) => e.state === 'waiting');
    assert.equal(dead.reason, 'websocket: silent for too long');
    gateway.log.publish('c', 1);
    await inbox.has(1);
  });

  test('a frame that does not parse ends the attachment, and its message comes again', async () => {
    await using gateway = await Gateway.start();
    const script = scripted(gateway.log);
    await using client = connect(gateway.url, { WebSocket: script.WebSocket, transports: ['websocket'], timing: quick });
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    for (const damage of ['{"op":"message","id":"a-1","chann', new Uint8Array([1]), 'null']) {
      const error = next(client, 'error');
      script.sockets.at(-1)?.push(damage);
      assert.equal((await error).code, 'bad_answer');
      gateway.log.publish('c', inbox.messages.length + 1);
      await inbox.has(inbox.messages.length + 1);
      if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    }
    assert.deepEqual(inbox.data, [1, 2, 3]);
  });

  test('bytes that were damaged on the way are not taken for a message', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'sse');
    let damage = true;
    const errors: FairleadError[] = [];
    client.on('error', (e) => errors.push(e));
    gateway.intercept = (_, res, body) => {
      if (!body.channels || !damage) return false;
      damage = false;
      const [before, after] = JSON.stringify({ op: 'message', id: 'a-1', channel: 'c', data: '|', time: 1 }).split('|');
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(`data: ${JSON.stringify({ op: 'welcome', session: 's', id: 'a-0', channels: { c: { after: 'a-0' } } })}\n\ndata: ${before}`);
      res.write(new Uint8Array([0xc3, 0x28]));
      res.write(`${after}\n\n`);
      return true;
    };
    gateway.log.publish('c', 'whole');
    const inbox = new Inbox();
    client.channel('c').subscribe(inbox.take, { after: '0' });
    await inbox.has(1);
    assert.deepEqual([inbox.data, errors.map((e) => e.code)], [['whole'], ['bad_answer']]);
  });

  test('a WebSocket that carries nothing up is left, and what it lost is sent again', async () => {
    await using gateway = await Gateway.start();
    const script = scripted(gateway.log, 'deaf');
    // A hundred times as fast as life.
    const clock = { ...realClock, now: () => performance.now() * 100, after: (ms: number, fn: () => void) => realClock.after(ms / 100, fn) };
    await using client = connect(gateway.url, { WebSocket: script.WebSocket, transports: ['websocket'], clock });
    client.on('state', (e) => {
      if (e.state === 'waiting') script.mode = 'serve';
    });
    const left = next(client, 'state', (e) => e.state === 'waiting');
    await client.channel('c').publish(1);
    assert.equal((await left).reason, 'websocket: commands are not answered');
  });

  test('a drain moves the client without an error and without a loss', async () => {
    await using gateway = await Gateway.start();
    const script = scripted(gateway.log);
    await using client = connect(gateway.url, { WebSocket: script.WebSocket, timing: quick });
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    const errors: unknown[] = [];
    client.on('error', (e) => errors.push(e));
    script.sockets[0]?.push('{"op":"goaway","after_ms":20,"reason":"drain"}');
    gateway.log.publish('c', 1);
    await next(client, 'state', (e) => e.state === 'connected');
    gateway.log.publish('c', 2);
    await inbox.has(2);
    assert.equal(script.sockets.length, 2);
    assert.deepEqual(script.sockets[0]?.sent.at(-1), { op: 'bye' });
    assert.deepEqual([inbox.data, errors], [[1, 2], []]);
  });
});

describe('bad servers', () => {
  const html = '<html>Please log in</html>';
  const answers: [string, Parameters<Gateway['intercept']> extends infer P ? (...args: P extends [infer A, infer B, infer C] ? [A, B, C] : never) => boolean : never][] = [
    ['HTML', (_, res) => !!res.writeHead(200, { 'content-type': 'text/html' }).end(html)],
    ['a redirect to a captive portal', (_, res) => !!res.writeHead(302, { location: 'http://192.0.2.1/login' }).end()],
    ['404', (_, res) => !!res.writeHead(404, { 'content-type': 'text/plain' }).end('no')],
    ['garbage with the right type', (req, res) => !!res.writeHead(200, { 'content-type': String(req.headers.accept) }).end('data: {{{\n\n{{{\n')],
    ['an empty answer', (req, res) => !!res.writeHead(200, { 'content-type': String(req.headers.accept) }).end()],
    ['a poll without an id', (_, res) => (json(res, { frames: [] }), true)],
  ];
  for (const [name, answer] of answers) {
    test(`${name}: told as an error, once, without a hot loop`, async () => {
      await using gateway = await Gateway.start();
      gateway.intercept = (req, res, body) => answer(req, res, body) || true;
      await using client = connect(gateway.url, { transports: ['sse', 'stream', 'poll'], timing: { base: 20 } });
      const errors: FairleadError[] = [];
      client.on('error', (e) => errors.push(e));
      let waits = 0;
      await next(client, 'state', (e) => e.state === 'waiting' && ++waits === 4);
      assert.ok(gateway.requests.length <= 12, String(gateway.requests.length));
      const texts = errors.map((e) => `${e.code}: ${e.message}`);
      assert.deepEqual(texts, [...new Set(texts)]);
      assert.ok(texts.length >= 1 && texts.every((t) => t.startsWith('bad_answer')), texts.join());
      if (name === 'HTML') assert.match(texts.join(), /status 200 and text\/html/);
      assert.equal(client.transport, null);
      // And when the server is well again, so are we.
      gateway.intercept = () => false;
      await next(client, 'state', (e) => e.state === 'connected');
    });
  }

  test('Retry-After is honoured', async () => {
    await using gateway = await Gateway.start();
    gateway.intercept = (_, res) => (problem(res, 503, 'unavailable', { 'retry-after': '2' }), true);
    await using client = connect(gateway.url, { transports: ['sse', 'poll'] });
    const event = await next(client, 'state', (e) => e.state === 'waiting');
    assert.ok((event.retryInMs ?? 0) >= 2000);
    assert.equal(gateway.requests.length, 1, 'and the next transport is not tried meanwhile');
  });

  test('a poll that is cut short is not taken for no news', async () => {
    await using gateway = await Gateway.start();
    await using client = connect(gateway.url, { transports: ['poll'], timing: quick });
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    let cuts = 3;
    gateway.intercept = (req, res, body) => {
      if (req.url !== '/v1/attach' || cuts === 0) return false;
      cuts--;
      const text = JSON.stringify({ frames: gateway.log.since(body.channels ?? {}).frames, id: gateway.log.id });
      if (cuts === 0) res.writeHead(200, { 'content-type': 'application/json' }).end(text.slice(0, -1));
      else res.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length }).write(text.slice(0, 30), () => res.destroy());
      return true;
    };
    for (const n of range(1, 3)) gateway.log.publish('c', n);
    client.reconnect();
    await inbox.has(3);
    assert.deepEqual([cuts, inbox.data], [0, [1, 2, 3]]);
  });

  test('a poll that answers the same at once, for ever, is not asked in a hot loop', async () => {
    await using gateway = await Gateway.start();
    let asked = 0;
    let slow = (): void => {};
    const calm = new Promise<void>((resolve) => (slow = resolve));
    const times: number[] = [];
    gateway.intercept = (req, res, body) => {
      if (req.url !== '/v1/attach' || !body.wait) return false;
      times.push(performance.now());
      if (++asked === 4) slow();
      json(res, { frames: [], id: 'a-0' });
      return true;
    };
    await using client = connect(gateway.url, { transports: ['poll'] });
    await calm;
    assert.ok((times[3] ?? 0) - (times[0] ?? 0) > 500, times.join());
    assert.equal(client.state, 'connected');
  });
});
