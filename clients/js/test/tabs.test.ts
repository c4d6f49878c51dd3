import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Gap } from '../src/frame.ts';
import type { Session } from '../src/session.ts';
import { connected, crew, denied, hasty, Pen, published, Spy, tapped } from './support/crew.ts';
import { Inbox, next, range } from './support/events.ts';
import { json } from './support/gateway.ts';

test('eight tabs, one attachment: each gets each message once, in order, from its own cursor', async (t) => {
  const { gateway, open, attaches } = await crew(t);
  for (const n of range(1, 5)) gateway.log.publish('c', n);
  const inboxes: Inbox[] = [];
  for (const n of range(0, 7)) {
    const client = open();
    const inbox = new Inbox();
    inboxes.push(inbox);
    client.channel(n % 2 === 0 ? 'c' : '*').subscribe(inbox.take, { after: `a-${n % 5}` });
  }
  await Promise.all(inboxes.map((inbox, n) => inbox.has(5 - (n % 5))));
  for (const n of range(6, 9)) gateway.log.publish('c', n);
  await Promise.all(inboxes.map((inbox, n) => inbox.has(9 - (n % 5))));
  for (const [n, inbox] of inboxes.entries()) assert.deepEqual(inbox.data, range((n % 5) + 1, 9), `tab ${n}`);
  assert.equal(attaches(), 1);
});

test('when the leader closes, another attaches within a second and goes on from each cursor; what waited is published, once, in order', async (t) => {
  const { gateway, open, attaches } = await crew(t);
  const leader = open();
  await connected(leader);
  const [a, b] = [open(), open()];
  const [first, second] = [new Inbox(), new Inbox()];
  await a.channel('c').subscribe(first.take).ready;
  await b.channel('c').subscribe(second.take).ready;
  gateway.log.publish('c', 1);
  await Promise.all([first.has(1), second.has(1)]);
  const acks = range(1, 3).map((n) => a.channel('up').publish(n));
  const began = performance.now();
  await leader.close();
  gateway.log.publish('c', 2);
  await Promise.all([first.has(2), second.has(2), ...acks]);
  t.diagnostic(`${Math.round(performance.now() - began)} ms to go on`);
  assert.deepEqual([first.data, second.data], [[1, 2], [1, 2]]);
  assert.deepEqual(gateway.log.messages.filter((m) => m.channel === 'up').map((m) => m.data), [1, 2, 3]);
  assert.equal(attaches(), 2);
});

test('a tab that follows says what its leader is', async (t) => {
  const { open } = await crew(t);
  const leader = open();
  await connected(leader);
  const follower = open();
  await connected(follower);
  assert.deepEqual([follower.state, follower.transport, follower.session], ['connected', 'sse', leader.session]);
});

test('a tab that follows can have its leader attach anew', async (t) => {
  const { open, attaches } = await crew(t);
  const leader = open();
  await connected(leader);
  const follower = open();
  await connected(follower);
  const anew = next(leader, 'state', (e) => e.state === 'connecting');
  follower.reconnect();
  await anew;
  await connected(leader);
  assert.equal(attaches(), 2);
  await follower.close();
  follower.reconnect(); // to no effect
});

for (const why of ['online', 'visible'] as const) {
  test(`a leader that is offline tries again when a tab that follows is ${why}`, async (t) => {
    const { gateway, share, open } = await crew(t);
    gateway.intercept = (_, res) => {
      res.writeHead(503).end();
      return true;
    };
    const forever = 1e9;
    const leader = open({ timing: { calm: 0, base: forever, cap: forever, brief: forever, jitter: forever } });
    await next(leader, 'state', (e) => e.state === 'offline');
    let session: Session | undefined;
    const follower = open({ share: tapped(share, (own) => (session = own)) });
    await next(follower, 'state', (e) => e.state === 'offline');
    gateway.intercept = () => false;
    session?.retry(why);
    await Promise.all([leader, follower].map(connected));
  });
}

test('a tab that ends is served no more', async (t) => {
  const { gateway, open } = await crew(t);
  const leader = open();
  await connected(leader);
  const follower = open();
  await follower.channel('gone').subscribe(() => {}).ready;
  await follower.close();
  await gateway.asked((path, _, { commands }) => path === '/v1/commands' && commands?.some((c) => c.op === 'unsubscribe') === true);
});

