import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Client, ConnectOptions } from '../src/client.ts';
import { VirtualClock } from './support/clock.ts';
import { still } from './support/dial.ts';
import { Inbox, next, range } from './support/events.ts';
import { Gateway } from './support/gateway.ts';
import { Page } from './support/page.ts';

// Several attachments at once. Time stands still but for clock.run(); what the network brings is waited for.

/** Without the poll, which begins at once. */
const lasting: ConnectOptions = { transports: ['websocket', 'sse', 'stream'] };

const tried = (client: Client): string[] => client.diagnostics().attempts.map((a) => `${a.transport} ${a.stage}`);
const connected = async (client: Client): Promise<unknown> => client.state === 'connected' || next(client, 'state', (e) => e.state === 'connected');

describe('a race', () => {
  test('the next one begins 250 ms later beside the first, the winner serves, and a late one that is no better is not begun', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock } = still(gateway, 'mute', lasting);
    await (await script.socket(1)).asked('hello');
    await clock.run(249);
    assert.deepEqual(tried(client), ['websocket opening']);
    const event = next(client, 'transport');
    await clock.run(1);
    assert.deepEqual(tried(client), ['websocket opening', 'sse opening']);
    assert.deepEqual([(await event).transport, (await event).from], ['sse', null]);
    await clock.run(9_000);
    assert.deepEqual(tried(client), ['websocket opening', 'sse main'], 'what is better may still come');
    await clock.run(1_000);
    assert.deepEqual(tried(client), ['sse main']);
    assert.equal(script.sockets.length, 1);
    await client.close();
  });

  test('one that fails makes room for the next at once', async () => {
    await using gateway = await Gateway.start();
    const { client } = still(gateway, 'refuse', lasting);
    assert.equal((await next(client, 'transport')).reason, 'websocket: closed with 1006');
    assert.equal(client.transport, 'sse');
    await client.close();
  });

  test('one that is welcomed is given time for its proof before the next begins, and then the race goes on', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock } = still(gateway, 'no proof', lasting);
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    gateway.log.publish('c', 1);
    await inbox.has(1);
    await clock.run(499);
    assert.deepEqual(tried(client), ['websocket welcomed'], 'it serves all the same');
    const event = next(client, 'transport');
    await clock.run(1);
    assert.equal((await event).transport, 'sse');
    gateway.log.publish('c', 2);
    await inbox.has(2);
    await clock.run(1_500);
    assert.deepEqual([tried(client), script.sockets[0]?.readyState], [['sse main'], 3]);
    assert.deepEqual(inbox.data, [1, 2]);
    await client.close();
  });
});

/** A client that SSE serves, for a WebSocket did not come through; it will from now on. */
async function below(gateway: Gateway): Promise<ReturnType<typeof still> & { inbox: Inbox }> {
  const all = still(gateway, 'refuse', lasting);
  const inbox = new Inbox();
  await all.client.channel('c').subscribe(inbox.take).ready;
  await connected(all.client);
  all.script.mode = 'serve';
  return { ...all, inbox };
}

test('a poll brings the first messages while the WebSocket is made, which then takes over: each message once', async () => {
  await using gateway = await Gateway.start();
  for (const n of range(1, 5)) gateway.log.publish('c', n);
  const { client, script, clock } = still(gateway, 'mute');
  const inbox = new Inbox();
  client.channel('c').subscribe(inbox.take, { after: '0' });
  await inbox.has(5);
  await connected(client);
  await (await script.socket(1)).asked('hello');
  assert.deepEqual(tried(client), ['websocket opening', 'poll main']);
  // The WebSocket never comes, and SSE has its turn: it is better than a poll as well.
  const switched = next(client, 'switch');
  await clock.run(250);
  assert.deepEqual([(await switched).from, (await switched).to], ['poll', 'sse']);
  gateway.log.publish('c', 6);
  await inbox.has(6);
  assert.deepEqual(inbox.data, range(1, 6));
  await client.close();
});

