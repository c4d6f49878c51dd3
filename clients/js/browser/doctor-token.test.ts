import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { Nginx } from '../stand/nginx.ts';
import { artefacts, scratch } from '../stand/process.ts';

const dir = scratch();
const secret = join(dir, 'secret');
const proxy = new Nginx();
let binary: string;
let gateway: Gateway;
let browser: Browser;

before(async () => {
  mkdirSync(artefacts, { recursive: true });
  writeFileSync(secret, '0123456789'.repeat(4), { mode: 0o600 });
  binary = build(dir);
  gateway = new Gateway(binary, dir, ['--auth-secret-file', secret]);
  await gateway.start();
  mkdirSync(join(dir, 'nginx'));
  await proxy.start('testdata/networks/nginx-plain.conf', gateway.url, join(dir, 'nginx'));
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await proxy.stop();
  await gateway?.stop();
});

const limit = { timeout: 60_000 };

/** visit opens the doctor's page for as long as the test lasts, and returns it when it has judged. */
async function visit(t: TestContext, url: string, prepare = async (_: Page): Promise<unknown> => undefined): Promise<Page> {
  const context = await browser.newContext();
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, []);
  });
  await prepare(page);
  await page.goto(url);
  await done(page);
  return page;
}

const done = (page: Page): Promise<void> => page.locator('main[aria-busy="false"]').waitFor();
const marks = async (page: Page): Promise<string> => (await page.locator('.mark').allTextContents()).join(' ');

async function submit(page: Page, token: string): Promise<void> {
  await page.fill('#token', token);
  await page.click('#access button');
  await done(page);
}

test('asks for a token, tries with it, and tells it to nobody', limit, async (t) => {
  const token = execFileSync(binary, ['token', '--auth-secret-file', secret, '--subscribe', 'chat.*'], { encoding: 'utf8' }).trim();
  const urls: string[] = [];
  const page = await visit(t, `${gateway.url}/doctor#token=${token}`, async (fresh) => fresh.on('request', (request) => urls.push(request.url())));
  assert.equal(await marks(page), 'ok no no no no', 'a token in the URL is not taken');
  await page.locator('#probe-websocket', { hasText: 'The gateway wants a token: there is no token' }).waitFor();
  await page.locator('#transport', { hasText: 'Not known yet' }).waitFor();
  await page.locator('#advice', { hasText: 'fairlead token' }).waitFor();
  await page.screenshot({ path: join(artefacts, 'doctor-token.png'), fullPage: true });

  await submit(page, 'eyJhbGciOiJIUzI1NiJ9.e30.nonsense');
  assert.equal(await marks(page), 'ok no no no no');
  await page.locator('#probe-poll', { hasText: 'does not take this token' }).waitFor();

  await submit(page, ` ${token}\t`);
  assert.equal(await marks(page), 'ok ok ok ok ok');
  const report = (await page.locator('#json').textContent()) ?? '';
  assert.ok(report.includes('"works": true') && !report.includes(token), report);
  assert.ok(!(await page.locator('html').innerText()).includes(token));
  assert.deepEqual(urls.filter((url) => !url.includes('#') && url.includes(token)), []);
  assert.equal(page.url(), `${gateway.url}/doctor#token=${token}`);
});

test('a page that the gateway does not let in is told so, for the WebSocket too', limit, async (t) => {
  const detail = 'pages of this origin may not use this gateway';
  const page = await visit(t, `${proxy.url}/doctor`, (fresh) => fresh.route('**/v1/attach*', (route) => route.fulfill({
    status: 403, contentType: 'application/problem+json', body: JSON.stringify({ status: 403, code: 'forbidden', detail }),
  })));
  assert.equal(await marks(page), 'ok no no no no');
  const origin = new URL(proxy.url).origin;
  for (const name of ['websocket', 'sse', 'stream', 'poll']) {
    await page.locator(`#probe-${name}`, { hasText: `The gateway does not let this page of ${origin} in: ${detail}.` }).waitFor();
  }
  await page.locator('#advice', { hasText: 'proxy_set_header Host $http_host;' }).waitFor();
  assert.equal(await page.locator('#access').isVisible(), false);
});