test('a refusal and a gap reach the tab that they are for', async (t) => {
  const { gateway, open } = await crew(t);
  const leader = open();
  await connected(leader);
  const follower = open();
  gateway.log.refuse = ({ op, channel }) => (channel === 'forbidden' && op !== 'unsubscribe' ? { code: 'not_found', message: 'no such channel' } : undefined);
  await assert.rejects(follower.channel('forbidden').subscribe(() => {}).ready, { code: 'not_found' });
  await assert.rejects(follower.channel('forbidden').publish(1), { code: 'not_found' });
  const gaps: Gap[] = [];
  follower.on('gap', (gap) => gaps.push(gap));
  const inbox = new Inbox();
  gateway.log.publish('c', 1);
  follower.channel('c').subscribe(inbox.take, { after: 'old-7' });
  await inbox.has(1);
  assert.deepEqual(gaps, [{ channel: 'c', from: 'old-7', to: 'a-0', reason: 'replaced' }]);
});

test('a tab that takes nothing costs a bounded backlog, and gets the rest when it has taken that', async (t) => {
  const { gateway, scope, open } = await crew(t);
  const leader = open();
  await connected(leader);
  const inbox = new Inbox();
  leader.channel('c').subscribe(inbox.take, { after: 'a-0' });
  using pen = new Pen(scope, 'pen');
  await new Promise<void>((held) => {
    void navigator.locks.request(`${scope}:pen`, () => {
      held();
      return new Promise<void>((release) => t.after(() => release()));
    });
  });
  pen.write({ op: 'ask', got: 0, newest: 0 });
  await pen.gets(({ op }) => op === 'lead');
  pen.write({ op: 'subscribe', key: 1, pattern: 'c', start: {}, at: 'a-0' });
  await pen.gets(({ op }) => op === 'served');
  for (const n of range(1, 2_500)) gateway.log.publish('c', n);
  await inbox.has(2_500);
  await pen.gets(({ message }) => message?.data === 2_000);
  pen.write({ op: 'ask', got: 2_000, newest: 1 });
  const { served } = await pen.gets(({ op }) => op === 'here');
  assert.deepEqual([pen.count('message'), served], [2_000, {}]);
  pen.write({ op: 'subscribe', key: 2, pattern: 'c', start: {}, at: 'a-2000' });
  await pen.gets(({ message }) => message?.data === 2_500);
  assert.equal(pen.count('message'), 2_500);
});

test('a follower that the leader has given up asks for the rest', async (t) => {
  const { gateway, scope, open } = await crew(t);
  using spy = new Spy(scope);
  await connected(open());
  const follower = open({ clock: hasty });
  const inbox = new Inbox();
  await follower.channel('c').subscribe(inbox.take).ready;
  const { tab, term } = await spy.first('subscribe');
  spy.write({ op: 'ask', tab, term, got: -2_000, newest: 0 }); // as if it had taken little
  await follower.channel('other').subscribe(() => {}).ready; // the leader has read that by then
  for (const n of range(1, 3)) gateway.log.publish('c', n);
  await inbox.has(3);
  assert.deepEqual(inbox.data, [1, 2, 3]);
});

test('many messages at once come to a follower once each', async (t) => {
  const { gateway, open } = await crew(t);
  await connected(open());
  for (const n of range(1, 10_000)) gateway.log.publish('c', n);
  const inbox = new Inbox();
  open().channel('c').subscribe(inbox.take, { after: 'a-0' });
  await inbox.has(10_000);
  assert.deepEqual(inbox.data, range(1, 10_000));
});

test('a tab that is gone before it is answered is not served', async (t) => {
  const { gateway, scope, open } = await crew(t);
  const leader = open();
  await connected(leader);
  using pen = new Pen(scope);
  pen.write({ op: 'ask', got: 0, newest: 0 });
  await pen.gets(({ op }) => op === 'lead');
  pen.write({ op: 'subscribe', key: 1, pattern: 'gone', start: {}, at: null }); // it holds no lock: it is gone
  const follower = open();
  const inbox = new Inbox();
  await follower.channel('*').subscribe(inbox.take).ready;
  gateway.log.publish('gone', 1);
  await inbox.has(1);
  assert.equal(pen.count('message'), 0);
  assert.deepEqual(leader.diagnostics().subscriptions.map(({ pattern }) => pattern), ['*']);
});

