import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { connect, type Client } from '../src/index.ts';
import { launch, PlainChromium } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { scratch } from '../stand/process.ts';
import { gauge, settles } from './metrics.ts';
import { bundle, visit } from './page.ts';
import type { Tab } from './pages/tabs.ts';

const dir = scratch();
let gateway: Gateway;
let browser: Browser;
let writer: Client;
let script: string;

before(async () => {
  gateway = new Gateway(build(dir), dir);
  await gateway.start();
  writer = connect(gateway.url, { transports: ['sse'] });
  script = bundle('tabs.ts');
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await writer?.close();
  await gateway?.stop();
});

const limit = { timeout: 60_000 };
/** When the leader closes or crashes, and when it only stops to answer; and how much later on a busy machine. Milliseconds. */
const promised = { gone: 1_000, silent: 1_400 };
const slack = 1.5;
const many = 8;
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

declare const tab: Tab;

function open(context: BrowserContext, channel: string, options: object): Promise<Page> {
  return visit(context, gateway.url, script, { channel, options: JSON.stringify(options) });
}

/** crew opens eight tabs of one browser, served. */
async function crew(t: TestContext, channel: string, options: object, own?: BrowserContext): Promise<Page[]> {
  const context = own ?? (await browser.newContext());
  t.after(() => context.close());
  const pages: Page[] = [];
  for (let n = 0; n < many; n++) pages.push(await open(context, channel, options));
  await Promise.all(pages.map((page) => page.evaluate(() => tab.ready)));
  return pages;
}

/** split finds the leader among the tabs. */
async function split(pages: readonly Page[]): Promise<{ leader: Page; rest: Page[] }> {
  const lead = await Promise.all(pages.map((page) => page.evaluate(() => tab.leads())));
  assert.deepEqual(lead.filter(Boolean), [true], 'one tab leads');
  return { leader: pages[lead.indexOf(true)]!, rest: pages.filter((_, n) => !lead[n]) };
}

/** A way for a leader to go. */
interface End {
  name: string;
  promised: number;
  strike(leader: Page): Promise<unknown>;
}

const close: End = { name: 'closed', promised: promised.gone, strike: (leader) => leader.close() };
const crash: End = {
  name: 'crashed',
  promised: promised.gone,
  async strike(leader) {
    const gone = leader.waitForEvent('crash');
    const browser = await leader.context().newCDPSession(leader);
    void browser.send('Page.crash').catch(() => {});
    await gone;
  },
};
const freeze: End = {
  name: 'frozen',
  promised: promised.gone,
  async strike(leader) {
    const browser = await leader.context().newCDPSession(leader);
    const { windowId } = await browser.send('Browser.getWindowForTarget');
    await browser.send('Browser.setWindowBounds', { windowId, bounds: { windowState: 'minimized' } }); // a visible page is never frozen
    await browser.send('Page.setWebLifecycleState', { state: 'frozen' });
  },
};
/** hang keeps its thread busy, so that it neither answers nor learns of anything. */
const hang: End = {
  name: 'hanging',
  promised: promised.silent,
  async strike(leader) {
    const hanging = leader.waitForEvent('console', (message) => message.text() === 'hanging');
    leader
      .evaluate(() => {
        console.log('hanging');
        for (const until = Date.now() + 6_000; Date.now() < until; );
      })
      .catch(() => {}); // the page may be closed before
    await hanging;
  },
};