describe('make before break', () => {
  test('up: the better one takes over in mid-stream, nothing is lost, repeated or delayed, and the old one hears bye', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock, inbox } = await below(gateway);
    const states: string[] = [];
    client.on('state', (e) => states.push(e.state));
    gateway.log.publish('c', 1);
    await inbox.has(1);
    const switched = next(client, 'switch');
    await clock.run(30_000);
    gateway.log.publish('c', 2);
    const socket = await script.socket(2);
    gateway.log.publish('c', 3);
    await socket.asked('hello');
    gateway.log.publish('c', 4);
    assert.deepEqual(await switched, { from: 'sse', to: 'websocket', reason: 'climbing back' });
    gateway.log.publish('c', 5);
    await inbox.has(5);
    const bye = await gateway.asked((path, _, body) => path === '/v1/commands' && body.commands?.[0]?.op === 'bye');
    assert.equal(bye.session, client.session);
    assert.match(bye.attachment ?? '', /^n1\./);
    assert.deepEqual([inbox.data, states, client.transport, tried(client)], [range(1, 5), [], 'websocket', ['websocket main']]);
    await client.close();
  });

  test('down: one that is silent is left for another that is proven, without a gap in service', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock } = still(gateway, 'serve', lasting);
    const inbox = new Inbox();
    const states: string[] = [];
    await client.channel('c').subscribe(inbox.take).ready;
    await connected(client);
    client.on('state', (e) => states.push(e.state));
    script.mode = 'mute';
    await clock.run(60_000 + 399);
    assert.deepEqual(tried(client), ['websocket main'], 'within the grace');
    const switched = next(client, 'switch');
    await clock.run(1);
    assert.deepEqual(tried(client), ['websocket main', 'websocket opening']);
    await clock.run(250);
    assert.deepEqual(await switched, { from: 'websocket', to: 'sse', reason: 'websocket: silent for 60400 ms' });
    await script.sockets[0]?.asked('bye');
    gateway.log.publish('c', 1);
    await inbox.has(1);
    assert.deepEqual([inbox.data, states], [[1], []]);
    await client.close();
  });

  test('one that speaks up again is not left', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock } = still(gateway, 'serve', lasting);
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    await connected(client);
    client.on('switch', () => assert.fail('it was left'));
    script.mode = 'mute';
    await clock.run(60_400);
    await (await script.socket(2)).asked('hello');
    gateway.log.publish('c', 1);
    await inbox.has(1);
    assert.deepEqual([tried(client), client.state], [['websocket main'], 'connected']);
    await client.close();
  });

  test('a drain: the server asks to be left, and another is made first', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock } = still(gateway, 'serve', lasting);
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    await connected(client);
    const events: unknown[] = [];
    client.on('error', (e) => events.push(e));
    client.on('state', (e) => events.push(e));
    script.sockets[0]?.push('{"op":"goaway","after_ms":2000,"reason":"drain"}');
    await clock.run(1_999);
    assert.equal(script.sockets.length, 1);
    const switched = next(client, 'switch');
    await clock.run(1);
    gateway.log.publish('c', 1);
    assert.deepEqual(await switched, { from: 'websocket', to: 'websocket', reason: 'the server asked to move' });
    gateway.log.publish('c', 2);
    await inbox.has(2);
    assert.deepEqual(script.sockets[0]?.sent.at(-1), { op: 'bye' });
    assert.deepEqual([inbox.data, events, script.sockets.length], [[1, 2], [], 2]);
    await client.close();
  });

  test('a page that was frozen does not take what served it for dead', async () => {
    await using gateway = await Gateway.start();
    const time = new VirtualClock(1);
    const page = new Page(time);
    const { client, script } = still(gateway, 'serve', { ...lasting, clock: page.clock });
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    await connected(client);
    const states: string[] = [];
    client.on('state', (e) => states.push(e.state));
    script.mode = 'mute';
    page.freeze();
    await time.run(600_000);
    page.thaw();
    await time.run(100);
    gateway.log.publish('c', 1);
    await inbox.has(1);
    assert.deepEqual([script.sockets[0]?.readyState, tried(client), states], [1, ['websocket main'], []]);
    await client.close();
  });
});

describe('what goes up meanwhile', () => {
  for (const mode of ['deaf', 'no replies'] as const) {
    test(`commands that are not answered (${mode}) go again on what takes over, in order, and are stored once`, async () => {
      await using gateway = await Gateway.start();
      const { client, script, clock } = still(gateway, 'serve', lasting);
      await connected(client);
      script.mode = mode;
      const sent = range(1, 5).map((n) => client.channel('c').publish(n));
      const [first] = script.sockets;
      await first?.asked('publish');
      await clock.run(1_999);
      assert.deepEqual(tried(client), ['websocket main']);
      script.mode = 'serve';
      const switched = next(client, 'switch');
      await clock.run(1);
      assert.equal((await switched).reason, 'websocket: commands are not answered');
      await Promise.all(sent);
      const up = (n: number): unknown[][] => (script.sockets[n]?.sent ?? []).filter((f) => f.op === 'publish').map((f) => [(f as { data?: unknown }).data, (f as { key?: unknown }).key]);
      assert.deepEqual(up(1), up(0), 'the same, with the same keys');
      assert.deepEqual(up(0).map((each) => each[0]), range(1, 5));
      assert.deepEqual(gateway.log.messages.map((m) => m.data), range(1, 5));
      assert.deepEqual(first?.sent.at(-1), { op: 'bye' });
      await client.close();
    });
  }

  test('publishes of every moment of a switch are stored once, in order', async () => {
    await using gateway = await Gateway.start();
    const { client, script, clock, inbox } = await below(gateway);
    const sent: Promise<unknown>[] = [];
    const publish = (): void => {
      for (let i = 0; i < 5; i++) sent.push(client.channel('c').publish(sent.length + 1));
    };
    publish();
    client.on('switch', publish);
    const switched = next(client, 'switch');
    await clock.run(30_000);
    publish();
    const socket = await script.socket(2);
    publish();
    socket.onsend = () => {
      if (socket.sent.length < 3) publish();
    };
    await switched;
    publish();
    // More may come while these are waited for.
    for (const ack of sent) await ack;
    await inbox.has(sent.length);
    assert.deepEqual(gateway.log.messages.map((m) => m.data), range(1, sent.length));
    assert.deepEqual(inbox.data, range(1, sent.length));
    assert.ok(sent.length >= 25, String(sent.length));
    await client.close();
  });
});
