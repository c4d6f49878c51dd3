import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { connect, type Client, type ConnectOptions } from '../src/client.ts';
import { realClock, type Clock } from '../src/clock.ts';
import type { Gap } from '../src/frame.ts';
import type { Session } from '../src/session.ts';
import type { Share } from '../src/share.ts';
import { tabs } from '../src/tabs.ts';
import { Inbox, next, range } from './support/events.ts';
import { Gateway, json } from './support/gateway.ts';

// Each client is a tab: Node has Web Locks and BroadcastChannel as browsers have them.

/** What the tabs of a crew call their lock and channels. */
type Scope = string;

interface Crew {
  gateway: Gateway;
  scope: Scope;
  share: Share;
  /** Another tab of the same browser. */
  open(options?: ConnectOptions): Client;
  attaches(): number;
}

async function crew(t: TestContext): Promise<Crew> {
  const gateway = await Gateway.start();
  const name = randomUUID();
  const share = tabs({ name });
  const clients: Client[] = [];
  t.after(async () => {
    for (const client of clients) await client.close();
    await gateway[Symbol.asyncDispose]();
  });
  return {
    gateway,
    scope: `fairlead:${gateway.url}/:${name}`,
    share,
    open(options) {
      const client = connect(gateway.url, { transports: ['sse'], share, storage: null, ...options });
      clients.push(client);
      return client;
    },
    attaches: () => gateway.requests.filter((r) => r.path === '/v1/attach').length,
  };
}

const connected = (client: Client): Promise<unknown> => (client.state === 'connected' ? Promise.resolve() : next(client, 'state', (e) => e.state === 'connected'));

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

/** Shares as share does, and tells of the session; leave is called before the tab leaves. */
const tapped = (share: Share, tap: (session: Session) => void, leave: (session: Session) => void = () => {}): Share => (shared) => {
  tap(shared.session);
  const tab = share(shared);
  return {
    leave: () => {
      leave(shared.session);
      tab.leave();
    },
  };
};

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

/** Waits are short where a leader does not answer. */
const hasty: Clock = { ...realClock, after: (ms, fn) => realClock.after(ms / 20, fn) };

/** occupy takes the lead and answers nobody, as a page that hangs. It settles when another has taken the lead, or with release(). */
async function occupy(scope: Scope, options: LockOptions = {}): Promise<{ stolen: Promise<unknown>; release: () => void }> {
  let release = (): void => {};
  let stolen: Promise<unknown> = Promise.resolve();
  await new Promise<void>((held) => {
    const holding = (): Promise<void> => {
      held();
      return new Promise((resolve) => (release = resolve));
    };
    stolen = navigator.locks.request(`${scope}:lead`, options, holding).catch((error: unknown) => error);
  });
  return { stolen, release: () => release() };
}

/** A tab of which only the letters are seen. */
class Pen implements Disposable {
  readonly letters: { op: string; message?: { data: unknown }; served?: object }[] = [];
  term = 0;
  readonly #id: string;
  readonly #all: BroadcastChannel;
  readonly #own: BroadcastChannel;
  #wake = (): void => {};

