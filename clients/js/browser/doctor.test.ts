import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { Nginx } from '../stand/nginx.ts';
import { artefacts, root, scratch } from '../stand/process.ts';

/** What stands between the browser and the gateway, and what the page must find: a mark for each probe, and codes. */
const networks = {
  direct: { conf: null, marks: 'ok ok ok ok ok', codes: [], uses: 'websocket', advice: [] },
  'nginx-plain': {
    conf: 'testdata/networks/nginx-plain.conf', marks: 'ok no ok ok ok', codes: ['between', 'upgrade_failed'], uses: 'sse', advice: ['upgrade'],
  },
  'nginx-hostile': {
    conf: 'testdata/networks/nginx-hostile.conf', marks: 'ok no no no ok',
    codes: ['between', 'upgrade_failed', 'stream_silent', 'stream_silent'], uses: 'poll', advice: ['upgrade', 'buffering'],
  },
} as const;
/** What a busy machine alone can bring about. */
const busy = new Set(['delayed', 'bunched', 'slow']);

type Network = keyof typeof networks;
const names = Object.keys(networks) as Network[];

interface Report {
  doctor: number;
  client: string;
  url: string;
  works: boolean;
  transport: string;
  rtt_ms: number;
  probes: { probe: string; ok: boolean; welcome_ms?: number; proof_ms?: number; findings: { code: string; text: string }[] }[];
  advice: { code: string; nginx?: string[] }[];
}

interface Vectors {
  observations: { codes: string[]; text?: string; seen: object }[];
  pongs: { codes: string[]; text?: string; seen: object }[];
  idle: { codes: string[]; text?: string; held: number; silent: number; seen: object }[];
}

type Found = { code: string; text: string }[];
interface Judge {
  judge: (seen: object) => Found;
  judgePong: (seen: object) => Found;
  judgeIdle: (held: number, silent: number, seen: object) => Found;
}

const dir = scratch();
const proxies = new Map<Network, Nginx>();
let gateway: Gateway;
let browser: Browser;

before(async () => {
  mkdirSync(artefacts, { recursive: true });
  gateway = new Gateway(build(dir), dir);
  await gateway.start();
  for (const name of names) {
    const { conf } = networks[name];
    if (conf === null) continue;
    const proxy = new Nginx();
    proxies.set(name, proxy);
    mkdirSync(join(dir, name));
    await proxy.start(conf, gateway.url, join(dir, name));
  }
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const proxy of proxies.values()) await proxy.stop();
  await gateway?.stop();
});

const limit = { timeout: 60_000 };
const base = (name: Network): string => proxies.get(name)?.url ?? gateway.url;

/** visit opens a page for as long as the test lasts; what goes wrong in its scripts, or against its policy, fails the test. */
async function visit(t: TestContext, context: BrowserContext): Promise<Page> {
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (/Content.Security.Policy/i.test(message.text())) errors.push(message.text());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, []);
  });
  return page;
}

async function done(page: Page): Promise<void> {
  await page.locator('main[aria-busy="false"]').waitFor();
}

async function marks(page: Page): Promise<string> {
  return (await page.locator('.mark').allTextContents()).join(' ');
}

for (const name of names) {
  const { marks: wanted, codes, uses, advice } = networks[name];
  test(`${name}: finds what lies between`, limit, async (t) => {
    const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
    const page = await visit(t, context);
    await page.goto(`${base(name)}/doctor`);
    await done(page);
    assert.equal(await marks(page), wanted);

    await page.click('#copy');
    await page.locator('#said', { hasText: 'Copied.' }).waitFor();
    const report = JSON.parse(await page.evaluate(() => navigator.clipboard.readText())) as Report;
    assert.deepEqual([report.doctor, report.client, report.url, report.works, report.transport], [1, 'browser', `${base(name)}/`, true, uses]);
    assert.deepEqual(report.probes.map(({ probe }) => probe), ['reach', 'websocket', 'sse', 'stream', 'poll']);
    const found = report.probes.flatMap(({ findings }) => findings.map(({ code }) => code)).filter((code) => !busy.has(code));
    assert.deepEqual(found, codes);
    for (const code of advice) assert.ok(report.advice.some((given) => given.code === code), code);
    assert.ok(report.rtt_ms > 0);
    for (const { probe, ok, welcome_ms = 0, proof_ms = 0 } of report.probes) {
      if (ok && probe !== 'reach' && probe !== 'poll') assert.ok(welcome_ms > 0 && proof_ms > welcome_ms, JSON.stringify(report));
    }
    const shown = await page.locator('main').innerText();
    for (const { findings } of report.probes) for (const { text } of findings) assert.ok(shown.includes(text), text);
    assert.ok(!shown.includes('{'), 'a value is missing in a text');
  });
}

