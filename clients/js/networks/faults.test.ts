// That the faults are what they are called: a network that fails otherwise, or not at all, would prove nothing.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { box } from './box.ts';
import type { Stage, Start } from './path.ts';
import { tally } from './tally.ts';
import { Wire, wire } from './wire.ts';

/** A server behind the stage, both for as long as the test lasts. */
async function behind<S extends Stage>(t: TestContext, start: (upstream: string) => Promise<S>, answer: RequestListener): Promise<S> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  server.on('upgrade', (_req, socket: Socket) => {
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nafter');
    t.after(() => socket.destroy());
  });
  await once(server, 'listening');
  const stage = await start(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.after(async () => {
    await stage.close();
    server.closeAllConnections();
    server.close();
  });
  return stage;
}

const plain = (start: Start) => (upstream: string): Promise<Stage> => start(upstream, '');

const ok: RequestListener = (_req, res) => void res.end('ok');

function dial(t: TestContext, { url }: Stage): Socket {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  t.after(() => socket.destroy());
  return socket;
}

const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
const upgrade = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/** All that comes until the connection ends, however it does. */
async function all(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (bytes: Buffer) => (text += bytes.toString()));
  await once(socket, 'close').catch(() => {});
  return text;
}

const limit = { timeout: 20_000 };

describe('wire', limit, () => {
  test('resets a connection at the end of its lifetime', async (t) => {
    const socket = dial(t, await behind(t, plain(wire({ lifetime: 50 })), ok));
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
  });

  test('closes a connection after so many bytes', async (t) => {
    const socket = dial(t, await behind(t, plain(wire({ most: 1000 })), (_req, res) => void res.end('x'.repeat(5000))));
    socket.write(get);
    assert.equal((await all(socket)).length, 1000);
  });

  test('silences what is open, and lets new connections through', async (t) => {
    const stage = await behind(t, (upstream) => new Wire(upstream).start(), ok);
    const old = dial(t, stage);
    old.write(get);
    await once(old, 'data');
    let more = '';
    old.on('data', (bytes: Buffer) => (more += bytes.toString()));
    stage.silence(0);
    old.write(get);
    for (let i = 0; i < 5; i++) assert.equal(await (await fetch(stage.url)).text(), 'ok');
    assert.equal(more, '');
    assert.equal(old.readyState, 'open');
  });

  test('silences new connections too, as long as its black hole lasts', async (t) => {
    const stage = await behind(t, (upstream) => new Wire(upstream).start(), ok);
    stage.silence(100);
    const swallowed = dial(t, stage);
    await once(swallowed, 'connect');
    swallowed.write(get);
    await assert.rejects(fetch(stage.url, { signal: AbortSignal.timeout(150) }), { name: 'TimeoutError' });
    assert.equal(await (await fetch(stage.url)).text(), 'ok');
    assert.equal(swallowed.bytesRead, 0);
  });

  test('leaves: resets, refuses, and is back at the same address', async (t) => {
    const stage = await behind(t, (upstream) => new Wire(upstream).start(), ok);
    const socket = dial(t, stage);
    await once(socket, 'connect');
    const { url } = stage;
    const back = stage.leave(100);
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    const refused = dial(t, { url, close: async () => {} });
    assert.equal(((await once(refused, 'error')) as [NodeJS.ErrnoException])[0].code, 'ECONNREFUSED');
    await back;
    assert.equal(stage.url, url);
    assert.equal(await (await fetch(url)).text(), 'ok');
  });

  test('never answers who finds no seat', async (t) => {
    const stage = await behind(t, plain(wire({ seats: 1 })), ok);
    const [first, second] = [dial(t, stage), dial(t, stage)];
    second.write(get);
    first.write(get);
    await Promise.race([once(first, 'data'), once(second, 'data')]);
    assert.deepEqual([first.bytesRead > 0, second.bytesRead > 0].toSorted(), [false, true]);
  });

  test('is as slow as it says: a round trip for the handshake, one for the request, and the bytes at their rate', async (t) => {
    const stage = await behind(t, plain(wire({ rate: 8_000, delay: 50 })), (_req, res) => void res.end('x'.repeat(2000)));
    const began = performance.now();
    const body = await (await fetch(stage.url)).text();
    assert.equal(body.length, 2000);
    const took = performance.now() - began;
    assert.ok(took >= 4 * 50 + 2000 / 8, `took ${took} ms`);
  });
});

