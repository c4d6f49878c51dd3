import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser, BrowserContext } from 'playwright-core';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { scratch } from '../stand/process.ts';
import { Room } from './room.ts';

const dir = scratch();
let gateway: Gateway;
let browser: Browser;
let context: BrowserContext;

before(async () => {
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  const of = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-keyout', key, '-out', cert, ...of], { stdio: 'ignore' });
  gateway = new Gateway(build(dir), dir, ['--tls-cert', cert, '--tls-key', key]);
  await gateway.start();
  browser = await launch();
  context = await browser.newContext({ ignoreHTTPSErrors: true }); // nobody vouches for the certificate
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

test('over HTTPS an EventSource comes by HTTP/2, beside a WebSocket', { timeout: 60_000 }, async () => {
  assert.match(gateway.url, /^https:/);
  const page = await context.newPage();
  await page.goto(`${gateway.url}/healthz`);
  const session = await context.newCDPSession(page);
  const stream = new Promise((resolve) => {
    session.on('Network.responseReceived', ({ type, response }) => type === 'EventSource' && resolve(response.protocol));
  });
  const upgrade = new Promise((resolve) => session.on('Network.webSocketHandshakeResponseReceived', ({ response }) => resolve(response.status)));
  await session.send('Network.enable');
  const said = await page.evaluate(async () => {
    const source = new EventSource('/v1/attach?channel=tls');
    const opened = new Promise((resolve, reject) => {
      source.onopen = () => resolve('open');
      source.onerror = reject;
    });
    const socket = new WebSocket(`wss://${location.host}/v1/attach?channel=tls`, 'fairlead.v1');
    const welcome = new Promise<string>((resolve, reject) => {
      socket.onmessage = ({ data }: MessageEvent<string>) => resolve(data);
      socket.onerror = reject;
    });
    const first = [await opened, await welcome] as const;
    source.close();
    socket.close();
    return first;
  });
  assert.equal(said[0], 'open');
  assert.match(said[1], /"op":"welcome"/);
  assert.deepEqual([await stream, await upgrade], ['h2', 101]); // nobody answers 101 by HTTP/2
});

test('over HTTPS the demo is carried by a WebSocket', { timeout: 60_000 }, async (t) => {
  const room = await Room.open(t, context, gateway.url, 'tls', 'Tess');
  await room.on('websocket');
  await room.say('hello');
  await room.hears('hello');
});
