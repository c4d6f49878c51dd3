import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '../src/client.ts';
import { FairleadError } from '../src/error.ts';
import type { Message } from '../src/frame.ts';
import { dial, isError } from './support/dial.ts';
import { Inbox, next, range } from './support/events.ts';
import { Gateway, problem } from './support/gateway.ts';

for (const transport of ['websocket', 'sse', 'stream', 'poll'] as const) {
  describe(`over ${transport}`, () => {
    test('subscribe, publish, and see each message once, in order', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      const inbox = new Inbox();
      const all = new Inbox();
      client.on('message', all.take);
      await client.channel('chat.1').subscribe(inbox.take).ready;
      const ids = await Promise.all(range(1, 50).map((n) => client.channel('chat.1').publish(n)));
      await inbox.has(50);
      assert.deepEqual(inbox.data, range(1, 50));
      assert.deepEqual(ids.map(({ id, duplicate }) => [id, duplicate]), inbox.messages.map((m) => [m.id, false]));
      assert.equal(all.messages.length, 50);
      if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
      assert.equal(client.transport, transport);
      assert.match(client.session, /^[0-9a-f]{32}$/);
      assert.equal(client.cursor, 'a-50');
    });

    test('subscriptions start where they say, also later and beside others', async () => {
      await using gateway = await Gateway.start();
      for (const n of range(1, 10)) gateway.log.publish('c', n);
      await using client = dial(gateway, transport);
      const [all, two, now, wild, late] = range(0, 4).map(() => new Inbox()) as [Inbox, Inbox, Inbox, Inbox, Inbox];
      const c = client.channel('c');
      const subs = [c.subscribe(all.take, { after: '0' }), c.subscribe(two.take, { last: 2 }), c.subscribe(now.take), client.channel('*').subscribe(wild.take, { after: 'a-5' })];
      await Promise.all(subs.map((s) => s.ready));
      const later = c.subscribe(late.take, { after: 'a-7' });
      await later.ready;
      gateway.log.publish('c', 11);
      await Promise.all([all.has(11), two.has(3), now.has(1), wild.has(6), late.has(4)]);
      assert.deepEqual([all, two, now, wild, late].map((i) => i.data), [range(1, 11), range(9, 11), [11], range(6, 11), range(8, 11)]);
      assert.equal(later.cursor, 'a-11');
    });

    test('a subscription that ended gets nothing more, and the others go on', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      const [one, two] = [new Inbox(), new Inbox()];
      const aborter = new AbortController();
      const sub = client.channel('c').subscribe(one.take, { signal: aborter.signal });
      const other = client.channel('c').subscribe(two.take);
      await Promise.all([sub.ready, other.ready]);
      gateway.log.publish('c', 1);
      await Promise.all([one.has(1), two.has(1)]);
      aborter.abort();
      gateway.log.publish('c', 2);
      await two.has(2);
      assert.deepEqual(one.data, [1]);
      other.unsubscribe();
      await assert.rejects(client.channel('c').subscribe(() => {}, { signal: AbortSignal.abort() }).ready, isError('closed'));
    });

    test('a drop in the middle loses and repeats nothing', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      const inbox = new Inbox();
      await client.channel('c').subscribe(inbox.take).ready;
      for (const n of range(1, 100)) {
        gateway.log.publish('c', n);
        if (n % 25 !== 0) continue;
        await inbox.has(n - 10);
        gateway.cut();
        for (const socket of client.script.sockets) socket.drop(1006);
      }
      await inbox.has(100);
      assert.deepEqual(inbox.data, range(1, 100));
    });

    test('a drop before the first message resumes from the start, not from then', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      const inbox = new Inbox();
      await client.channel('c').subscribe(inbox.take).ready;
      const waiting = transport === 'poll' ? Promise.resolve() : next(client, 'state', (e) => e.state === 'waiting');
      gateway.cut();
      for (const socket of client.script.sockets) socket.drop(1006);
      await waiting;
      gateway.log.publish('c', 1);
      await inbox.has(1);
    });

    test('publishes that lose their answer are stored once, in order', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      let lost = 0;
      gateway.intercept = (req, res, body) => {
        if (req.url !== '/v1/commands' || lost++ > 2) return false;
        for (const c of body.commands ?? []) gateway.log.command(c);
        res.destroy();
        return true;
      };
      const sent = range(1, 20).map((n) => client.channel('c').publish(n));
      if (transport === 'websocket') {
        await next(client, 'state', (e) => e.state === 'connected');
        for (const socket of client.script.sockets) socket.drop(1006);
      }
      await Promise.all(sent);
      assert.deepEqual(gateway.log.messages.map((m) => m.data), range(1, 20));
    });

    test('a publish that is refused for good rejects; one that is refused for now is retried', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      let refused = 0;
      gateway.log.refuse = (c) => {
        if (c.data === 'never') return { code: 'forbidden', message: 'no' };
        return c.data === 'later' && refused++ < 2 ? { code: 'unavailable', message: 'soon' } : undefined;
      };
      const c = client.channel('c');
      const [never, later, fine] = await Promise.allSettled([c.publish('never'), c.publish('later'), c.publish('fine')]);
      assert.ok(never.status === 'rejected' && isError('forbidden')(never.reason));
      assert.deepEqual([later.status, fine.status], ['fulfilled', 'fulfilled']);
      assert.deepEqual(gateway.log.messages.map((m) => m.data).sort(), ['fine', 'later']);
    });

    test('a key that was stored gives the first id', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      const first = await client.channel('c').publish(1, { key: 'k', type: 't' });
      assert.deepEqual(await client.channel('c').publish(2, { key: 'k' }), { id: first.id, duplicate: true });
      assert.deepEqual(gateway.log.messages.map((m) => [m.data, m.key, m.type]), [[1, 'k', 't']]);
    });

    test('a slow iterator costs a cursor, not a queue', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport, { buffer: 10 });
      const messages = client.channel('c').subscribe();
      const again = new Inbox();
      const fast = client.channel('c').subscribe(again.take);
      await Promise.all([messages.ready, fast.ready]);
      for (const n of range(1, 95)) gateway.log.publish('c', n);
      await again.has(95);
      assert.equal(messages.cursor, 'a-0', 'where the consumer is, not what is held for it');
      const got: unknown[] = [];
      for await (const { data, id } of messages) {
        got.push(data);
        assert.ok(Number(messages.cursor?.slice(2)) >= Number(id.slice(2)));
        if (got.length === 95) break;
      }
      assert.deepEqual(got, range(1, 95));
      assert.deepEqual(await messages.next(), { done: true, value: undefined });
    });

    test('bytes arrive as bytes', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      const inbox = new Inbox();
      await client.channel('c').subscribe(inbox.take).ready;
      await client.channel('c').publish(new Uint8Array([0, 255, 254]));
      await inbox.has(1);
      assert.deepEqual(inbox.data, [new Uint8Array([0, 255, 254])]);
      assert.deepEqual((await client.channel('c').history()).messages.map((m) => m.data), inbox.data);
    });

    test('close ends everything: publishes, iterators, subscriptions', async () => {
      await using gateway = await Gateway.start();
      const client = dial(gateway, transport);
      const messages = client.channel('c').subscribe();
      await messages.ready;
      gateway.intercept = (_, __, body) => body.commands?.some((c) => c.op === 'publish') ?? false;
      const publish = assert.rejects(client.channel('c').publish(1), isError('closed'));
      const pending = messages.next();
      for (const socket of client.script.sockets) socket.script.mode = 'mute';
      await client.close();
      await publish;
      assert.deepEqual(await pending, { done: true, value: undefined });
      assert.equal(client.state, 'closed');
      assert.equal(client.transport, null);
      await assert.rejects(client.channel('c').publish(1), isError('closed'));
      assert.throws(() => client.channel('c').subscribe(), isError('closed'));
    });

    test('reconnect() attaches anew and loses nothing', async () => {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      const inbox = new Inbox();
      await client.channel('c').subscribe(inbox.take).ready;
      for (const n of range(1, 5)) {
        client.reconnect();
        gateway.log.publish('c', n);
        await inbox.has(n);
      }
      assert.deepEqual(inbox.data, range(1, 5));
    });
  });
}

