import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { connect, type Client } from '../src/client.ts';
import type { Message, Transport } from '../src/frame.ts';
import { Binary, build, Wire } from './support/binary.ts';
import { Inbox, next, range } from './support/events.ts';

// The real gateway, as a process, behind a wire that can be cut. Each test has channels of its own.

const built = build();
const timing = { base: 20, brief: 50, cap: 100, jitter: 5, calm: 0 };
const transports = ['websocket', 'sse', 'stream', 'poll'] as const;

let count = 0;
const fresh = (name: string): string => `${name}.${++count}`;

function dial(url: string, transport: Transport): Client {
  return connect(url, { transports: [transport], timing });
}

async function connected(client: Client): Promise<void> {
  if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
}

describe('against the gateway', async () => {
  const gateway = await new Binary(built, '--beat', '1s').start();
  after(() => gateway.kill());

  for (const transport of transports) {
    test(`${transport}: what is published arrives, once and in order`, async () => {
      await using client = dial(gateway.url, transport);
      const name = fresh('chat');
      const inbox = new Inbox();
      const sub = client.channel(name).subscribe(inbox.take);
      await sub.ready;
      const acks = await Promise.all(range(1, 200).map((n) => client.channel(name).publish({ n }, { type: 'count' })));
      await inbox.has(200);
      assert.deepEqual(inbox.data, range(1, 200).map((n) => ({ n })));
      assert.deepEqual(inbox.messages.map((m) => m.id), acks.map((a) => a.id));
      assert.ok(inbox.messages.every((m) => m.type === 'count' && m.channel === name && m.time > 1e12));
      await connected(client);
      assert.equal(client.transport, transport);
      assert.equal(sub.cursor, acks.at(-1)?.id);
    });

    test(`${transport}: cut again and again in the middle, nothing is lost, repeated or stored twice`, async () => {
      await using wire = await Wire.to(gateway.port);
      await using reader = dial(wire.url, transport);
      await using writer = dial(wire.url, transport);
      const name = fresh('cut');
      const inbox = new Inbox();
      await reader.channel(name).subscribe(inbox.take).ready;
      const sent: Promise<{ id: string }>[] = [];
      for (const n of range(1, 300)) {
        sent.push(writer.channel(name).publish(n));
        if (n % 30 !== 0) continue;
        // Cut while answers are under way, not between two rounds.
        await sent[n - 30];
        wire.cut();
      }
      const acks = await Promise.all(sent);
      await inbox.has(300);
      assert.deepEqual(inbox.data, range(1, 300));
      assert.deepEqual(inbox.messages.map((m) => m.id), acks.map((a) => a.id));
      const stored: Message[] = [];
      for (let after = '0'; after; ) {
        const page = await writer.channel(name).history({ after, limit: 100 });
        stored.push(...page.messages);
        after = page.next ?? '';
      }
      assert.deepEqual(stored.map((m) => m.data), range(1, 300));
    });

    test(`${transport}: a path that goes dead without a word is left, and the next one resumes`, async () => {
      await using wire = await Wire.to(gateway.port);
      if (transport === 'poll') return; // its limit is the wait and five seconds
      await using client = connect(wire.url, { transports: [transport], timing: { ...timing, budget: 1_000 } });
      const name = fresh('dead');
      const inbox = new Inbox();
      await client.channel(name).subscribe(inbox.take).ready;
      await connected(client);
      wire.swallow = true;
      const dropped = next(client, 'state', (e) => e.state !== 'connected');
      await using other = dial(gateway.url, 'websocket');
      await other.channel(name).publish(1);
      assert.match((await dropped).reason, /silent for \d+ ms/);
      wire.swallow = false;
      await inbox.has(1);
    });

    test(`${transport}: subscriptions that overlap and start apart each get their own, live and after a resume`, async () => {
      await using wire = await Wire.to(gateway.port);
      await using client = dial(wire.url, transport);
      const base = fresh('mix');
      const publish = async (from: number, to: number): Promise<string[]> => {
        const all = range(from, to).map((n) => client.channel(`${base}.${n % 2 ? 'odd' : 'even'}`).publish(n));
        return (await Promise.all(all)).map((a) => a.id);
      };
      const ids = await publish(1, 20);
      const boxes: Record<string, Inbox> = {};
      const watch = async (key: string, name: string, options: { after?: string; last?: number }): Promise<void> => {
        const inbox = (boxes[key] = new Inbox());
        await client.channel(`${base}.${name}`).subscribe(inbox.take, options).ready;
      };
      await watch('all', '*', { after: ids[9] as string });
      await watch('rest', '>', { last: 3 });
      await watch('odd', 'odd', { after: '0' });
      await watch('even', 'even', {});
      await watch('even again', 'even', { last: 2 });
      await publish(21, 24);
      wire.cut();
      await publish(25, 30);
      const want: Record<string, number[]> = {
        all: range(11, 30), rest: range(18, 30), odd: range(1, 30).filter((n) => n % 2), even: [22, 24, 26, 28, 30], 'even again': [18, 20, 22, 24, 26, 28, 30],
      };
      for (const [key, data] of Object.entries(want)) assert.deepEqual((await boxes[key]?.has(data.length))?.data, data, key);
    });

    test(`${transport}: a slow iterator reads on from the log`, async () => {
      await using client = connect(gateway.url, { transports: [transport], timing, buffer: 10 });
      const name = fresh('slow');
      const messages = client.channel(name).subscribe({ after: '0' });
      await messages.ready;
      await Promise.all(range(1, 200).map((n) => client.channel(name).publish(n)));
      const got: unknown[] = [];
      for await (const { data } of messages) if (got.push(data) === 200) break;
      assert.deepEqual(got, range(1, 200));
    });

    test(`${transport}: a purge is told as a gap`, async () => {
      await using client = dial(gateway.url, transport);
      const name = fresh('purge');
      const inbox = new Inbox();
      await client.channel(name).subscribe(inbox.take).ready;
      await client.channel(name).publish(1);
      await inbox.has(1);
      const gap = next(client, 'gap');
      const answer = await fetch(`${gateway.url}/v1/channels/${name}/messages`, { method: 'DELETE' });
      const { id } = (await answer.json()) as { id: string };
      assert.deepEqual(await gap, { channel: name, from: (await gap).from, to: id, reason: 'purged' });
      await client.channel(name).publish(2);
      await inbox.has(2);
      assert.deepEqual(inbox.data, [1, 2]);
    });

    test(`${transport}: bytes, text and JSON arrive as what they were`, async () => {
      await using client = dial(gateway.url, transport);
      const name = fresh('data');
      const inbox = new Inbox();
      await client.channel(name).subscribe(inbox.take).ready;
      const data = [null, 0, 'é€😀\r\n\u2028', [1, { a: [] }], new Uint8Array([0, 255, 254, 10, 13]), ''];
      for (const each of data) await client.channel(name).publish(each);
      await inbox.has(data.length);
      assert.deepEqual(inbox.data, data);
    });

    test(`${transport}: what the server refuses for good rejects, and harms nothing else`, async () => {
      await using client = dial(gateway.url, transport);
      const name = fresh('refuse');
      await connected(client);
      await assert.rejects(client.channel(name).publish(1, { key: 'a b' }), { code: 'bad_request' });
      await assert.rejects(client.channel(name).publish('x'.repeat(2 << 20)), { code: 'too_large' });
      await assert.rejects(client.channel(name).history({ after: 'nonsense' }), { code: 'bad_request' });
      assert.equal((await client.channel(name).publish(1, { key: 'k' })).duplicate, false);
      assert.equal((await client.channel(name).publish(2, { key: 'k' })).duplicate, true);
    });
  }

  test('the default ladder ends on a WebSocket', async () => {
    await using client = connect(gateway.url);
    await next(client, 'transport', (e) => e.transport === 'websocket');
    const ping = await client.ping();
    assert.match(ping.id, /^[a-z0-9]+-\d+$/);
    assert.ok(Math.abs(ping.time - Date.now()) < 60_000);
  });

  test('a session goes from one transport to the next with its cursor', async () => {
    const name = fresh('move');
    const inbox = new Inbox();
    let after: string | undefined;
    for (const [i, transport] of transports.entries()) {
      await using client = dial(gateway.url, transport);
      const sub = client.channel(name).subscribe(inbox.take, after === undefined ? {} : { after });
      await sub.ready;
      await client.channel(name).publish(i);
      await inbox.has(i + 1);
      after = sub.cursor ?? undefined;
    }
    assert.deepEqual(inbox.data, [0, 1, 2, 3]);
  });
});

