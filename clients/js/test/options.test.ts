import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { connect } from '../src/client.ts';
import type { FairleadError } from '../src/error.ts';
import { VirtualClock } from './support/clock.ts';
import { dial, quick, still } from './support/dial.ts';
import { Inbox, next, range } from './support/events.ts';
import { Gateway, problem } from './support/gateway.ts';
import { Log } from './support/log.ts';
import { Shelf } from './support/page.ts';
import { scripted } from './support/socket.ts';

describe('the token function', () => {
  test('is asked once for attempts that begin together, when it has answered, and reconnect() asks anew', async () => {
    await using gateway = await Gateway.start();
    let calls = 0;
    let give = (_: string): void => {};
    const token = (): Promise<string> => (calls++, new Promise((resolve) => (give = resolve)));
    const { client, script, clock } = still(gateway, 'serve', { token, transports: ['websocket', 'sse'] });
    await clock.run(250);
    assert.deepEqual([client.diagnostics().attempts, calls], [[], 1]);
    const connected = next(client, 'transport', (e) => e.transport === 'websocket');
    give(' one\n'); // as the text of an answer may end
    await clock.run(250);
    assert.deepEqual([client.diagnostics().attempts.map((a) => a.transport), calls], [['websocket', 'sse'], 1]);
    assert.equal(((await (await script.socket(1)).asked('hello')) as { token?: string }).token, 'one');
    assert.equal((await gateway.asked((path) => path === '/v1/attach')).token, 'one');
    await connected;
    client.reconnect();
    await clock.run(0);
    assert.equal(calls, 2);
    give('two');
    assert.equal(((await (await script.socket(2)).asked('hello')) as { token?: string }).token, 'two');
    await client.close();
  });

  test('one that hangs is given up after eight seconds, asked again, and told once when it hangs then, too', async () => {
    const clock = new VirtualClock(1);
    let calls = 0;
    const client = connect('http://gateway', {
      token: () => (calls++, new Promise<string>(() => {})), fetch: () => assert.fail('no request without a token'), WebSocket: scripted(new Log()).WebSocket, clock,
    });
    const errors: FairleadError[] = [];
    client.on('error', (e) => errors.push(e));
    await clock.run(15_999);
    assert.deepEqual([errors.length, calls], [0, 2]);
    await clock.run(1);
    assert.deepEqual(errors.map((e) => [e.code, (e.cause as Error).message]), [['token', 'nothing came']]);
    await clock.run(60_000);
    assert.ok(calls > 1 && calls <= 8, String(calls));
    assert.equal(errors.length, 1);
    await client.close();
  });

  test('what is no text is no token, and the error says so', async () => {
    for (const none of [7, { token: 'one' }]) {
      const clock = new VirtualClock(1);
      const client = connect('http://gateway', {
        token: () => none as unknown as string, fetch: () => assert.fail('no request without a token'), WebSocket: scripted(new Log()).WebSocket, clock,
      });
      const error = next(client, 'error', () => true);
      await clock.run(10_000);
      const { code, message, cause } = await error;
      assert.deepEqual([code, message, cause instanceof TypeError], ['token', 'the application gave no token', true]);
      await client.close();
    }
  });

  test('one that rejects holds nothing against a transport, and is not asked in a hot loop', async () => {
    const clock = new VirtualClock(1);
    let calls = 0;
    const client = connect('http://gateway', {
      token: async () => Promise.reject(new Error(`no ${calls++}`)), fetch: () => assert.fail('no request without a token'), WebSocket: scripted(new Log()).WebSocket, clock,
    });
    const errors: string[] = [];
    client.on('error', (e) => errors.push(e.code));
    await clock.run(600_000);
    assert.ok(calls > 5 && calls < 400, String(calls));
    assert.deepEqual(errors, ['token']);
    const { rungs } = client.diagnostics();
    assert.deepEqual(Object.values(rungs).map((r) => r.bad), [false, false, false, false]);
    await client.close();
  });
});