test('judges as the vectors say', limit, async (t) => {
  const vectors = JSON.parse(readFileSync(join(root, 'clients/doctor/testdata/judge.json'), 'utf8')) as Vectors;
  const page = await visit(t, await browser.newContext());
  await page.goto(`${base('direct')}/doctor`);
  const got = await page.evaluate(async (v: Vectors) => {
    const { judgeBy } = (await import(new URL('doctor/judge.js', document.baseURI).href)) as { judgeBy: (words: unknown) => Judge };
    const judge = judgeBy(await (await fetch('doctor/findings.json')).json());
    return [
      ...v.observations.map(({ seen }) => judge.judge(seen)),
      ...v.pongs.map(({ seen }) => judge.judgePong(seen)),
      ...v.idle.map(({ held, silent, seen }) => judge.judgeIdle(held, silent, seen)),
    ];
  }, vectors);
  const all = [...vectors.observations, ...vectors.pongs, ...vectors.idle];
  assert.equal(got.length, all.length);
  for (const [i, { codes, text, seen }] of all.entries()) {
    assert.deepEqual(got[i]?.map(({ code }) => code), codes, JSON.stringify(seen));
    if (text !== undefined) assert.equal(got[i]?.at(-1)?.text, text);
  }
});

test('a sign-in page in place of the gateway is told, and nothing more is tried', limit, async (t) => {
  const page = await visit(t, await browser.newContext());
  let attached = 0;
  page.on('request', (request) => (attached += Number(request.url().includes('/v1/attach'))));
  await page.route('**/v1/ping', (route) => route.fulfill({ contentType: 'text/html', body: '<title>Sign in</title>' }));
  await page.goto(`${base('direct')}/doctor`);
  await done(page);
  assert.equal(await marks(page), 'no -- -- -- --');
  assert.equal(attached, 0);
  await page.locator('#probe-reach', { hasText: 'What answers is not Fairlead: status 200, text/html.' }).waitFor();
  await page.locator('#transport', { hasText: 'None' }).waitFor();

  await page.unroute('**/v1/ping');
  await page.click('#again');
  await done(page);
  assert.equal(await marks(page), 'ok ok ok ok ok');
});

test('holds idle, and finds who is cut', limit, async (t) => {
  const page = await visit(t, await browser.newContext());
  await page.clock.install();
  await page.goto(`${base('direct')}/doctor`);
  await done(page);
  // A poll ends by itself after the server's 55 s; here a proxy ends it at once.
  const held = Promise.all([
    page.waitForRequest((request) => request.headers()['accept'] === 'text/event-stream'),
    page.waitForRequest((request) => request.headers()['accept'] === 'application/x-ndjson'),
    page.waitForEvent('websocket').then((socket) => socket.waitForEvent('framereceived')),
  ]);
  await page.route('**/v1/attach', (route) => {
    return route.request().headers()['accept'] === 'application/json' ? route.fulfill({ status: 504, body: '' }) : route.continue();
  });
  await page.click('#idle');
  await held;
  await page.locator('#said', { hasText: 'Holding idle' }).waitFor();
  await page.clock.fastForward(76_000);
  await done(page);
  for (const name of ['websocket', 'sse', 'stream']) await page.locator(`#probe-${name}`, { hasText: /Held idle for 7\d\.\d s/ }).waitFor();
  await page.locator('#probe-poll', { hasText: /Cut after/ }).waitFor();
  await page.locator('#advice', { hasText: 'proxy_read_timeout 1h;' }).waitFor();
});

describe('looks', () => {
  for (const [device, viewport] of [['desktop', { width: 1280, height: 900 }], ['phone', { width: 390, height: 844 }]] as const) {
    for (const colorScheme of ['light', 'dark'] as const) {
      test(`fits a ${device}, ${colorScheme}`, limit, async (t) => {
        const small = device === 'phone';
        const context = await browser.newContext({ viewport, colorScheme, isMobile: small, hasTouch: small, deviceScaleFactor: small ? 2 : 1 });
        const page = await visit(t, context);
        await page.goto(`${base('nginx-hostile')}/doctor`);
        await page.locator('#probe-poll[data-state="ok"]').waitFor();
        assert.equal(await marks(page), 'ok no … … ok', 'each probe is shown as soon as it is done');
        await page.screenshot({ path: join(artefacts, `doctor-trying-${device}-${colorScheme}.png`) });
        await done(page);
        const wide = await page.locator('html').evaluate((html) => html.scrollWidth > html.clientWidth);
        assert.equal(wide, false, 'the page scrolls sideways');
        await page.screenshot({ path: join(artefacts, `doctor-${device}-${colorScheme}.png`), fullPage: true });
      });
    }
  }
});