/** sail publishes 200 messages; after each of the legs, in the middle of them, the leader goes. It gives those who are left. */
async function sail(t: TestContext, channel: string, pages: Page[], ends: readonly End[]): Promise<Page[]> {
  let n = 0;
  const write = (upTo: number): Promise<unknown> => {
    const acks: Promise<unknown>[] = [];
    while (n < upTo) acks.push(writer.channel(channel).publish(++n));
    return Promise.all(acks);
  };
  const leg = Math.floor(200 / (ends.length + 1));
  for (const [i, end] of ends.entries()) {
    const { leader, rest } = await split(pages);
    await write((i + 1) * leg);
    const before = n;
    await Promise.all(rest.map((page) => page.evaluate((count) => tab.has(count), before)));
    const speaker = rest[0]!;
    const struck = Date.now();
    const [from, to] = [i * 20 + 1, i * 20 + 20];
    const said = speaker.evaluate(([from, to]) => tab.publish(from!, to!), [from, to]);
    await Promise.all([end.strike(leader), write(before + 10)]);
    await write(before + 20);
    await Promise.all([said, ...rest.map((page) => page.evaluate((count) => tab.has(count), before + 20))]);
    const took = await Promise.all(rest.map((page) => page.evaluate((count) => tab.got[count]!.at, before + 19)));
    const worst = Math.max(...took) - struck;
    t.diagnostic(`leader ${end.name}: the last of ${rest.length} tabs has what was published meanwhile after ${worst} ms`);
    assert.ok(worst <= end.promised * slack, `${worst} ms, want at most ${end.promised * slack}`);
    pages = rest;
    await settles(gateway.url, 'fairlead_attachments', 2);
  }
  await write(200);
  await Promise.all(pages.map((page) => page.evaluate(() => tab.has(200))));
  for (const page of pages) assert.deepEqual(await page.evaluate(() => tab.got.map(({ n }) => n)), range(1, 200));
  const { messages } = await writer.channel(`${channel}.up`).history({ limit: 1_000 });
  assert.deepEqual(messages.map((m) => m.data), range(1, 20 * ends.length), 'what a tab publishes is stored once, in order');
  return pages;
}

for (const [ladder, options] of [['sse', { transports: ['sse'] }], ['the default ladder', {}]] as const) {
  test(`eight tabs, one attachment, on ${ladder}: leaders close, crash and hang, and nobody misses anything`, limit, async (t) => {
    const channel = `tabs.${ladder.replaceAll(' ', '')}`;
    const pages = await crew(t, channel, options);
    await settles(gateway.url, 'fairlead_attachments', 2); // and the writer's
    const left = await sail(t, channel, pages, [close, crash, hang]);
    const { leader, rest } = await split(left);
    await leader.evaluate(() => tab.connected());
    const transport = await leader.evaluate(() => tab.client.transport);
    for (const page of rest) {
      const shown = await page.evaluate(() => ({ state: tab.client.state, transport: tab.client.transport, session: tab.client.session }));
      assert.deepEqual(shown, { state: 'connected', transport, session: await leader.evaluate(() => tab.client.session) });
    }
  });
}

test('a leader that is frozen hands over before', limit, async (t) => {
  const chromium = await PlainChromium.start(mkdtempSync(join(dir, 'chromium-')));
  t.after(() => chromium.stop());
  const pages = await crew(t, 'tabs.frozen', {}, chromium.context);
  const { leader } = await split(pages);
  const left = await sail(t, 'tabs.frozen', pages, [freeze, close]);
  const browser = await leader.context().newCDPSession(leader);
  await browser.send('Page.setWebLifecycleState', { state: 'active' });
  await leader.evaluate(() => tab.has(200));
  assert.deepEqual(await leader.evaluate(() => tab.got.map(({ n }) => n)), range(1, 200));
  await split([leader, ...left]);
});

test('without sharing, the seventh tab on SSE over HTTP/1.1 hangs', limit, async (t) => {
  const context = await browser.newContext();
  t.after(() => context.close());
  await settles(gateway.url, 'fairlead_attachments', 1); // the writer's
  const options = { share: false, transports: ['sse'], timing: { budget: 60_000 } };
  const pages: Page[] = [];
  for (let n = 0; n < 6; n++) {
    const page = await open(context, 'tabs.alone', options);
    await page.evaluate(() => tab.ready);
    pages.push(page);
  }
  // It cannot even load: a browser opens six connections to a host.
  const seventh = await context.newPage();
  await assert.rejects(seventh.goto(`${gateway.url}/healthz`, { timeout: 3_000 }), /Timeout/);
  assert.equal(await gauge(gateway.url, 'fairlead_attachments'), 7);
});

test('tabs of another name do not share', limit, async (t) => {
  const context = await browser.newContext();
  t.after(() => context.close());
  await settles(gateway.url, 'fairlead_attachments', 1); // the writer's
  const pages = await Promise.all(['anna', 'bert', 'anna', 'bert'].map((name) => open(context, 'tabs.named', { name })));
  await Promise.all(pages.map((page) => page.evaluate(() => tab.ready)));
  await settles(gateway.url, 'fairlead_attachments', 3);
  const [anna, bert, more] = await Promise.all(pages.map((page) => page.evaluate(() => tab.client.session)));
  assert.ok(anna === more && anna !== bert);
});