describe('requests', () => {
  test('subscriptions and publishes of one turn share one hello and one request', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'sse', { token: async () => 'secret', beat: 5_000, session: 'mine' });
    const c = client.channel('c');
    const subs = range(1, 5).map((n) => client.channel(`c.${n}`).subscribe(() => {}));
    await Promise.all([c.publish(1), c.publish(2), c.publish(3)]);
    await Promise.all(subs.map((s) => s.ready));
    const hello = await gateway.asked((_, accept) => accept === 'text/event-stream');
    assert.deepEqual(hello, { op: 'hello', session: 'mine', channels: { 'c.1': {}, 'c.2': {}, 'c.3': {}, 'c.4': {}, 'c.5': {} }, beat: 5_000, token: 'secret' });
    const posts = gateway.requests.filter((r) => r.path === '/v1/commands');
    assert.equal(posts.length, 1);
    assert.equal(posts[0]?.body.token, 'secret');
    assert.ok(gateway.requests.every((r) => !r.path.includes('secret')));
  });

  test('a token function that fails is an error, and is asked again later', async () => {
    await using gateway = await Gateway.start();
    let fail = true;
    await using client = dial(gateway, ['websocket', 'sse'], {
      token: () => {
        if (fail) throw new Error('not logged in');
        return 't';
      },
    });
    const error = await next(client, 'error');
    assert.deepEqual([error.code, (error.cause as Error).message], ['token', 'not logged in']);
    fail = false;
    await next(client, 'state', (e) => e.state === 'connected');
  });

  test('history pages, and its gap and errors come through', async () => {
    await using gateway = await Gateway.start();
    for (const n of range(1, 25)) gateway.log.publish('chat.1', n);
    await using client = dial(gateway, 'sse');
    const got: unknown[] = [];
    let after: string | undefined;
    do {
      const page = await client.channel('chat.1').history({ limit: 10, ...(after !== undefined && { after }) });
      got.push(...page.messages.map((m) => m.data));
      after = page.next;
    } while (after !== undefined);
    assert.deepEqual(got, range(1, 25));
    gateway.intercept = (_, res) => (problem(res, 400, 'bad_request'), true);
    await assert.rejects(client.channel('chat.1').history(), isError('bad_request'));
    await assert.rejects(client.channel('chat.*').history(), isError('bad_request'));
  });

  test('a GET survives two dead connections in a row', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'websocket');
    let dead = 2;
    gateway.intercept = (_, res) => dead-- > 0 && !!res.destroy();
    assert.deepEqual(await client.ping(), { id: 'a-0', time: 1 });
    dead = 9;
    await assert.rejects(client.ping(), isError('network'));
  });

  test('a batch that is refused as a whole is halved until the one to blame stands alone', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'sse');
    gateway.intercept = (req, res, body) => {
      if (req.url !== '/v1/commands' || !JSON.stringify(body).includes('poison')) return false;
      problem(res, 413, 'too_large');
      return true;
    };
    const results = await Promise.allSettled(range(1, 20).map((n) => client.channel('c').publish(n === 13 ? 'poison' : n)));
    assert.deepEqual(results.map((r) => r.status === 'rejected'), range(1, 20).map((n) => n === 13));
    assert.deepEqual(gateway.log.messages.map((m) => m.data), range(1, 20).filter((n) => n !== 13));
  });

  test('what would be too large for the server never reaches it: there it would end the connection', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'websocket');
    const early = client.channel('c').publish('x'.repeat(70_000));
    await assert.rejects(early, isError('too_large'));
    await assert.rejects(client.channel('c').publish('x'.repeat(70_000)), isError('too_large'));
    assert.equal((await client.channel('c').publish('fine')).id, 'a-1');
    assert.deepEqual(client.script.sockets.flatMap((s) => s.sent.map((f) => f.op)), ['hello', 'publish']);
  });

  test('an iterator holds so many messages and no more: the rest is left in the log', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'websocket', { buffer: 10 });
    const messages = client.channel('c').subscribe();
    await messages.ready;
    const [socket] = client.script.sockets;
    const left = new Promise<void>((resolve) => {
      if (socket) socket.onsend = () => socket.sent.at(-1)?.op === 'unsubscribe' && resolve();
    });
    for (const n of range(1, 50)) gateway.log.publish('c', n);
    await left;
    for (const n of range(1, 50)) assert.equal((await messages.next()).value?.data, n);
    const asked = socket?.sent.find((f) => f.op === 'subscribe') as { after?: string } | undefined;
    assert.equal(asked?.after, 'a-10');
  });

  test('a publish waits for a connection, and can be given up', async () => {
    const gateway = await Gateway.start();
    gateway.intercept = (_, res) => !!res.destroy();
    await using client = dial(gateway, 'sse', { outbox: 2 });
    const aborter = new AbortController();
    const [kept, given] = [client.channel('c').publish(1), client.channel('c').publish(2, { signal: aborter.signal })];
    await assert.rejects(client.channel('c').publish(3), isError('outbox_full'));
    await next(client, 'offline');
    aborter.abort(new Error('enough'));
    await assert.rejects(given, /enough/);
    gateway.intercept = () => false;
    await kept;
    assert.deepEqual(gateway.log.messages.map((m) => m.data), [1]);
    await gateway[Symbol.asyncDispose]();
  });

  test('what cannot be asked for is refused here', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'sse');
    assert.throws(() => client.channel('a b'), isError('bad_request'));
    assert.throws(() => client.channel('a').subscribe({ after: '0', last: 1 }), isError('bad_request'));
    assert.throws(() => client.channel('a').subscribe({ after: 'x' }), isError('bad_request'));
    for (const last of [-1, 1.5, 10_001]) assert.throws(() => client.channel('a').subscribe({ last }), isError('bad_request'));
    await assert.rejects(client.channel('a.*').publish(1), isError('bad_request'));
    await assert.rejects(client.channel('a').publish(1n), isError('bad_request'));
    assert.throws(() => connect(undefined), isError('bad_request'));
    assert.throws(() => connect(gateway.url, { transports: [] }), isError('bad_request'));
  });

  test('a subscription that the server refuses fails, and only that', async () => {
    for (const transport of ['websocket', 'sse'] as const) {
      await using gateway = await Gateway.start();
      await using client = dial(gateway, transport);
      if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
      gateway.log.refuse = (c) => (c.op === 'subscribe' && c.channel === 'secret' ? { code: 'forbidden', message: 'not yours' } : undefined);
      const messages = client.channel('secret').subscribe();
      const fine = client.channel('fine').subscribe(() => {});
      await assert.rejects(messages.ready, isError('forbidden'));
      await assert.rejects(messages.next(), isError('forbidden'));
      assert.equal((await messages.next()).done, true);
      await fine.ready;
    }
  });
});

