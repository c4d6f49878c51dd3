import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as source from '../src/index.ts';
import { defaults } from '../src/policy.ts';
import type { Body } from './support/cluster.ts';
import { connected, crew } from './support/crew.ts';
import { Inbox, next, range } from './support/events.ts';
import { Holder } from './support/holder.ts';
import { Life } from './support/life.ts';
import { Shelf } from './support/page.ts';

/*
 * The bundle that the gateway serves has other names for some properties (see bundle.go). Whatever crosses its border is as the
 * source has it: what goes over the network, what is stored, what the application gives and gets, and what other tabs hear.
 */

const bundle = (await import(new URL('../bundle/client.js', import.meta.url).href)) as typeof source;

/** As text, without what is random. */
const plain = (what: unknown): string =>
  JSON.stringify(what, (name, value: unknown) => (name === 'session' || name === 'key' ? 'random' : value === Infinity ? 'Infinity' : value instanceof Error ? { ...value, text: String(value), has: Object.keys(value) } : value));

test('it exports what the source does', () => {
  assert.deepEqual(Object.keys(bundle), Object.keys(source));
});

test('it lives the same lives, and sends the same', async () => {
  for (const ladder of [['websocket', 'sse', 'stream', 'poll'], ['stream', 'poll']] as const) {
    for (let seed = 1; seed <= 15; seed++) {
      const told: string[] = [];
      for (const { connect } of [source, bundle]) {
        const life = new Life(seed, { ladder, tokens: true, connects: connect });
        const { cluster } = life.world;
        const { attach, poll, commands, command } = cluster;
        let sent = '';
        const note = <T>(what: T): T => ((sent += `${plain(what)}\n`), what);
        cluster.attach = (node, body, peer) => attach.call(cluster, node, note(body), peer);
        cluster.poll = (body, answer) => poll.call(cluster, note(body), answer);
        cluster.commands = (body: Body) => commands.call(cluster, note(body));
        cluster.command = (id, frame) => command.call(cluster, id, note(frame));
        const { trace } = await life.live();
        told.push(trace + sent);
      }
      assert.equal(told[1], told[0], `seed ${seed}`);
    }
  }
});

test('it takes the same options, tells the same, and stores the same', async () => {
  const times = Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, typeof value === 'number' ? Math.ceil(value * 0.9) : value]));
  const { ladder: _, ...timing } = times as unknown as typeof defaults;
  const told: string[] = [];
  for (const { connect } of [source, bundle]) {
    const [storage, persist] = [new Shelf(), new Shelf()];
    const options: source.ConnectOptions = { timing, storage, persist, beat: 6_000, session: 'mine', outbox: 3, buffer: 2, credentials: 'include' };
    const h = new Holder(['websocket', 'sse', 'stream', 'poll'], options, true, connect);
    h.issuer.life = 20_000;
    const events: unknown[] = [];
    for (const type of ['state', 'transport', 'switch', 'offline', 'gap', 'error', 'message'] as const) h.client.on(type, (event) => events.push(type, event));
    h.world.change('websocket', { ...h.world.weather.websocket, open: 'refuse' });
    h.inbox('c');
    h.client.channel('c').subscribe({ last: 3 });
    await h.traffic('c', 25_000);
    for (let n = 1; n <= 4; n++) h.client.channel('c').publish(n, { type: 't' }).catch((error: unknown) => events.push(error));
    h.client.channel('c').publish(5, { signal: AbortSignal.abort(new Error('mine')) }).catch((error: unknown) => events.push(String(error)));
    await h.run(100);
    h.world.cluster.revoke();
    h.give = () => Promise.reject(new Error('none'));
    await h.run(10_000);
    h.client.refresh('secret-0-0').catch((error: unknown) => events.push(error));
    h.client.channel('c').publish(new Uint8Array([0, 6])).catch((error: unknown) => events.push(error));
    await h.run(10_000);
    h.client.refresh(h.issuer.issue).then(() => events.push('refreshed'), () => {});
    h.world.leave('refuse');
    await h.run(10_000);
    h.world.return(1);
    await h.traffic('c', 30_000, 5_000);
    const { state, transport, cursor, session } = h.client;
    const { log, ...diagnostics } = h.client.diagnostics();
    told.push(plain([events, { state, transport, cursor, session }, diagnostics, log, [...storage.values], [...persist.values]]));
    for (const name of ['lacking', 'renewal', 'fairlead:', 'refreshed', 'connected', 'transport']) assert.ok(told.at(-1)?.includes(name), name);
    await h.close();
  }
  assert.equal(told[1], told[0]);
});

test('it shares an attachment with tabs of the source', async (t) => {
  const all = await crew(t, bundle.connect);
  const { gateway } = all;
  const leader = all.open({ token: () => 'of the leader' });
  await connected(leader);
  const follower = all.open({ token: () => 'of the follower' });
  await connected(follower);
  const inboxes = [new Inbox(), new Inbox()];
  await Promise.all([leader, follower].map((client, i) => client.channel('c').subscribe((inboxes[i] as Inbox).take).ready));
  await follower.channel('c').publish(1);
  await assert.rejects(follower.refresh(() => Promise.reject(new Error('none'))), { code: 'token' });
  await follower.refresh('fresh');
  assert.deepEqual((await leader.channel('c').history({ after: '0', limit: 1 })).messages.map((m) => m.data), [1]);
  const twice = await Promise.all([1, 2].map((n) => leader.channel('up').publish(n, { key: 'k' })));
  assert.deepEqual(twice.map((ack) => ack.duplicate), [false, true]);
  const slow = follower.channel('c').subscribe({ after: 'a-0' });
  assert.equal((await slow.next()).value?.data, 1);
  slow.unsubscribe();
  const leads = next(follower, 'state', (e) => e.state === 'connecting');
  await leader.close();
  await leads;
  await connected(follower);
  for (const n of range(2, 5)) gateway.log.publish('c', n);
  await inboxes[1]?.has(5);
  assert.deepEqual(inboxes[1]?.data, range(1, 5));
});