describe('requests of a client with tokens', () => {
  test('history shows the token in a header, and once more with another where it is refused; a ping shows none', async () => {
    await using gateway = await Gateway.start();
    let calls = 0;
    await using client = dial(gateway, 'sse', { token: () => `secret-${++calls}` });
    const shown: (string | undefined)[] = [];
    let code = '';
    gateway.intercept = (req, res) => {
      if (!req.url?.startsWith('/v1/channels/') && !req.url?.startsWith('/v1/ping')) return false;
      shown.push(req.headers.authorization);
      if (code === '' || shown.length > 1) return false;
      problem(res, 401, code);
      return true;
    };
    await client.ping();
    await client.channel('c').history();
    assert.deepEqual(shown.splice(0), [undefined, 'Bearer secret-1']);
    for (code of ['expired', 'unauthorized']) {
      await client.channel('c').history();
      assert.deepEqual(shown.splice(0), [`Bearer secret-${calls - 1}`, `Bearer secret-${calls}`]);
    }
    assert.equal(calls, 3);
    assert.ok(gateway.requests.every(({ path }) => !path.includes('secret')));
  });

  test('history with a constant that is refused rejects at once', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'sse', { token: 'secret' });
    let asked = 0;
    gateway.intercept = (req, res) => req.url?.startsWith('/v1/channels/') === true && (asked++, problem(res, 401, 'expired'), true);
    await assert.rejects(client.channel('c').history(), { code: 'expired' });
    assert.equal(asked, 1);
  });

  test('cookies go where fetch sends them by itself, or as the application says', async () => {
    for (const credentials of [undefined, 'include', 'omit'] as const) {
      const sent: [string, RequestInit['credentials']][] = [];
      const fetch = async (url: unknown, init?: RequestInit): Promise<Response> => (sent.push([String(url), init?.credentials]), Promise.reject(new TypeError('no')));
      const clock = new VirtualClock(1);
      const client = connect('http://gateway', { transports: ['sse', 'poll'], fetch, clock, ...(credentials && { credentials }) });
      await clock.run(1_000);
      client.channel('c').history().catch(() => {});
      await clock.run(10);
      // A ping is for every page, and browsers hide from scripts what is for everybody where a cookie went along.
      assert.ok(sent.some(([url]) => url.includes('ping')) && sent.length >= 4);
      for (const [url, sends] of sent) assert.equal(sends, url.includes('ping') ? undefined : credentials, url);
      await client.close();
    }
  });
});

describe('storage', () => {
  const full = (): Shelf => Object.assign(new Shelf(), { setItem: () => assert.fail('QuotaExceededError') });

  test('where it throws or is full, that is told once, and everything else goes on', async () => {
    await using gateway = await Gateway.start();
    await using client = dial(gateway, 'websocket', { persist: full() });
    const errors: FairleadError[] = [];
    client.on('error', (e) => errors.push(e));
    await Promise.all(range(1, 3).map((n) => client.channel('c').publish(n)));
    await client.channel('c').publish(4);
    assert.deepEqual(errors.map((e) => e.code), ['storage']);
    assert.deepEqual(gateway.log.messages.map((m) => m.data), range(1, 4));
  });

  test('where it may not even be read, too', async () => {
    await using gateway = await Gateway.start();
    const storage = Object.assign(new Shelf(), { getItem: () => assert.fail('SecurityError') });
    await using client = dial(gateway, 'websocket', { persist: storage });
    assert.equal((await next(client, 'error')).code, 'storage');
    await client.channel('c').publish(1);
  });

  test('publishes that a page left behind are sent by the next one, in order, with their keys, before its own', async () => {
    const storage = new Shelf();
    await using gateway = await Gateway.start();
    // A page that reaches nobody, and is gone without a word.
    const gone = connect(gateway.url, { persist: storage, transports: ['sse'], fetch: () => new Promise(() => {}), clock: new VirtualClock(1) });
    for (const n of range(1, 20)) gone.channel('c').publish(n, n % 2 ? {} : { key: `k${n}` }).catch(() => {});
    await Promise.resolve();
    const left = JSON.parse([...storage.values.values()].join()) as string[];
    const keys = left.map((text) => (JSON.parse(text) as { key: string }).key);
    assert.equal(new Set(keys).size, 20);
    // The server had got two of them.
    gateway.log.publish('c', 1, { key: keys[0] as string });
    gateway.log.publish('c', 2, { key: keys[1] as string });

    await using client = dial(gateway, 'sse', { persist: storage });
    const inbox = new Inbox();
    client.channel('c').subscribe(inbox.take, { after: '0' });
    await client.channel('c').publish(21);
    await inbox.has(21);
    assert.deepEqual(inbox.data, range(1, 21));
    assert.deepEqual(inbox.messages.slice(0, 20).map((m) => m.key), keys);
    assert.equal(storage.values.size, 0, 'and nothing is left to send again');
  });

  test('what the server refuses of an earlier page is told, for nobody waits for it', async () => {
    const storage = new Shelf();
    await using gateway = await Gateway.start();
    const gone = connect(gateway.url, { persist: storage, transports: ['sse'], fetch: () => new Promise(() => {}), clock: new VirtualClock(1) });
    gone.channel('c').publish('never').catch(() => {});
    await Promise.resolve();
    gateway.log.refuse = (c) => (c.op === 'publish' ? { code: 'forbidden', message: 'no' } : undefined);
    await using client = dial(gateway, 'websocket', { persist: storage });
    assert.equal((await next(client, 'error')).code, 'forbidden');
  });

  test('what works on a network is remembered for the next client there', async () => {
    await using gateway = await Gateway.start();
    const attach = gateway.log.attach.bind(gateway.log);
    gateway.log.attach = (channels, send, welcome) => attach(channels, send, { ...welcome, net: 'office' });
    const storage = new Shelf();
    const transports = ['websocket', 'sse'] as const;
    const first = still(gateway, 'refuse', { storage, transports });
    await next(first.client, 'transport');
    await first.client.close();
    const second = still(gateway, 'serve', { storage, transports });
    assert.deepEqual((await next(second.client, 'transport')).transport, 'sse');
    assert.equal(second.script.sockets.length, 0, 'what is known to fail is not tried first');
    await second.client.close();
  });
});

