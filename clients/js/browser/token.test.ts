// Who may do what, as a browser sees it: tokens that are refreshed, pages of other origins, cookies and tickets.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { connect, type Client, type ConnectOptions, type FairleadError } from '../src/index.ts';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { scratch } from '../stand/process.ts';
import { bundle, visit } from './page.ts';

const dir = scratch();
const secret = randomBytes(32).toString('hex');
let browser: Browser;
let context: BrowserContext;
/** Wants tokens: `plain` over HTTP, `own` over HTTPS, where pages of `app` may use it. */
let plain: Gateway;
let own: Gateway;
let app: Gateway;

const limit = { timeout: 90_000 };

/** mint signs a token (RFC 7519, HS256) that is good for so many seconds and these channels. */
function mint(seconds: number, channels = ['t.>']): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ iat: now, exp: now + seconds, sub: 'ann', fairlead: { subscribe: channels, publish: channels } })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

before(async () => {
  const binary = build(dir);
  const [cert, key, file] = ['cert.pem', 'key.pem', 'secret'].map((name) => join(dir, name)) as [string, string, string];
  const of = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-keyout', key, '-out', cert, ...of], { stdio: 'ignore' });
  writeFileSync(file, secret, { mode: 0o600 });
  const start = async (name: string, ...settings: string[]): Promise<Gateway> => {
    mkdirSync(join(dir, name));
    const gateway = new Gateway(binary, join(dir, name), settings);
    await gateway.start();
    return gateway;
  };
  const tls = ['--tls-cert', cert, '--tls-key', key];
  const auth = ['--auth-secret-file', file, '--auth-skew', '1s', '--auth-grace', '1s'];
  plain = await start('plain', ...auth);
  app = await start('app', ...tls);
  own = await start('own', ...tls, ...auth, '--origins', app.url);
  browser = await launch();
  context = await browser.newContext({ ignoreHTTPSErrors: true }); // nobody vouches for the certificate
});

after(async () => {
  await browser?.close();
  await Promise.all([plain, own, app].map((gateway) => gateway?.stop()));
});

/** open shows a page of that origin, in which scripts may ask for tokens. */
async function open(origin: string, seconds = 60): Promise<Page> {
  const page = await context.newPage();
  await page.exposeFunction('mint', () => mint(seconds));
  await page.goto(`${origin}/healthz`);
  return page;
}

type Options = Pick<ConnectOptions, 'transports' | 'credentials'> & { tokens?: boolean };

/** What became of a client in a page, when it was connected, refused, or had found no way. */
function attach(page: Page, base: string, options: Options = {}): Promise<{ state: string; transport: string | null; codes: string[] }> {
  return page.evaluate(
    async ({ base, options: { tokens, ...options } }) => {
      const { connect } = (await import(`${base}/v1/client.js`)) as typeof import('../src/index.ts');
      const { mint } = globalThis as unknown as { mint(): Promise<string> };
      const client = connect(base, { ...options, ...(tokens && { token: mint }), storage: null });
      const codes: string[] = [];
      client.on('error', ({ code }) => codes.push(code));
      const { state } = await new Promise<{ state: string }>((resolve) => client.on('state', (e) => e.state !== 'connecting' && resolve(e)));
      const { transport } = client;
      await client.close();
      return { state, transport, codes };
    },
    { base, options },
  );
}

test('tokens of five seconds are refreshed over every transport for fifteen: one attachment each, nothing lost or repeated', limit, async (t) => {
  const page = await open(plain.url, 5);
  t.after(() => page.close());
  const writer: Client = connect(plain.url, { transports: ['sse'], token: mint(60) });
  t.after(() => writer.close());
  const told: string[] = [];
  page.on('console', (message) => told.push(message.text()));
  const seen = page.evaluate(async () => {
    const { connect } = (await import(`${location.origin}/v1/client.js`)) as typeof import('../src/index.ts');
    const { mint } = globalThis as unknown as { mint(): Promise<string> };
    const follow = async (transport: 'websocket' | 'sse' | 'stream' | 'poll') => {
      let asked = 0;
      const client = connect(undefined, { transports: [transport], storage: null, token: () => (asked++, mint()) });
      const errors: FairleadError[] = [];
      const states: string[] = [];
      client.on('error', (error) => errors.push(error));
      client.on('state', ({ state }) => states.push(state));
      const data: unknown[] = [];
      const acks: Promise<unknown>[] = [];
      for await (const message of client.channel('t.in').subscribe({ after: '0' })) {
        if (message.data === 'end') break;
        data.push(message.data);
        // And something goes up all the while.
        if (data.length % 10 === 0) acks.push(client.channel('t.up').publish(`${transport} ${data.length}`));
      }
      await Promise.all(acks);
      const { count } = client.diagnostics();
      const seen = { transport, asked, errors: errors.map(String), states: [...states], data, count };
      await client.close();
      return seen;
    };
    return Promise.all((['websocket', 'sse', 'stream', 'poll'] as const).map(follow));
  });
  const began = Date.now();
  const numbers = Array.from({ length: 150 }, (_, i) => i + 1);
  // Messages that flow for fifteen seconds are what is asked for.
  for (const n of numbers) {
    await writer.channel('t.in').publish(n);
    await new Promise((tick) => setTimeout(tick, 100));
  }
  await writer.channel('t.in').publish('end');
  for (const { transport, asked, errors, states, data, count } of await seen) {
    assert.deepEqual(data, numbers, transport);
    assert.deepEqual([errors, states, count], [[], ['connecting', 'connected'], 1], transport);
    assert.ok(asked >= 4 && asked <= 2 + (Date.now() - began) / 2_000, `${transport} asked for ${asked} tokens`);
    t.diagnostic(`${transport}: ${asked} tokens`);
  }
  const { messages } = await writer.channel('t.up').history();
  assert.equal(new Set(messages.map((m) => m.data)).size, 60);
  assert.deepEqual(new Set(messages.map((m) => m.from)), new Set(['ann']));
  assert.equal(messages.length, 60, 'each publish is stored once');
  for (const text of told) assert.doesNotMatch(text, /eyJ/); // as all tokens begin
});