describe('listeners', () => {
  test('one that throws harms nobody else, and is told once per throw', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'websocket');
    const inbox = new Inbox();
    const errors: FairleadError[] = [];
    client.on('error', (e) => errors.push(e));
    client.on('error', () => {
      throw new Error('even here');
    });
    client.on('message', () => {
      throw new Error('a listener');
    });
    const c = client.channel('c');
    c.subscribe(() => {
      throw new Error('a subscriber');
    });
    c.subscribe(async () => {
      await Promise.reject(new Error('a promise'));
    });
    await c.subscribe(inbox.take).ready;
    for (const n of range(1, 3)) gateway.log.publish('c', n);
    await inbox.has(3);
    await new Promise(setImmediate);
    const causes = errors.map((e) => `${e.code}: ${(e.cause as Error).message}`).sort();
    assert.deepEqual(causes, [...Array(3).fill('listener: a listener'), ...Array(3).fill('listener: a promise'), ...Array(3).fill('listener: a subscriber')]);
  });

  test('one that closes the client in the middle of an event is obeyed', async () => {
    await using gateway = await Gateway.start();
    const client = dial(gateway, 'sse');
    const closed = new Promise<void>((resolve) => client.on('state', () => void client.close().then(resolve)));
    await closed;
    assert.equal(client.state, 'closed');
    // The event was that it connects: it must not do so afterwards.
    await client.ping();
    assert.deepEqual(gateway.requests.map((r) => r.path), ['/v1/ping']);
  });

  test('a gap is told before the message after it', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'websocket');
    const seen: string[] = [];
    client.on('gap', (g) => seen.push(`gap ${g.from} ${g.to} ${g.reason}`));
    const inbox = new Inbox();
    const sub = client.channel('c').subscribe((m: Message) => {
      seen.push(m.id);
      inbox.take(m);
    });
    await sub.ready;
    gateway.log.publish('c', 1);
    await inbox.has(1);
    gateway.log.epoch = 'b';
    gateway.log.messages.length = 0;
    gateway.log.publish('d', 1);
    gateway.log.publish('c', 2);
    client.reconnect();
    await inbox.has(2);
    assert.deepEqual(seen, ['a-1', 'gap a-1 b-0 replaced', 'b-2']);
    assert.equal(sub.cursor, 'b-2');
  });
});
