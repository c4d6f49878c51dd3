import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import type { Browser, BrowserContext } from 'playwright-core';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { Nginx } from '../stand/nginx.ts';
import { artefacts, scratch } from '../stand/process.ts';
import { Room, type Transport } from './room.ts';

/** What stands between the browser and the gateway. compose_test.go checks that compose mounts the same files. */
const networks = {
  direct: null,
  'nginx-plain': 'testdata/networks/nginx-plain.conf',
  'nginx-websocket': 'testdata/networks/nginx-websocket.conf',
} as const;
type Network = keyof typeof networks;

const expected: Record<Network, Transport> = { direct: 'websocket', 'nginx-plain': 'sse', 'nginx-websocket': 'websocket' };
const names = Object.keys(networks) as Network[];

const dir = scratch();
const proxies = new Map<Network, Nginx>();
let gateway: Gateway;
let browser: Browser;
let context: BrowserContext;

before(async () => {
  mkdirSync(artefacts, { recursive: true });
  gateway = new Gateway(build(dir), dir);
  await gateway.start();
  for (const name of names) {
    const conf = networks[name];
    if (conf === null) continue;
    const proxy = new Nginx();
    proxies.set(name, proxy);
    mkdirSync(join(dir, name));
    await proxy.start(conf, gateway.url, join(dir, name));
  }
  browser = await launch();
  context = await browser.newContext();
});

after(async () => {
  await browser?.close();
  for (const proxy of proxies.values()) await proxy.stop();
  await gateway?.stop();
});

// A minute: a message that is lost would be waited for for ever.
const limit = { timeout: 60_000 };

const base = (name: Network): string => proxies.get(name)?.url ?? gateway.url;

async function pair(t: TestContext, name: Network, room: string): Promise<[Room, Room]> {
  return Promise.all([Room.open(t, context, base(name), room, 'Anna'), Room.open(t, context, base(name), room, 'Bert')]);
}

for (const name of names) {
  describe(name, () => {
    test(`two tabs talk over ${expected[name]}`, limit, async (t) => {
      const [anna, bert] = await pair(t, name, `talk-${name}`);
      await anna.on(expected[name]);
      await bert.on(expected[name]);
      await anna.say('Is anyone there?');
      await bert.hears('Is anyone there?');
      await bert.say('Aye.');
      await anna.hears('Aye.');
      await anna.balances(gateway.url, `talk-${name}`);
      await bert.balances(gateway.url, `talk-${name}`);
      await anna.page.screenshot({ path: join(artefacts, `talk-${name}.png`) });
    });

    test('a cut in the middle loses and repeats nothing', limit, async (t) => {
      const room = `cut-${name}`;
      const [anna, bert] = await pair(t, name, room);
      await anna.on(expected[name]);
      await bert.on(expected[name]);
      const cuts = Promise.all([anna.midway([25], '#cut'), bert.midway([10, 20, 30, 40], '#cut')]);
      await anna.page.click('#burst');
      await cuts;
      for (const visitor of [anna, bert]) {
        await visitor.whole();
        for (const account of await visitor.survived()) assert.match(account, /^You cut the line\. Resumed on \w+ in .* 0 lost, 0 repeated\.$/);
        await visitor.balances(gateway.url, room);
      }
      await bert.page.screenshot({ path: join(artefacts, `cut-${name}.png`) });
    });
  });
}

test('blocked WebSocket, then blocked streams: the chat goes on, and climbs back', limit, async (t) => {
  const room = 'blocked';
  const [anna, bert] = await pair(t, 'direct', room);
  await anna.on('websocket');
  await anna.page.check('#block-websocket');
  await anna.on('sse');
  await bert.say('Still there?');
  await anna.hears('Still there?');
  await anna.page.check('#block-streams');
  await anna.on('poll');
  await anna.say('Letter by letter.');
  await bert.hears('Letter by letter.');
  await anna.hears('Letter by letter.');
  await anna.page.screenshot({ path: join(artefacts, 'blocked.png') });
  await anna.page.uncheck('#block-streams');
  await anna.page.uncheck('#block-websocket');
  await anna.on('websocket');
  await anna.balances(gateway.url, room);
  await bert.balances(gateway.url, room);
});

test('five seconds without any network lose and repeat nothing', limit, async (t) => {
  const room = 'dark';
  const [anna, bert] = await pair(t, 'direct', room);
  const dark = anna.midway([15], '#dark');
  await bert.page.click('#burst');
  await dark;
  await bert.whole();
  await anna.say('Said in the dark.');
  await anna.whole();
  await bert.hears('Said in the dark.');
  const accounts = await anna.survived();
  assert.match(accounts[0] ?? '', /^You went offline for 5 s\. Resumed on \w+ in .* 0 lost, 0 repeated\.$/);
  await anna.balances(gateway.url, room);
  await bert.balances(gateway.url, room);
});

test('a gateway killed in the middle of a burst loses and repeats nothing', limit, async (t) => {
  const room = 'killed';
  const [anna, bert] = await pair(t, 'direct', room);
  const midway = bert.midway([15], '#text'); // a click that does nothing
  await anna.page.click('#burst');
  await midway;
  await gateway.kill();
  await gateway.start();
  // Most likely before anyone is back.
  await fetch(`${gateway.url}/v1/channels/demo.${room}/messages`, { method: 'POST', body: 'The gateway is up again.' });
  for (const visitor of [anna, bert]) {
    await visitor.whole();
    await visitor.hears('The gateway is up again.');
    for (const account of await visitor.survived()) assert.match(account, / 0 lost, 0 repeated\.$/);
    await visitor.balances(gateway.url, room);
  }
});

test('what others say is shown, not run', limit, async (t) => {
  const visitor = await Room.open(t, context, base('direct'), 'markup', 'Anna');
  await visitor.say('<img src=x onerror="document.title=`run`"><b>bold</b>');
  await visitor.hears('<b>bold</b>');
  assert.equal(await visitor.page.locator('.message img').count(), 0);
  assert.notEqual(await visitor.page.title(), 'run');
});

for (const [device, viewport] of [['desktop', { width: 1280, height: 800 }], ['phone', { width: 390, height: 844 }]] as const) {
  for (const colorScheme of ['light', 'dark'] as const) {
    test(`fits a ${device}, ${colorScheme}`, limit, async (t) => {
      const small = device === 'phone';
      const own = await browser.newContext({ viewport, colorScheme, isMobile: small, hasTouch: small, deviceScaleFactor: small ? 2 : 1 });
      const room = `harbour-${device}-${colorScheme}`;
      const anna = await Room.open(t, own, base('direct'), room, 'Anna');
      const bert = await Room.open(t, context, base('direct'), room, 'Bert');
      await bert.say('Anyone in the harbour?');
      await anna.say('Aye. Going into the tunnel in a minute.');
      await bert.hears('tunnel');
      const blocked = anna.midway([20], '#block-websocket');
      await bert.page.click('#burst');
      await blocked;
      await anna.whole();
      await anna.survived();
      await anna.say('Still here.');
      await anna.hears('Still here.');
      // Playwright scrolls to what it clicks; a picture starts at the top.
      await anna.page.locator('h1').scrollIntoViewIfNeeded();
      const wide = await anna.page.locator('html').evaluate((html) => html.scrollWidth > html.clientWidth);
      assert.equal(wide, false, 'the page scrolls sideways');
      await anna.page.screenshot({ path: join(artefacts, `demo-${device}-${colorScheme}.png`), fullPage: small });
      await own.close();
    });
  }
}