test('a tab that closes while it publishes does no harm to the others', async (t) => {
  const { gateway, open } = await crew(t);
  const leader = open();
  await connected(leader);
  const [leaving, staying] = [open(), open()];
  const inbox = new Inbox();
  await staying.channel('c').subscribe(inbox.take).ready;
  let answer = (): void => {};
  gateway.intercept = (_, res, { commands }) => {
    if (commands?.[0]?.op !== 'publish') return false;
    answer = () => json(res, { replies: commands.map(({ cid }) => ({ op: 'reply', to: cid, ok: true, id: 'a-1' })) });
    return true;
  };
  const errors: unknown[] = [];
  leader.on('error', (error) => errors.push(error));
  for (const n of [1, 2]) leaving.channel('up').publish(n).catch(() => {});
  await gateway.asked((_, __, { commands }) => commands?.[0]?.op === 'publish');
  await leaving.close();
  const answered = leader.channel('up').publish(3);
  gateway.intercept = () => false;
  answer();
  gateway.log.publish('c', 1);
  await Promise.all([answered, inbox.has(1)]);
  assert.deepEqual([errors, published(gateway)], [[], 3]);
});

test('a slow iterator of a follower gets everything once, from the log', async (t) => {
  const { gateway, open } = await crew(t);
  const leader = open();
  await connected(leader);
  const follower = open({ buffer: 3 });
  const messages = follower.channel('c').subscribe({ after: 'a-0' });
  for (const n of range(1, 20)) gateway.log.publish('c', n);
  const got: unknown[] = [];
  for await (const { data } of messages) if (got.push(data) === 20) break;
  assert.deepEqual(got, range(1, 20));
});

test('two subscriptions of a follower are told of a message each, its client once', async (t) => {
  const { gateway, open } = await crew(t);
  await connected(open());
  const follower = open();
  const [one, all] = [new Inbox(), new Inbox()];
  const told: unknown[] = [];
  follower.on('message', ({ data }) => told.push(data));
  await Promise.all([follower.channel('c').subscribe(one.take).ready, follower.channel('*').subscribe(all.take).ready]);
  for (const n of [1, 2]) gateway.log.publish('c', n);
  await Promise.all([one.has(2), all.has(2)]);
  assert.deepEqual([one.data, all.data, told], [[1, 2], [1, 2], [1, 2]]);
});

for (const [what, leave] of [
  ['', () => {}],
  [', even before it leaves', (session: Session) => void session.close()],
] as const) {
  test(`when the leader closes${what}, the others are not closed: what they ask for meanwhile, they get`, async (t) => {
    const { share, open } = await crew(t);
    const leader = open({ share: tapped(share, () => {}, leave) });
    await connected(leader);
    const followers = [open(), open()];
    await Promise.all(followers.map(connected));
    const states: string[] = [];
    const errors: unknown[] = [];
    const asked: Promise<unknown>[] = [];
    const offs = followers.map((follower) => {
      follower.on('error', (error) => errors.push(error));
      return follower.on('state', ({ state }) => {
        states.push(state, follower.state);
        asked.push(follower.channel('c').subscribe(() => {}).ready, follower.channel('up').publish(state));
      });
    });
    const led = Promise.race(followers.map((follower) => next(follower, 'state', (e) => e.state === 'connected')));
    await leader.close();
    await led;
    await Promise.all(followers.map((follower) => follower.channel('c').subscribe(() => {}).ready));
    for (const off of offs) off();
    await Promise.all(asked);
    assert.deepEqual([new Set(states), errors], [new Set(['connecting', 'connected']), []]);
  });
}

for (const [what, target, key, property] of [
  ['no Web Locks', navigator, 'locks', { value: undefined }],
  ['Web Locks that it may not use', navigator, 'locks', { value: { request: async () => denied() } }],
  ['Web Locks that it may not see', navigator, 'locks', { get: denied }],
  ['no channels', globalThis, 'BroadcastChannel', { value: undefined }],
  ['channels that it may not use', globalThis, 'BroadcastChannel', { value: class { constructor() { denied(); } } }],
] as const) {
  test(`a page with ${what} attaches by itself`, async (t) => {
    const { open, attaches } = await crew(t);
    const before = Object.getOwnPropertyDescriptor(target, key);
    Object.defineProperty(target, key, { ...property, configurable: true });
    t.after(() => (before ? Object.defineProperty(target, key, before) : Reflect.deleteProperty(target, key)));
    const clients = [open(), open()];
    await Promise.all(clients.map(connected));
    assert.equal(attaches(), 2);
  });
}
