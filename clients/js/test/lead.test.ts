import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realClock, type Clock } from '../src/clock.ts';
import type { Session } from '../src/session.ts';
import { connected, crew, hasty, occupy, published, Spy, tapped } from './support/crew.ts';
import { Inbox, next, range } from './support/events.ts';

test('a leader that does not answer loses the lead; though several take it at once, one keeps it', async (t) => {
  const { gateway, scope, open } = await crew(t);
  const { stolen } = await occupy(scope);
  const inboxes = range(0, 3).map(() => new Inbox());
  const crewed = inboxes.map((inbox) => {
    const client = open({ clock: hasty });
    client.channel('c').subscribe(inbox.take, { after: 'a-0' });
    return client;
  });
  await stolen;
  for (const n of range(1, 5)) gateway.log.publish('c', n);
  await Promise.all([...inboxes.map((inbox) => inbox.has(5)), ...crewed.map(connected)]);
  for (const inbox of inboxes) assert.deepEqual(inbox.data, range(1, 5));
  assert.equal(crewed.filter((client) => client.diagnostics().attempts.length > 0).length, 1);
});

test('a tab that comes to be visible asks at once whether its leader is there', async (t) => {
  const { gateway, scope, share, open } = await crew(t);
  const { stolen } = await occupy(scope);
  using spy = new Spy(scope);
  let session: Session | undefined;
  let throttled = true; // as the timers of a hidden page
  const clock: Clock = { ...hasty, after: (ms, fn) => (throttled ? () => {} : hasty.after(ms, fn)) };
  const follower = open({ clock, share: tapped(share, (own) => (session = own)) });
  const { tab } = await spy.first('ask');
  const channel = new BroadcastChannel(`${scope}:${tab}`);
  channel.postMessage({ op: 'here', term: 0, state: 'connected', transport: 'sse', session: 'theirs', position: null, served: {}, newest: 0 });
  channel.close();
  await connected(follower);
  throttled = false;
  session?.retry('visible');
  await stolen;
  await connected(follower);
  assert.equal(gateway.requests.filter((r) => r.path === '/v1/attach').length, 1);
});

test('a leader that has lost the lead follows; what it was to publish for others is published once', async (t) => {
  const { gateway, scope, open } = await crew(t);
  const leader = open();
  await connected(leader);
  const follower = open();
  const [first, second] = [new Inbox(), new Inbox()];
  await Promise.all([leader.channel('c').subscribe(first.take).ready, follower.channel('c').subscribe(second.take).ready]);
  gateway.intercept = ({ url }) => url === '/v1/commands'; // the answer never comes
  const ack = follower.channel('up').publish(1);
  await gateway.asked((path, _, { commands }) => path === '/v1/commands' && commands?.[0]?.op === 'publish');
  assert.equal(leader.diagnostics().waiting, 1);
  gateway.intercept = () => false;
  const again = [leader, follower].map((client) => next(client, 'state', (e) => e.state === 'connected'));
  const thief = await occupy(scope, { steal: true });
  thief.release();
  await Promise.all([ack, ...again]);
  assert.equal(leader.diagnostics().waiting, 0);
  gateway.log.publish('c', 1);
  await Promise.all([first.has(1), second.has(1)]);
  assert.deepEqual([first.data, second.data], [[1], [1]]);
  assert.deepEqual(gateway.log.messages.filter((m) => m.channel === 'up').map((m) => m.data), [1]);
  assert.equal(published(gateway), 2, 'at first, and by the tab whose it is');
  assert.deepEqual([leader.state, leader.transport, leader.session], ['connected', 'sse', follower.session]);
});

test('nobody heeds a leader of an earlier term', async (t) => {
  const { gateway, scope, open } = await crew(t);
  using spy = new Spy(scope);
  const leader = open();
  await connected(leader);
  const follower = open();
  const inbox = new Inbox();
  await follower.channel('c').subscribe(inbox.take, { after: 'a-0' }).ready;
  const { tab, term, key } = await spy.first('subscribe');
  const channel = new BroadcastChannel(`${scope}:${tab}`);
  const message = { id: 'a-9', channel: 'c', data: 9, time: 1 };
  channel.postMessage({ op: 'message', term: term - 1, key, message });
  channel.close();
  gateway.log.publish('c', 1);
  await inbox.has(1);
  assert.deepEqual(inbox.data, [1]);
});

test('of tabs that take the lead at once, the one that keeps it is heeded, though its term is not the highest', async (t) => {
  const { gateway, scope, open } = await crew(t);
  using spy = new Spy(scope);
  await connected(open());
  const follower = open({ clock: { ...realClock, after: () => () => {} } }); // it cannot find out by waiting
  const inbox = new Inbox();
  await follower.channel('c').subscribe(inbox.take).ready;
  const { term } = await spy.first('subscribe');
  const heeded = spy.first('ask', (ask) => ask.term === term + 1e6);
  spy.write({ op: 'lead', term: term + 1e6 });
  await heeded;
  spy.write({ op: 'over', term: term + 1e6 });
  gateway.log.publish('c', 1);
  await inbox.has(1);
});

test('a leader whose lead is taken away says that its term is over', async (t) => {
  const { scope, open } = await crew(t);
  using spy = new Spy(scope);
  const began = spy.first('lead');
  await connected(open());
  const over = spy.first('over');
  const { release } = await occupy(scope, { steal: true });
  release();
  assert.equal((await over).term, (await began).term);
});
