// The demo page of a gateway that wants tokens.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { scratch } from '../stand/process.ts';

const dir = scratch();
const secret = join(dir, 'secret');
let binary: string;
let gateway: Gateway;
let browser: Browser;

before(async () => {
  writeFileSync(secret, '0123456789'.repeat(4), { mode: 0o600 });
  binary = build(dir);
  gateway = new Gateway(binary, dir, ['--auth-secret-file', secret]);
  await gateway.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

const mint = (...rights: string[]): string => execFileSync(binary, ['token', '--auth-secret-file', secret, ...rights], { encoding: 'utf8' });

test('the demo asks for a token, says what is wrong with one, and goes on with another', { timeout: 60_000 }, async (t) => {
  const page = await browser.newPage();
  const errors: string[] = [];
  const urls: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('request', (request) => urls.push(request.url()));
  t.after(() => page.close());
  await page.goto(`${gateway.url}/?room=quay`);

  await page.locator('#access').waitFor();
  await page.fill('#token', mint('--subscribe', 'chat.*'));
  await page.click('#access button');
  await page.locator('.event.bad', { hasText: 'does not grant' }).first().waitFor();
  await page.locator('#access').waitFor();

  const token = mint('--subscribe', 'demo.*', '--publish', 'demo.*');
  await page.fill('#token', token);
  await page.click('#access button');
  await page.locator('#state', { hasText: /^connected$/ }).waitFor();
  await page.locator('#access').waitFor({ state: 'hidden' });
  await page.fill('#text', 'Ahoy');
  await page.press('#text', 'Enter');
  await page.locator('.message:not(.pending)', { hasText: 'Ahoy' }).waitFor();

  await page.click('#cut'); // the log is read with the token, too
  await page.locator('.survived', { hasText: '0 lost, 0 repeated' }).waitFor();
  assert.match((await page.textContent('#curl')) ?? '', /^curl -H "Authorization: Bearer \$TOKEN" -d /);
  assert.deepEqual(errors, []);
  assert.deepEqual(urls.filter((url) => url.includes(token.slice(0, 20))), []);
});
