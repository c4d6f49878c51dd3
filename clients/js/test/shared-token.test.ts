import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from '../src/client.ts';
import { connected, crew, Spy, type Crew } from './support/crew.ts';
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

/** Requests of what serves that give it that token. */
const gives = (token: string) => (path: string, _: unknown, body: { commands?: { op: string }[]; token?: string }): boolean => path === '/v1/commands' && body.commands?.[0]?.op === 'auth' && body.token === token;

test('a token that a tab is given reaches its leader, which gives it to what serves, and the tab is told what came of it', async (t) => {
  const all = await crew(t);
  const { gateway } = all;
  const { leader, follower, given } = await two(all);
  await follower.refresh('fresh');
  await gateway.asked(gives('fresh'));
  let asked = 0;
  await follower.refresh(async () => `fresh ${++asked}`);
  await gateway.asked(gives('fresh 1'));
  assert.deepEqual([all.attaches(), given.length, asked], [1, 1, 1], 'nobody asked the function of the leader');
  await leader.channel('c').publish(1);
  assert.equal(gateway.requests.at(-1)?.body.token, 'fresh 1');
  await follower.refresh();
  assert.equal(given.length, 2, 'and now somebody did');
  assert.equal(leader.state, 'connected');
});

test('a token that a tab is given and the server does not take, or that its function does not give, is told there, and the leader serves on', async (t) => {
  const all = await crew(t);
  const { gateway } = all;
  const { leader, follower, given } = await two(all);
  gateway.intercept = ({ url }, res) => url === '/v1/commands' && (problem(res, 401, 'unauthorized'), true);
  await assert.rejects(follower.refresh('fresh'), { name: 'FairleadError', code: 'unauthorized' });
  gateway.intercept = () => false;
  await assert.rejects(follower.refresh(() => Promise.reject(new Error('no session'))), { code: 'token' });
  assert.deepEqual([all.attaches(), leader.state, follower.state, given.length <= 2], [1, 'connected', 'connected', true]);
});

test('a token that a tab was given is the next leader\'s also when that tab has gone', async (t) => {
  const { gateway, open } = await crew(t);
  const [leader, next, follower] = [open({ token: () => 'of the leader' }), open({ token: () => 'of the next' }), open({ token: () => 'of the follower' })];
  await connected(leader);
  await Promise.all([next, follower].map(connected));
  await follower.refresh('fresh');
  await Promise.all([follower.close(), leader.close()]);
  await gateway.asked((path, _, { token }) => path === '/v1/attach' && token === 'fresh');
  await connected(next);
  assert.ok(gateway.requests.every(({ body }) => body.token !== 'of the next'));
});

test('a token that was given to a leader that went is the next one\'s, be that who was given it or not', async (t) => {
  for (const third of [true, false]) {
    const all = await crew(t);
    const { gateway, open } = all;
    const leader = open({ token: () => 'of the leader' });
    await connected(leader);
    // Who came first leads next.
    const next = third ? open({ token: () => 'of the next' }) : undefined;
    if (next) await connected(next);
    const follower = open({ token: () => 'of the follower' });
    await connected(follower);
    gateway.intercept = ({ url }) => url === '/v1/commands'; // the answer never comes
    using spy = new Spy(all.scope);
    const refreshed = [follower.refresh('fresh')];
    await gateway.asked(gives('fresh'));
    refreshed.push(follower.refresh('freshest'));
    await spy.first('nudge', ({ token }) => token === 'freshest');
    gateway.intercept = () => false;
    await leader.close();
    await Promise.all(refreshed);
    const heir = next ?? follower;
    await connected(heir);
    assert.ok(heir.diagnostics().attempts.length > 0, 'it leads');
    assert.equal(gateway.requests.filter((r) => r.path === '/v1/attach').at(-1)?.body.token, 'freshest');
    if (!next) continue;
    // It is a token like others: when it is of no use the function is asked.
    gateway.intercept = ({ url }, res) => url === '/v1/attach' && (problem(res, 401, 'expired'), (gateway.intercept = () => false), true);
    gateway.cut();
    await gateway.asked((path, _, { token }) => path === '/v1/attach' && token === 'of the next');
  }
});

test('reconnect() before the function of a refresh() has answered asks it again, and loses nothing', async (t) => {
  const all = await crew(t);
  const { follower } = await two(all);
  const asked: ((token: string) => void)[] = [];
  let again = (): void => {};
  const twice = new Promise<void>((resolve) => (again = resolve));
  const refreshed = follower.refresh(() => new Promise((give) => void (asked.push(give) === 2 ? again() : follower.reconnect())));
  await twice;
  for (const give of asked) give('fresh');
  await refreshed;
  await all.gateway.asked((_, __, { token }) => token === 'fresh');
});