describe('box', limit, () => {
  /** Begins an answer and never ends it. */
  const endless = (type: string): RequestListener => (_req, res) => void res.writeHead(200, { 'content-type': type }).write('x'.repeat(5000));

  for (const status of [400, 403, 502] as const) {
    test(`answers an upgrade with ${status}`, async (t) => {
      const socket = dial(t, await behind(t, plain(box({ upgrade: status })), ok));
      socket.write(upgrade);
      assert.match(await all(socket), new RegExp(`^HTTP/1.1 ${status} `));
    });
  }

  test('lets an upgrade pass, and what follows it', async (t) => {
    const socket = dial(t, await behind(t, plain(box({})), ok));
    socket.write(upgrade);
    let text = '';
    while (!text.endsWith('after')) text += String((await once(socket, 'data'))[0]);
    assert.match(text, /^HTTP\/1.1 101 /);
  });

  test('mutes a WebSocket: the answer to the upgrade passes, and nothing after it', async (t) => {
    const stage = await behind(t, plain(box({ upgrade: 'mute' })), ok);
    const socket = dial(t, stage);
    socket.write(upgrade);
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    assert.match(bytes.toString(), /^HTTP\/1.1 101 [^]*\r\n\r\n$/);
    await (await fetch(stage.url)).text();
    assert.equal(socket.bytesRead, bytes.length);
  });

  test('holds what never ends, and passes what does', async (t) => {
    const stage = await behind(t, plain(box({ holds: 'everything' })), (req, res) => (req.url === '/endless' ? endless('text/plain') : ok)(req, res));
    const held = dial(t, stage);
    held.write('GET /endless HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal(await (await fetch(stage.url)).text(), 'ok');
    assert.equal(held.bytesRead, 0);
  });

  test('holds one content type only', async (t) => {
    const stage = await behind(t, plain(box({ holds: 'text/event-stream' })), (req, res) => endless(req.url?.slice(1) ?? '')(req, res));
    const held = dial(t, stage);
    held.write('GET /text/event-stream HTTP/1.1\r\nHost: x\r\n\r\n');
    const passes = dial(t, stage);
    passes.write('GET /application/x-ndjson HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(passes, 'data');
    assert.equal(held.bytesRead, 0);
  });

  test('holds back the tail of a response until it ends', async (t) => {
    let end = (): void => {};
    const stage = await behind(t, plain(box({ tail: 4_096 })), (_req, res) => {
      res.write('x'.repeat(5000));
      end = () => res.end();
    });
    const reader = (await fetch(stage.url)).body!.getReader();
    const first = await reader.read();
    assert.equal(first.value?.length, 5000 - 4096);
    end();
    assert.equal((await reader.read()).value?.length, 4096);
  });

  test('keeps what is answered to a GET without Cache-Control, and nothing else', async (t) => {
    let asked = 0;
    const stage = await behind(t, plain(box({ holds: 'everything', caches: true })), (req, res) => {
      if (req.url === '/fresh') res.setHeader('cache-control', 'no-store');
      res.end(String(++asked));
    });
    const ask = async (path: string, method: string): Promise<string> => (await fetch(stage.url + path, { method })).text();
    assert.deepEqual([await ask('/', 'GET'), await ask('/', 'GET'), await ask('/', 'POST')], ['1', '1', '2']);
    assert.deepEqual([await ask('/fresh', 'GET'), await ask('/fresh', 'GET')], ['3', '4']);
  });

  test('sends everybody to its portal, and then lets them through', async (t) => {
    const stage = await behind(t, plain(box({ portal: 200 })), ok);
    stage.begin?.();
    const sent = await fetch(stage.url);
    assert.ok(sent.redirected);
    assert.match(await sent.text(), /terms/);
    await new Promise((over) => setTimeout(over, 200)); // what is tested is a duration
    assert.equal(await (await fetch(stage.url)).text(), 'ok');
  });
});

test('the tally counts what is missing, repeated and out of order', () => {
  assert.deepEqual(tally([0, 1, 2, 3], 0, 3), { missing: 0, repeated: 0, disordered: 0 });
  assert.deepEqual(tally([0, 2, 1, 1], 0, 4), { missing: 2, repeated: 1, disordered: 1 });
});
