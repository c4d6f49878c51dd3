import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from '../src/client.ts';
import { connected, crew, type Crew } from './support/crew.ts';
import { Inbox, next, range } from './support/events.ts';
import { problem } from './support/gateway.ts';

/** A leader whose tokens are counted, and a tab that follows it. */
async function two({ gateway, open }: Crew): Promise<{ leader: Client; follower: Client; given: string[]; shown(n: number): Promise<unknown> }> {
  const given: string[] = [];
  const leader = open({ token: () => given[given.push(`secret-${given.length + 1}`) - 1] ?? '' });
  await connected(leader);
  const follower = open({ token: () => 'of the follower' });
  await connected(follower);
  const shown = (n: number): Promise<unknown> => gateway.asked((path, _, { commands, token }) => path === '/v1/commands' && commands?.[0]?.op === 'auth' && token === `secret-${n}`);
  return { leader, follower, given, shown };
}

test('a token is refreshed by the leader, once for all tabs: nothing is lost or repeated', async (t) => {
  const all = await crew(t);
  const { gateway, attaches } = all;
  const attach = gateway.log.attach.bind(gateway.log);
  gateway.log.attach = (channels, send, welcome) => attach(channels, send, { ...welcome, expires_in: 500 });
  const { leader, follower, given, shown } = await two(all);
  const inboxes = [new Inbox(), new Inbox()];
  await Promise.all([leader, follower].map((client, i) => client.channel('c').subscribe((inboxes[i] as Inbox).take).ready));
  for (const n of range(1, 10)) gateway.log.publish('c', n);
  await shown(2);
  for (const n of range(11, 20)) gateway.log.publish('c', n);
  await Promise.all([...inboxes.map((inbox) => inbox.has(20)), follower.channel('up').publish(1)]);
  for (const inbox of inboxes) assert.deepEqual(inbox.data, range(1, 20));
  assert.deepEqual([attaches(), given.length], [1, 2]);
  assert.ok(gateway.requests.every(({ body }) => body.token !== 'of the follower'));
});

test('a tab that follows has its leader refresh', async (t) => {
  const all = await crew(t);
  const { follower, given, shown } = await two(all);
  follower.refresh();
  await shown(2);
  assert.deepEqual([all.attaches(), given.length], [1, 2]);
});

test('when the leader closes, the next one leads with its own token', async (t) => {
  const all = await crew(t);
  const { leader, follower } = await two(all);
  const attached = next(follower, 'state', (e) => e.state === 'connecting');
  await leader.close();
  await attached;
  await connected(follower);
  assert.equal(all.gateway.requests.filter((r) => r.path === '/v1/attach').at(-1)?.body.token, 'of the follower');
});

test('when the leader is not let in any more, all tabs are told, and each of them can have it try again', async (t) => {
  const all = await crew(t);
  const { gateway } = all;
  const { leader, follower } = await two(all);
  const inbox = new Inbox();
  await follower.channel('c').subscribe(inbox.take).ready;
  gateway.intercept = (req, res) => req.url === '/v1/attach' && (problem(res, 401, 'unauthorized'), true);
  const refused = [leader, follower].map((client) => next(client, 'state', (e) => e.state === 'refused'));
  const told = next(leader, 'error');
  gateway.cut();
  await Promise.all(refused);
  assert.deepEqual([(await told).code, leader.state, follower.state], ['unauthorized', 'refused', 'refused']);
  gateway.intercept = () => false;
  gateway.log.publish('c', 1);
  follower.reconnect();
  await Promise.all([leader, follower].map(connected));
  await inbox.has(1);
});

test('what is not granted any more ends for the tab that has it', async (t) => {
  const all = await crew(t);
  const { gateway } = all;
  const { leader, follower } = await two(all);
  const lost = follower.channel('d').subscribe(() => {});
  const inbox = new Inbox();
  await Promise.all([lost.ready, follower.channel('c').subscribe(inbox.take).ready, leader.channel('c').subscribe(() => {}).ready]);
  for (const { send } of gateway.log.followers) send({ op: 'unsubscribed', channel: 'd', code: 'forbidden', message: 'not granted' });
  await assert.rejects(lost.ended, { code: 'forbidden' });
  gateway.log.publish('c', 1);
  await inbox.has(1);
  assert.deepEqual(leader.diagnostics().subscriptions.map((s) => s.pattern), ['c', 'c']);
});
