import assert from 'node:assert/strict';
import { test } from 'node:test';
import { still } from './support/dial.ts';
import { next } from './support/events.ts';
import { Gateway } from './support/gateway.ts';

test('diagnostics are plain data that say what is tried, what works and what waits, and hold no secret', async () => {
  await using gateway = await Gateway.start();
  const { client } = still(gateway, 'refuse', { token: 'secret', transports: ['websocket', 'sse'], session: 'mine' });
  const report = (): ReturnType<typeof client.diagnostics> => {
    const text = JSON.stringify(client.diagnostics());
    assert.doesNotMatch(text, /secret/);
    return JSON.parse(text) as ReturnType<typeof client.diagnostics>;
  };
  assert.deepEqual([report().state, report().phase, report().attempts], ['connecting', 'idle', []]);
  client.channel('c').subscribe(() => {}, { after: 'a-0' });
  await next(client, 'transport');
  gateway.intercept = (_, __, body) => body.commands !== undefined;
  client.channel('c').publish({ private: 'secret' }).catch(() => {});
  const { state, session, position, attempts, subscriptions, waiting, rungs, log, policy } = report();
  assert.deepEqual([state, session, position, waiting], ['connected', 'mine', 'a-0', 1]);
  assert.deepEqual(attempts.map((a) => [a.transport, a.stage]), [['sse', 'main']]);
  assert.deepEqual(subscriptions, [{ pattern: 'c', cursor: 'a-0' }]);
  assert.deepEqual([rungs.websocket.bad, policy.ladder], [true, ['websocket', 'sse']]);
  assert.deepEqual(log.map((note) => (note as unknown as { type: string }).type).slice(0, 4), ['state', 'attach', 'ended', 'attach']);
  assert.ok(log.every(({ at }) => at >= 1_700_000_000_000));
  gateway.intercept = () => false;
  await client.close();
  assert.deepEqual([report().state, report().attempts, report().subscriptions], ['closed', [], []]);
});

test('the log of a client that fails for long keeps the last fifty notes', async () => {
  await using gateway = await Gateway.start();
  const { client } = still(gateway, 'serve', { transports: ['websocket'] });
  for (let i = 0; i < 60; i++) client.reconnect();
  assert.equal(client.diagnostics().log.length <= 50, true);
  await next(client, 'state', (e) => e.state === 'connected');
  for (let i = 0; i < 60; i++) client.reconnect();
  assert.equal(client.diagnostics().log.length, 50);
  await client.close();
});

test('one is a copy: it does not change while it is read', async () => {
  await using gateway = await Gateway.start();
  const { client } = still(gateway);
  const before = client.diagnostics();
  const text = JSON.stringify(before);
  await next(client, 'state', (e) => e.state === 'connected');
  assert.equal(JSON.stringify(before), text);
  await client.close();
});