test('a page of an origin that is listed may use the gateway, by every transport', limit, async (t) => {
  const page = await open(app.url);
  t.after(() => page.close());
  for (const transport of ['websocket', 'sse', 'stream', 'poll'] as const) {
    assert.deepEqual(await attach(page, own.url, { tokens: true, transports: [transport] }), { state: 'connected', transport, codes: [] });
  }
});

// Its scripts are not told why: browsers hide the status of a handshake, and of what CORS does not let them see.
test('a page of another origin finds no way in, whatever token it has', limit, async (t) => {
  const page = await open(own.url.replace('127.0.0.1', 'localhost'));
  t.after(() => page.close());
  for (const transport of ['websocket', 'sse', 'stream', 'poll'] as const) {
    const { state, transport: found } = await attach(page, own.url, { tokens: true, transports: [transport] });
    assert.deepEqual([state, found], ['waiting', null], transport);
  }
});

test('a cookie counts on the pages of its own origin, and not on others', limit, async (t) => {
  const cookie = { name: '__Host-fairlead', value: mint(60), url: own.url, secure: true, sameSite: 'None' } as const;
  await context.addCookies([cookie]);
  t.after(() => context.clearCookies());
  const page = await open(own.url);
  t.after(() => page.close());
  for (const transport of ['websocket', 'sse', 'stream', 'poll'] as const) {
    assert.deepEqual(await attach(page, own.url, { transports: [transport] }), { state: 'connected', transport, codes: [] });
  }
  assert.deepEqual(await attach(page, own.url, { transports: ['sse'], credentials: 'omit' }), { state: 'refused', transport: null, codes: ['unauthorized'] });
  const foreign = await open(own.url.replace('127.0.0.1', 'localhost'));
  t.after(() => foreign.close());
  for (const transport of ['websocket', 'sse', 'stream', 'poll'] as const) {
    const { state, transport: found } = await attach(foreign, own.url, { credentials: 'include', transports: [transport] });
    assert.deepEqual([state, found], ['waiting', null], transport);
  }
});

test('a component shows that its channel is granted no more, also when it was ready', limit, async (t) => {
  const page = await visit(context, plain.url, bundle('react.ts'), { connect: JSON.stringify({ token: mint(60) }), name: 't.room' });
  t.after(() => page.close());
  const shows = (id: string, text: string): Promise<unknown> =>
    page.waitForFunction(({ id, text }) => document.getElementById(id)?.textContent === text, { id, text });
  await shows('ready', 'true');
  const refresh = (token: string): Promise<void> => page.evaluate((token) => (globalThis as unknown as { client: Client }).client.refresh(token), token);
  await refresh(mint(60, ['t.other']));
  await shows('error', 'forbidden');
  await shows('ready', 'false');
  await shows('state', 'connected');
  await refresh(mint(60));
  await page.fill('#name', 't.room2');
  await shows('error', 'none');
  await shows('ready', 'true');
});

test('an EventSource comes in with a ticket, once', limit, async (t) => {
  const page = await open(own.url);
  t.after(() => page.close());
  const first = await page.evaluate(async () => {
    const { mint } = globalThis as unknown as { mint(): Promise<string> };
    const response = await fetch('/v1/tickets', { method: 'POST', headers: { authorization: `Bearer ${await mint()}` } });
    const { ticket } = (await response.json()) as { ticket: string };
    const come = (): Promise<string> =>
      new Promise((resolve) => {
        const source = new EventSource(`/v1/attach?channel=t.es&ticket=${ticket}`);
        source.addEventListener('welcome', () => {
          source.close();
          resolve('welcome');
        });
        source.onerror = () => resolve(source.readyState === EventSource.CLOSED ? 'refused' : 'lost');
      });
    return [response.status, await come(), await come()];
  });
  assert.deepEqual(first, [201, 'welcome', 'refused']);
});