describe('when the gateway dies', () => {
  for (const transport of transports) {
    test(`${transport}: kill -9 and a restart lose no acknowledged message, and store none twice`, async () => {
      await using gateway = await new Binary(built).start();
      await using client = dial(gateway.url, transport);
      const inbox = new Inbox();
      await client.channel('c').subscribe(inbox.take).ready;
      const sent: Promise<unknown>[] = [];
      for (const n of range(1, 60)) {
        sent.push(client.channel('c').publish(n));
        if (n % 20 !== 0) continue;
        await sent[n - 20];
        await gateway.kill();
        await gateway.start();
      }
      await Promise.all(sent);
      await inbox.has(60);
      assert.deepEqual(inbox.data, range(1, 60));
    });
  }

  test('a log that is replaced is told as a gap, and goes on', async () => {
    await using first = await new Binary(built).start();
    await using second = await new Binary(built).start();
    await using client = connect(first.url, { transports: ['websocket'], timing });
    await client.channel('c').publish(1);
    const { messages: [message] } = await client.channel('c').history();
    await using other = connect(second.url, { transports: ['websocket'], timing });
    await other.channel('c').publish(2);
    const inbox = new Inbox();
    const gap = next(other, 'gap');
    other.channel('c').subscribe(inbox.take, { after: message?.id as string });
    assert.equal((await gap).reason, 'replaced');
    await inbox.has(1);
    assert.deepEqual(inbox.data, [2]);
  });

  test('a drain sends clients away without an error', async () => {
    await using gateway = await new Binary(built, '--drain', '1s').start();
    await using client = connect(gateway.url, { timing });
    const errors: unknown[] = [];
    client.on('error', (e) => errors.push(e));
    const inbox = new Inbox();
    await client.channel('c').subscribe(inbox.take).ready;
    await connected(client);
    await gateway.kill('SIGTERM');
    await gateway.start();
    await client.channel('c').publish(1);
    await inbox.has(1);
    assert.deepEqual(errors, []);
  });
});
