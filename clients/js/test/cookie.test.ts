import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, type Client } from '../src/client.ts';
import type { Transport } from '../src/frame.ts';
import { Binary, build } from './support/binary.ts';
import { Inbox, next } from './support/events.ts';

// The real gateway, and clients that show a cookie as the pages of its own origin do.

const built = build();
const secret = randomBytes(32).toString('hex');
const file = join(built.dir, 'secret');
writeFileSync(file, secret, { mode: 0o600 });

/** A token (RFC 7519, HS256) that is good for so many seconds. */
function mint(seconds: number): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ iat: now, exp: now + seconds, sub: 'ann', fairlead: { subscribe: ['>'], publish: ['>'] } })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** A browser that has one cookie, and a client in a page of it. What its requests say of tokens is noted. */
class Visitor {
  cookie: string;
  readonly shown: string[] = [];
  readonly client: Client;

  constructor(url: string, transport: Transport, cookie: string) {
    this.cookie = cookie;
    const browser: typeof fetch = (input, init) => {
      assert.equal(init?.credentials, 'same-origin');
      if (typeof init.body === 'string') this.shown.push(...(init.body.match(/"(auth|token)"/g) ?? []));
      return fetch(input, { ...init, headers: { ...(init.headers as Record<string, string>), cookie: `__Host-fairlead=${this.cookie}`, 'sec-fetch-site': 'same-origin' } });
    };
    this.client = connect(url, { transports: [transport], credentials: 'same-origin', fetch: browser, storage: null });
  }
}

test('a cookie that the page has anew is shown by refresh(), on the attachment that there is', async (t) => {
  const gateway = await new Binary(built, '--auth-secret-file', file, '--auth-skew', '0s', '--auth-grace', '1s').start();
  t.after(() => gateway.kill());
  const short = mint(3);
  const visitors = (['sse', 'stream'] as const).map((transport) => {
    const visitor = new Visitor(gateway.url, transport, short);
    const inbox = new Inbox();
    const sub = visitor.client.channel('c').subscribe(inbox.take, { after: '0' });
    return Object.assign(visitor, { inbox, sub });
  });
  // One that does not renew it shows when it has ended.
  const late = new Visitor(gateway.url, 'sse', short);
  t.after(() => Promise.all([late, ...visitors].map(({ client }) => client.close())));
  const ended = next(late.client, 'error', (e) => e.code === 'expired');
  await Promise.all(visitors.map(async ({ client, sub }) => {
    if (client.state !== 'connected') await next(client, 'state', (e) => e.state === 'connected');
    await sub.ready;
  }));
  for (const visitor of visitors) {
    visitor.cookie = mint(600);
    await visitor.client.refresh();
    assert.deepEqual(visitor.shown, ['"auth"'], 'one request, and no token in it');
  }
  await ended;
  const [first] = visitors;
  await first?.client.channel('c').publish('still here');
  for (const { client, inbox } of visitors) {
    await inbox.has(1);
    assert.deepEqual([inbox.data, client.state, client.diagnostics().count], [['still here'], 'connected', 1]);
  }
  // One that is no good is told, and what serves goes on.
  if (first) first.cookie = 'nonsense';
  await assert.rejects(first?.client.refresh() ?? Promise.resolve(), { code: 'unauthorized' });
  assert.equal(first?.client.state, 'connected');
});