describe('the page', () => {
  const page = globalThis as { addEventListener?: unknown; removeEventListener?: unknown };
  const { addEventListener, removeEventListener } = page;
  afterEach(() => void Object.assign(page, { addEventListener, removeEventListener }));

  /** The window that clients find from now on, and how many listeners it has. */
  function open(): EventTarget & { listeners: number } {
    const window = Object.assign(new EventTarget(), { listeners: 0 });
    page.addEventListener = (type: string, fn: () => void) => (window.listeners++, window.addEventListener(type, fn));
    page.removeEventListener = (type: string, fn: () => void) => (window.listeners--, window.removeEventListener(type, fn));
    return window;
  }

  test('a page that is back asks what serves it to speak, and leaves it when it does not', async () => {
    await using gateway = await Gateway.start();
    const window = open();
    const { client, script, clock } = still(gateway, 'serve', { transports: ['websocket', 'sse'] });
    if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    const socket = await script.socket(1);
    window.dispatchEvent(new Event('pageshow'));
    assert.equal(socket.sent.length, 1, 'not so soon after it was made');
    await clock.run(2_000);
    window.dispatchEvent(new Event('pageshow'));
    await socket.asked('beat');
    // What is answered after the beat came after it.
    await client.channel('c').publish(1);
    await clock.run(1_300);
    assert.equal(script.sockets.length, 1);
    script.mode = 'mute';
    window.dispatchEvent(new Event('pageshow'));
    await clock.run(299);
    assert.equal(script.sockets.length, 1);
    const switched = next(client, 'switch');
    await clock.run(1 + 250);
    assert.equal((await switched).to, 'sse');
    await client.close();
    assert.equal(window.listeners, 0, 'a client that is closed does not listen');
  });

  test('over SSE the server is asked by a command', async () => {
    await using gateway = await Gateway.start();
    const window = open();
    const { client, clock } = still(gateway, 'serve', { transports: ['sse'], timing: { ...quick, calm: 1_000 } });
    await next(client, 'state', (e) => e.state === 'connected');
    await clock.run(2_000);
    window.dispatchEvent(new Event('online'));
    await gateway.asked((_, __, body) => body.commands?.some((c) => c.op === 'beat') ?? false);
    assert.equal(client.state, 'connected');
    await client.close();
  });
});
