import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '../src/client.ts';
import { FairleadError } from '../src/error.ts';
import { VirtualClock } from './support/clock.ts';
import { dial, quick, still } from './support/dial.ts';
import { Inbox, next, range } from './support/events.ts';
import { Gateway, json, problem } from './support/gateway.ts';
import { Log } from './support/log.ts';
import { scripted } from './support/socket.ts';

describe('the ladder', () => {
  for (const [mode, reason] of [['refuse', 'closed with 1006'], ['throw', 'cannot be made'], ['wrong protocol', 'speaks no protocol']] as const) {
    test(`a WebSocket that fails (${mode}) gives way to SSE at once, and nothing is lost on the way`, async () => {
      await using gateway = await Gateway.start();
      gateway.log.publish('c', 1);
      const { client, script } = still(gateway, mode, { transports: ['websocket', 'sse'] });
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
      await client.close();
    });
  }

  test('a server of another version of the protocol is an error where nothing else serves, and told once', async () => {
    await using gateway = await Gateway.start();
    for (const [transports, want] of [[['websocket'], ['bad_answer: the WebSocket speaks no protocol, not fairlead.v1']], [['websocket', 'sse'], []]] as const) {
      await using client = dial(gateway, [...transports], { WebSocket: scripted(gateway.log, 'wrong protocol').WebSocket });
      const errors: FairleadError[] = [];
      client.on('error', (e) => errors.push(e));
      let waits = 0;
      await next(client, 'state', (e) => e.state === 'connected' || (e.state === 'waiting' && ++waits === 3));
      assert.deepEqual(errors.map((e) => `${e.code}: ${e.message}`), want);
    }
  });

  test('a stream that is held back is given up, and the poll serves', async () => {
    await using gateway = await Gateway.start();
    const held: string[] = [];
    gateway.intercept = (req, res) => {
      const { accept } = req.headers;
      if (accept !== 'text/event-stream' && accept !== 'application/x-ndjson') return false;
      held.push(accept);
      res.writeHead(200, { 'content-type': accept }).write(': held\n\n');
      return true;
    };
    const { client, clock } = still(gateway, 'refuse');
    assert.equal((await next(client, 'transport')).transport, 'poll');
    await clock.run(10_250);
    assert.deepEqual([client.transport, held[0], client.state], ['poll', 'text/event-stream', 'connected']);
    assert.deepEqual(client.diagnostics().rungs.sse.bad, true);
    await client.close();
  });

  test('silence ends an attachment at one and a half beats when nothing takes its place, and the next one resumes', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock } = still(gateway, 'serve', { transports: ['websocket'] });
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    script.mode = 'mute';
    await clock.run(89_999);
    assert.equal(client.state, 'connected');
    const left = next(client, 'state');
    await clock.run(1);
    assert.equal((await left).reason, 'websocket: silent for 90000 ms');
    gateway.log.publish('c', 1);
    script.mode = 'serve';
    client.reconnect();
    await inbox.has(1);
    await client.close();
  });

  test('a frame that does not parse ends the attachment, and its message comes again', async () => {
    await using gateway = await Gateway.start();
    const script = scripted(gateway.log);
    await using client = connect(gateway.url, { WebSocket: script.WebSocket, transports: ['websocket'], timing: quick });
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    const errors: string[] = [];
    client.on('error', ({ code }) => errors.push(code));
    for (const damage of ['{"op":"message","id":"a-1","chann', new Uint8Array([1]), 'null']) {
      const lost = next(client, 'state', (e) => e.state !== 'connected');
      script.sockets.at(-1)?.push(damage);
      await lost;
      gateway.log.publish('c', inbox.messages.length + 1);
      await inbox.has(inbox.messages.length + 1);
      if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    }
    assert.deepEqual(inbox.data, [1, 2, 3]);
    assert.deepEqual(errors, ['bad_answer'], 'told once');
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
    test(`${name}: told as an error, once, without a hot loop, and left behind when the server is well`, async () => {
      await using gateway = await Gateway.start();
      gateway.intercept = (req, res, body) => answer(req, res, body) || true;
      await using client = connect(gateway.url, { transports: ['sse', 'stream', 'poll'], timing: { ...quick, stagger: 5, pause: 5 } });
      const errors: FairleadError[] = [];
      const away: unknown[] = [];
      client.on('error', (e) => errors.push(e));
      client.on('offline', (e) => away.push(e));
      let waits = 0;
      await next(client, 'state', (e) => e.retryInMs !== undefined && ++waits === 4);
      // Each time three transports at most, and a ping.
      assert.ok(gateway.requests.length <= 16, String(gateway.requests.length));
      const texts = errors.map((e) => `${e.code}: ${e.message}`);
      assert.deepEqual(texts, [...new Set(texts)]);
      assert.ok(texts.length >= 1 && texts.every((t) => t.startsWith('bad_answer')), texts.join());
      if (name === 'HTML') assert.match(texts.join(), /status 200 and text\/html/);
      if (name.startsWith('a redirect')) assert.match(texts.join(), /status 302|a redirect/);
      assert.equal(away.length, 1);
      assert.equal(client.transport, null);
      gateway.intercept = () => false;
      await next(client, 'state', (e) => e.state === 'connected');
    });
  }

  for (const [name, response] of [
    ['a page', () => new Response(html, { headers: { 'content-type': 'text/html' } })], ['a redirect', () => new Response(null, { status: 302, headers: { location: 'http://192.0.2.1' } })],
  ] as const) {
    test(`behind a captive portal (${name}) for an hour there are few requests, and one report of each kind`, async () => {
      const clock = new VirtualClock(1);
      let requests = 0;
      const client = connect('http://gateway', { fetch: async () => (requests++, response()), WebSocket: scripted(new Log(), 'refuse').WebSocket, clock });
      const errors: string[] = [];
      client.on('error', (e) => errors.push(`${e.code}: ${e.message}`));
      await clock.run(60_000);
      const first = requests;
      assert.equal(client.state, 'offline');
      await clock.run(3_600_000);
      // A wait is 15 s in the middle: a ping after each.
      assert.ok(first < 400 && requests - first < 2_000, `${first} in the first minute, ${requests - first} in the next hour`);
      assert.deepEqual(errors, [...new Set(errors)]);
      assert.ok(errors.length <= 2 && errors.every((e) => e.startsWith('bad_answer')), errors.join());
      await client.close();
    });
  }

  test('Retry-After is honoured', async () => {
    await using gateway = await Gateway.start();
    gateway.intercept = (_, res) => (problem(res, 503, 'unavailable', { 'retry-after': '2' }), true);
    await using client = connect(gateway.url, { transports: ['sse', 'poll'] });
    const event = await next(client, 'state', (e) => e.state === 'waiting');
    assert.ok((event.retryInMs ?? 0) >= 1_900 && (event.retryInMs ?? 0) < 10_000, String(event.retryInMs));
    assert.ok(gateway.requests.length <= 2, 'each transport at most once');
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