  constructor(scope: Scope, id: string = randomUUID()) {
    this.#id = id;
    this.#all = new BroadcastChannel(scope);
    this.#own = new BroadcastChannel(`${scope}:${id}`);
    this.#own.onmessage = ({ data }) => {
      const letter = data as Pen['letters'][number] & { term: number };
      this.term = letter.term;
      this.letters.push(letter);
      this.#wake();
    };
  }

  write(letter: object): void {
    this.#all.postMessage({ tab: this.#id, term: this.term, ...letter });
  }

  /** Settles with the first letter that check accepts. */
  async gets(check: (letter: Pen['letters'][number]) => boolean): Promise<Pen['letters'][number]> {
    for (;;) {
      const found = this.letters.find(check);
      if (found) return found;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  count(op: string): number {
    return this.letters.filter((letter) => letter.op === op).length;
  }

  [Symbol.dispose](): void {
    this.#all.close();
    this.#own.close();
  }
}

test('a leader that does not answer loses the lead; though several take it at once, one keeps it', async (t) => {
  const { gateway, scope, open } = await crew(t);
  const { stolen } = await occupy(scope);
  const inboxes = range(0, 3).map(() => new Inbox());
  const crewed = inboxes.map((inbox) => {
    const client = open({ clock: hasty });
    client.channel('c').subscribe(inbox.take, { after: 'a-0' });
    return client;
  });
  await stolen;
  for (const n of range(1, 5)) gateway.log.publish('c', n);
  await Promise.all([...inboxes.map((inbox) => inbox.has(5)), ...crewed.map(connected)]);
  for (const inbox of inboxes) assert.deepEqual(inbox.data, range(1, 5));
  assert.equal(crewed.filter((client) => client.diagnostics().attempts.length > 0).length, 1);
});

test('a tab that comes to be visible asks at once whether its leader is there', async (t) => {
  const { gateway, scope, share, open } = await crew(t);
  const { stolen } = await occupy(scope);
  using spy = new Spy(scope);
  let session: Session | undefined;
  let throttled = true; // as the timers of a hidden page
  const clock: Clock = { ...hasty, after: (ms, fn) => (throttled ? () => {} : hasty.after(ms, fn)) };
  const follower = open({ clock, share: tapped(share, (own) => (session = own)) });
  const { tab } = await spy.first('ask');
  const channel = new BroadcastChannel(`${scope}:${tab}`);
  channel.postMessage({ op: 'here', term: 0, state: 'connected', transport: 'sse', session: 'theirs', position: null, served: {}, newest: 0 });
  channel.close();
  await connected(follower);
  throttled = false;
  session?.retry('visible');
  await stolen;
  await connected(follower);
  assert.equal(gateway.requests.filter((r) => r.path === '/v1/attach').length, 1);
});

/** How many publishes the gateway was sent. */
const published = ({ requests }: Gateway): number => requests.flatMap(({ body }) => body.commands ?? []).filter(({ op }) => op === 'publish').length;

test('a leader that has lost the lead follows; what it was to publish for others is published once', async (t) => {
  const { gateway, scope, open } = await crew(t);
  const leader = open();
  await connected(leader);
  const follower = open();
  const [first, second] = [new Inbox(), new Inbox()];
  await Promise.all([leader.channel('c').subscribe(first.take).ready, follower.channel('c').subscribe(second.take).ready]);
  gateway.intercept = ({ url }) => url === '/v1/commands'; // the answer never comes
  const ack = follower.channel('up').publish(1);
  await gateway.asked((path, _, { commands }) => path === '/v1/commands' && commands?.[0]?.op === 'publish');
  assert.equal(leader.diagnostics().waiting, 1);
  gateway.intercept = () => false;
  const again = [leader, follower].map((client) => next(client, 'state', (e) => e.state === 'connected'));
  const thief = await occupy(scope, { steal: true });
  thief.release();
  await Promise.all([ack, ...again]);
  assert.equal(leader.diagnostics().waiting, 0);
  gateway.log.publish('c', 1);
  await Promise.all([first.has(1), second.has(1)]);
  assert.deepEqual([first.data, second.data], [[1], [1]]);
  assert.deepEqual(gateway.log.messages.filter((m) => m.channel === 'up').map((m) => m.data), [1]);
  assert.equal(published(gateway), 2, 'at first, and by the tab whose it is');
  assert.deepEqual([leader.state, leader.transport, leader.session], ['connected', 'sse', follower.session]);
});

test('nobody heeds a leader of an earlier term', async (t) => {
  const { gateway, scope, open } = await crew(t);
  using spy = new Spy(scope);
  const leader = open();
  await connected(leader);
  const follower = open();
  const inbox = new Inbox();
  await follower.channel('c').subscribe(inbox.take, { after: 'a-0' }).ready;
  const { tab, term, key } = await spy.first('subscribe');
  const channel = new BroadcastChannel(`${scope}:${tab}`);
  const message = { id: 'a-9', channel: 'c', data: 9, time: 1 };
  channel.postMessage({ op: 'message', term: term - 1, key, message });
  channel.close();
  gateway.log.publish('c', 1);
  await inbox.has(1);
  assert.deepEqual(inbox.data, [1]);
});

interface Heard {
  op: string;
  tab: string;
  term: number;
  key: number;
}

test('of tabs that take the lead at once, the one that keeps it is heeded, though its term is not the highest', async (t) => {
  const { gateway, scope, open } = await crew(t);
  using spy = new Spy(scope);
  await connected(open());
  const follower = open({ clock: { ...realClock, after: () => () => {} } }); // it cannot find out by waiting
  const inbox = new Inbox();
  await follower.channel('c').subscribe(inbox.take).ready;
  const { term } = await spy.first('subscribe');
  const heeded = spy.first('ask', (ask) => ask.term === term + 1e6);
  spy.write({ op: 'lead', term: term + 1e6 });
  await heeded;
  spy.write({ op: 'over', term: term + 1e6 });
  gateway.log.publish('c', 1);
  await inbox.has(1);
});

test('a leader whose lead is taken away says that its term is over', async (t) => {
  const { scope, open } = await crew(t);
  using spy = new Spy(scope);
  const began = spy.first('lead');
  await connected(open());
  const over = spy.first('over');
  const { release } = await occupy(scope, { steal: true });
  release();
  assert.equal((await over).term, (await began).term);
});

/** What is said on the channel that all tabs hear. */
class Spy implements Disposable {
  readonly #channel: BroadcastChannel;
  readonly #heard: Heard[] = [];
  #wake = (): void => {};

  constructor(scope: Scope) {
    this.#channel = new BroadcastChannel(scope);
    this.#channel.onmessage = ({ data }) => {
      this.#heard.push(data as Heard);
      const wake = this.#wake;
      this.#wake = () => {};
      wake();
    };
  }

  /** The first letter, from the beginning or yet to come, of its kind and that check accepts. */
  async first(op: string, check: (heard: Heard) => boolean = () => true): Promise<Heard> {
    for (;;) {
      const found = this.#heard.find((heard) => heard.op === op && check(heard));
      if (found) return found;
      await new Promise<void>((resolve) => {
        const wake = this.#wake;
        this.#wake = () => {
          wake();
          resolve();
        };
      });
    }
  }

  write(letter: object): void {
    this.#channel.postMessage(letter);
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}

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

const denied = (): never => {
  throw new DOMException('denied', 'SecurityError');
};

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
