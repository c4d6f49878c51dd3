import assert from 'node:assert/strict';
import { after, before, test, type TestContext } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { connect, type Client } from '../src/index.ts';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { scratch } from '../stand/process.ts';
import { gauge, settles } from './metrics.ts';
import { bundle, visit } from './page.ts';

const dir = scratch();
let gateway: Gateway;
let browser: Browser;
let writer: Client;
let script: string;
let channels = 0;

before(async () => {
  gateway = new Gateway(build(dir), dir);
  await gateway.start();
  writer = connect(gateway.url);
  script = bundle('react.ts');
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await writer?.close();
  await gateway?.stop();
});

const limit = { timeout: 60_000 };
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

interface Options {
  connect?: object;
  channel?: object;
  name?: string;
}

/** open shows the component; whatever the page's scripts complain of fails the test. */
async function open(t: TestContext, { connect = {}, channel = {}, name = '' }: Options): Promise<Page> {
  const context = await browser.newContext();
  const errors: string[] = [];
  context.on('weberror', (error) => errors.push(String(error.error())));
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !/Failed to load|ERR_/.test(message.text())) errors.push(message.text());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, []);
  });
  return visit(context, gateway.url, script, { connect: JSON.stringify(connect), channel: JSON.stringify(channel), name });
}

const fresh = (): string => `react.${++channels}`;

async function write(channel: string, data: readonly unknown[]): Promise<string> {
  const acks = await Promise.all(data.map((each) => writer.channel(channel).publish(each)));
  return acks.at(-1)?.id ?? '';
}

/** shows waits until an output has exactly this text. */
async function shows(page: Page, id: string, text: string): Promise<void> {
  await page.waitForFunction(({ id, text }) => document.getElementById(id)?.textContent === text, { id, text });
}

const shown = (page: Page, data: readonly unknown[]): Promise<void> => shows(page, 'messages', JSON.stringify(data));
const seen = (page: Page, channel: string): Promise<unknown> => page.evaluate((name) => (globalThis as unknown as { seen: Record<string, unknown[]> }).seen[name], channel);

test('under StrictMode each message is shown once, on one attachment; the newest are kept', limit, async (t) => {
  const channel = fresh();
  await write(channel, range(1, 5));
  const page = await open(t, { name: channel, channel: { last: 3, limit: 6 } });
  await shown(page, [3, 4, 5]);
  await shows(page, 'ready', 'true');
  await write(channel, range(6, 10));
  await shown(page, [5, 6, 7, 8, 9, 10]);
  assert.deepEqual(await seen(page, channel), range(3, 10));
  await settles(gateway.url, 'fairlead_attachments', 2); // and the writer's
});

test('what comes in one task is rendered once', limit, async (t) => {
  const channel = fresh();
  await write(channel, range(1, 300));
  const page = await open(t, { name: channel, channel: { last: 300, limit: 200 }, connect: { transports: ['poll'] } });
  await shown(page, range(101, 300));
  assert.deepEqual(await seen(page, channel), range(1, 300));
  assert.equal(await page.textContent('#versions'), '2', 'none, and then all');
});

test('the component publishes', limit, async (t) => {
  const channel = fresh();
  const page = await open(t, { name: channel });
  await shows(page, 'ready', 'true');
  await page.click('#say');
  await shown(page, ['said']);
  const { messages } = await writer.channel(channel).history();
  assert.deepEqual(messages.map((m) => m.data), ['said']);
});

test('another name starts anew, none at all ends it, and a bad one is told', limit, async (t) => {
  const [one, two] = [fresh(), fresh()];
  await write(one, [1]);
  await write(two, [2]);
  const page = await open(t, { name: one, channel: { last: 1 } });
  await shown(page, [1]);
  await page.fill('#name', two);
  await shown(page, [2]);
  await write(one, ['late']);
  await write(two, [3]);
  await shown(page, [2, 3]);
  assert.deepEqual([await seen(page, one), await seen(page, two)], [[1], [2, 3]]);
  await page.fill('#name', '');
  await shown(page, []);
  await shows(page, 'ready', 'false');
  await page.fill('#name', 'not a name');
  await shows(page, 'error', 'bad_request');
  await page.fill('#name', one);
  await shows(page, 'error', 'none');
  await shown(page, ['late']);
});

test('who is unmounted leaves no subscription behind, and no attachment when the client closes', limit, async (t) => {
  const channels = await gauge(gateway.url, 'fairlead_tail_channels');
  const page = await open(t, { name: fresh() });
  await shows(page, 'ready', 'true');
  await settles(gateway.url, 'fairlead_tail_channels', channels + 1);
  await page.uncheck('#mounted');
  await settles(gateway.url, 'fairlead_tail_channels', channels);
  await page.evaluate(() => (globalThis as unknown as { client: Client }).client.close());
  await shows(page, 'state', 'closed');
  await settles(gateway.url, 'fairlead_attachments', 1);
});

test('who is hidden and shown again goes on where it was', limit, async (t) => {
  const channel = fresh();
  const page = await open(t, { name: channel });
  await shows(page, 'ready', 'true');
  await write(channel, [1]);
  await shown(page, [1]);
  await page.uncheck('#shown');
  await write(channel, [2, 3]);
  await page.check('#shown');
  await shown(page, [1, 2, 3]);
  assert.deepEqual(await seen(page, channel), [1, 2, 3]);
});

test('a gap is told', limit, async (t) => {
  const channel = fresh();
  const id = await write(channel, [1]);
  const page = await open(t, { name: channel, channel: { after: `elsewhere${id.slice(id.lastIndexOf('-'))}` } });
  await shows(page, 'gap', `${channel} replaced`);
});

test('the state shows that the gateway restarts; nothing is lost', limit, async (t) => {
  const channel = fresh();
  const page = await open(t, { name: channel });
  await shows(page, 'state', 'connected');
  await shows(page, 'transport', 'websocket');
  await shows(page, 'ready', 'true');
  await write(channel, [1]);
  await shown(page, [1]);
  await gateway.kill();
  await page.waitForFunction(() => document.getElementById('state')?.textContent !== 'connected');
  await shows(page, 'transport', '');
  assert.notEqual(await page.textContent('#reason'), '');
  await gateway.start();
  await shows(page, 'state', 'connected');
  await write(channel, [2]);
  await shown(page, [1, 2]);
  assert.deepEqual(await seen(page, channel), [1, 2]);
  t.diagnostic(`states: ${await page.textContent('#states')}`);
});
