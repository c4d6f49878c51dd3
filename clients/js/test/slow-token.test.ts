import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Holder, upTo } from './support/holder.ts';

// The application's function takes its time, or never comes back: that is nobody's fault but its own.

const ladder = ['websocket', 'sse', 'stream', 'poll'] as const;
const day = 86_400_000;

/** From now on the function takes so long. */
function slow(h: Holder, ms: number): void {
  h.give = () => new Promise((resolve) => h.world.clock.after(ms, () => resolve(h.issuer.issue())));
}

describe('a token that comes slowly', () => {
  test('at first is waited for, and then the race begins: of its time nothing counts', async () => {
    for (const took of [3_900, 4_100, 7_900]) {
      const h = new Holder(ladder);
      slow(h, took);
      const inbox = h.inbox('c');
      await h.run(took - 1);
      assert.deepEqual([h.client.diagnostics().count, h.world.requests, h.client.state], [0, 0, 'connecting'], 'nothing begins');
      await h.traffic('c', 2_000);
      assert.deepEqual([inbox.data, h.client.transport, h.asked, h.errors], [upTo(4), 'websocket', 1, []]);
      assert.equal(h.client.diagnostics().count, 2, 'a WebSocket, and the first poll beside it');
      h.unblamed();
      await h.close();
    }
  });

  for (const transport of ladder) {
    test(`${transport}: when the last one was refused is waited for by itself: no race, no strike, however short round trips are`, async () => {
      const h = new Holder([transport, ...ladder.filter((t) => t !== transport)]);
      h.issuer.life = day;
      const inbox = h.inbox('c');
      await h.traffic('c', 60_000);
      const { count } = h.client.diagnostics();
      assert.equal(h.client.transport, transport);
      slow(h, 7_500);
      h.world.cluster.revoke();
      const requests = h.world.requests;
      await h.run(7_000);
      assert.ok(h.world.requests - requests <= 2, 'one that is refused, and nothing while it is waited for');
      // A poll finds out when it is answered.
      assert.deepEqual([h.client.diagnostics().count, h.client.state], [count, transport === 'poll' ? 'connected' : 'connecting']);
      await h.traffic('c', 30_000);
      assert.deepEqual([inbox.data, h.client.transport, h.asked, h.errors], [upTo(180), transport, 2, []]);
      h.unblamed();
      await h.close();
    });

    test(`${transport}: when the application wants another is not waited for: what serves goes on with what it has`, async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      const inbox = h.inbox('c');
      await h.run(40_000);
      slow(h, 7_900);
      const refreshed = h.client.refresh();
      for (let n = 1; n <= 7; n++) {
        let took = Infinity;
        const began = h.world.clock.now();
        void h.client.channel('c').publish(n).then(() => (took = h.world.clock.now() - began));
        await h.run(1_000);
        assert.ok(took < 500, `publish ${n} took ${took}`);
      }
      await h.run(2_000);
      await refreshed;
      assert.deepEqual([inbox.data, h.asked, h.states, h.errors], [upTo(7), 2, ['connecting', 'connected'], []]);
      assert.equal(h.client.diagnostics().count, 1);
      h.unblamed();
      await h.close();
    });
  }

  test('does not keep what is better from being tried when it is there', async () => {
    const h = new Holder(['websocket', 'sse']);
    h.issuer.life = day;
    h.world.change('websocket', { ...h.world.weather.websocket, open: 'refuse' });
    h.inbox('c');
    await h.run(29_000);
    h.world.change('websocket', { ...h.world.weather.websocket, open: 'pass' });
    slow(h, 6_000);
    h.client.refresh();
    await h.run(5_900);
    assert.deepEqual([h.client.transport, h.client.diagnostics().attempts.length], ['sse', 1], 'it is due, and waits');
    await h.run(3_000);
    assert.deepEqual([h.client.transport, h.asked], ['websocket', 2]);
    await h.close();
  });

  test('and is over its limit is asked for again, told once, less and less often, and the network is not blamed', async () => {
    const h = new Holder(ladder);
    h.give = () => new Promise(() => {});
    h.inbox('c');
    const calls: number[] = [];
    for (let asked = 0; h.world.clock.now() < 120_000; await h.run(100)) {
      if (h.asked > asked) calls.push(h.world.clock.now());
      asked = h.asked;
    }
    assert.equal(calls[1], 8_000);
    assert.ok(calls.length >= 5 && calls.length <= 12, String(calls));
    assert.deepEqual([h.errors.map((e) => e.code), h.world.requests, h.client.diagnostics().offline], [['token'], 0, false]);
    h.unblamed();
    h.give = h.issuer.issue;
    h.page.tell('online');
    await h.run(9_000);
    assert.equal(h.client.transport, 'websocket');
    await h.close();
  });

  test('or not at all, while the network is away, is asked for at once when that is back', async () => {
    const h = new Holder(ladder);
    h.give = () => Promise.reject(new TypeError('fetch failed'));
    h.inbox('c');
    await h.run(60_000);
    assert.equal(h.client.state, 'waiting');
    h.give = h.issuer.issue;
    h.page.tell('online');
    await h.run(1_000);
    assert.deepEqual([h.client.transport, h.errors.map((e) => e.code)], ['websocket', ['token']]);
    h.unblamed();
    await h.close();
  });

  test('and is none, for a visitor, is as good as no function', async () => {
    const h = new Holder(ladder, { token: () => undefined as unknown as string });
    h.world.cluster.issuer = undefined;
    h.inbox('c');
    await h.run(10_000);
    assert.deepEqual([h.client.transport, h.client.diagnostics().count, h.errors], ['websocket', 2, []]);
    await h.close();
  });
});
