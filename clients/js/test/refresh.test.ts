import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FairleadError } from '../src/error.ts';
import { Holder, upTo } from './support/holder.ts';

// What refresh() does to what serves, and says of it.

const ladder = ['websocket', 'sse', 'stream', 'poll'] as const;
const day = 86_400_000;

/** How it ended: `done`, the error's code, or nothing yet. */
function outcome(refreshed: Promise<void>): { was: string } {
  const seen = { was: '' };
  refreshed.then(
    () => (seen.was = 'done'),
    (error: FairleadError) => (seen.was = error.code),
  );
  return seen;
}

for (const transport of ladder) {
  describe(`refresh() over ${transport}`, () => {
    test('settles when the server has taken the token', async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      h.inbox('c');
      await h.run(1_000);
      for (const source of [() => undefined, h.issuer.issue, () => h.issuer.issue]) {
        h.issuer.shown.clear();
        const refreshed = outcome(h.client.refresh(source()));
        assert.equal(refreshed.was, '');
        await h.run(1_000);
        assert.equal(refreshed.was, 'done');
        assert.ok(h.issuer.shown.has(h.issuer.made.at(-1)?.token));
      }
      assert.deepEqual([h.states, h.client.diagnostics().count], [['connecting', 'connected'], 1]);
      await h.close();
    });

    test('rejects when the server does not take it, or the function gives none, while what serves goes on', async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      const inbox = h.inbox('c');
      await h.run(1_000);
      h.give = () => Promise.reject(new Error('no session'));
      const none = outcome(h.client.refresh());
      await h.run(100);
      assert.equal(none.was, 'token');
      await h.run(5_000);
      h.give = h.issuer.issue;
      await h.run(30_000);
      const bad = outcome(h.client.refresh('secret-0-0'));
      await h.run(300);
      assert.equal(bad.was, 'unauthorized');
      if (transport !== 'poll') assert.deepEqual(h.states, ['connecting', 'connected']);
      const good = outcome(h.client.refresh(h.issuer.issue));
      await h.traffic('c', 2_000);
      assert.deepEqual([good.was, inbox.data, h.client.state], ['done', upTo(4), 'connected']);
      h.unblamed();
      await h.close();
    });

    test('settles by what came of the newest, though the one before it is answered late', async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      const inbox = h.inbox('c');
      await h.run(1_000);
      const [short, long] = [h.issuer.issue(), h.issuer.issue()];
      for (const grant of h.issuer.made) if (grant.token === short) Object.assign(grant, { until: 12_000 });
      for (const kind of ['commands', transport] as const) h.world.change(kind, { ...h.world.weather[kind], delay: 400 });
      for (const bad of [short, 'secret-0-0']) {
        for (let i = 0; i < 10; i++) {
          const first = outcome(h.client.refresh(bad));
          await h.run(40 * i);
          const second = outcome(h.client.refresh(long));
          await h.run(5_000);
          assert.ok(['done', 'unauthorized', 'expired'].includes(first.was), first.was);
          assert.equal(second.was, 'done');
        }
        assert.equal(h.client.state, 'connected');
      }
      await h.traffic('c', 30_000);
      await h.run(1_000);
      assert.deepEqual([inbox.data, h.client.state], [upTo(60), 'connected']);
      // A poll that shows a constant which is no good has ended.
      if (transport !== 'poll') assert.deepEqual([h.errors, h.states, h.world.cluster.attached], [[], ['connecting', 'connected'], 1], 'it has the one that lasts');
      h.unblamed();
      await h.close();
    });

    test('in a hurry, twice: whichever request arrives first, what serves has the second token', async () => {
      for (let apart = 0; apart <= 100; apart += 10) {
        const h = new Holder([transport]);
        h.issuer.life = day;
        const inbox = h.inbox('c');
        await h.run(1_000);
        const [short, long] = [h.issuer.issue(), h.issuer.issue()];
        for (const grant of h.issuer.made) if (grant.token !== long) Object.assign(grant, { until: 6_000 });
        h.world.change('commands', { ...h.world.weather.commands, delay: 400 });
        for (let dice = 0; dice < apart; dice++) h.world.clock.random(); // each time others
        const both = [outcome(h.client.refresh(short))];
        await h.run(apart);
        both.push(outcome(h.client.refresh(long)));
        await h.traffic('c', 30_000);
        await h.run(1_000);
        assert.deepEqual([both.map((b) => b.was), inbox.data, h.errors, h.client.state], [['done', 'done'], upTo(60), [], 'connected']);
        assert.deepEqual([h.states, h.client.diagnostics().count], [['connecting', 'connected'], 1], `${apart} ms apart`);
        await h.close();
      }
    });

    test('waits for the function that was given last, whatever is answered or fails meanwhile', async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      h.inbox('c');
      await h.run(1_000);
      for (const kind of ['commands', transport] as const) h.world.change(kind, { ...h.world.weather[kind], delay: 300 });
      const after = <T>(ms: number, act: () => T) => () => new Promise<T>((resolve, reject) => h.world.clock.after(ms, () => {
        try {
          resolve(act());
        } catch (error) {
          reject(error as Error);
        }
      }));
      const seen = [outcome(h.client.refresh(h.issuer.issue()))];
      await h.run(5);
      seen.push(outcome(h.client.refresh(after(2_000, () => assert.fail('no session')))));
      await h.run(1_000);
      seen.push(outcome(h.client.refresh(after(3_000, h.issuer.issue))));
      await h.run(2_900);
      if (transport !== 'poll') assert.deepEqual(seen.map((s) => s.was), ['', '', '']);
      h.issuer.shown.clear();
      await h.run(3_000);
      assert.deepEqual([seen.map((s) => s.was), h.states, h.errors], [['done', 'done', 'done'], ['connecting', 'connected'], []]);
      assert.ok(h.issuer.shown.has(h.issuer.made.at(-1)?.token));
      assert.ok(!h.issuer.shown.has(undefined), 'never without');
      await h.close();
    });

    test('where nothing serves settles when it is let in, and before that when it is not', async () => {
      const h = new Holder([transport]);
      h.give = () => 'secret-0-0';
      h.inbox('c');
      await h.run(60_000);
      assert.equal(h.client.state, 'refused');
      const bad = outcome(h.client.refresh());
      await h.run(5_000);
      assert.equal(bad.was, 'unauthorized');
      h.world.leave('refuse');
      const good = outcome(h.client.refresh(h.issuer.issue()));
      await h.run(20_000);
      assert.equal(good.was, '', 'nobody answers');
      h.world.return(0);
      await h.run(40_000);
      assert.deepEqual([good.was, h.client.state], ['done', 'connected']);
      await h.close();
    });

    test('of a client that closes rejects', async () => {
      const h = new Holder([transport]);
      h.inbox('c');
      await h.run(1_000);
      h.give = () => new Promise(() => {});
      const refreshed = outcome(h.client.refresh());
      await h.run(100);
      await h.close();
      assert.equal(refreshed.was, 'closed');
      await assert.rejects(h.client.refresh(), { code: 'closed' });
    });
  });
}

test('refresh() with a token reaches what was being attached when it came', async () => {
  for (const better of ['websocket', 'sse', 'stream'] as const) {
    const h = new Holder([better, 'poll']);
    h.issuer.life = day;
    h.world.change(better, { ...h.world.weather[better], open: 'refuse' });
    h.inbox('c');
    await h.run(25_000);
    h.world.change(better, { ...h.world.weather[better], open: 'pass', delay: 1_000 });
    while (h.client.diagnostics().attempts.length < 2) await h.run(10);
    while (h.world.cluster.attached === 0) await h.run(1);
    const refreshed = outcome(h.client.refresh(h.issuer.issue()));
    await h.run(20_000);
    assert.deepEqual([h.client.transport, refreshed.was], [better, 'done']);
    h.issuer.shown.clear();
    const ack = h.client.channel('c').publish(1);
    await h.run(10_000);
    await ack;
    assert.deepEqual([[...h.issuer.shown], h.errors, h.client.diagnostics().count], [[h.issuer.made.at(-1)?.token], [], 3]);
    await h.close();
  }
});

describe('a cookie', () => {
  /** A client whose requests show a cookie, as a browser's do, and nothing else. */
  function visitor(transport: (typeof ladder)[number]): { h: Holder; renew(): void } {
    const h = new Holder([transport], {}, false);
    const { admit, commands, attach } = h.world.cluster;
    let cookie = h.issuer.issue();
    h.world.cluster.admit = (body) => admit.call(h.world.cluster, { ...body, token: cookie });
    h.world.cluster.attach = (node, body, peer) => attach.call(h.world.cluster, node, { ...body, token: cookie }, peer);
    h.world.cluster.commands = (body) => (assert.equal(body.token, undefined), commands.call(h.world.cluster, { ...body, token: cookie }));
    return { h, renew: () => void (cookie = h.issuer.issue()) };
  }

  for (const transport of ['sse', 'stream', 'poll'] as const) {
    test(`that the page has anew is shown by refresh() over ${transport}: one attachment, nothing lost`, async () => {
      const { h, renew } = visitor(transport);
      const inbox = h.inbox('c');
      for (let i = 0; i < 3; i++) {
        await h.traffic('c', 50_000);
        renew();
        const refreshed = outcome(h.client.refresh());
        await h.traffic('c', 1_000);
        assert.equal(refreshed.was, 'done');
      }
      await h.traffic('c', 50_000);
      assert.deepEqual([inbox.data, h.errors, h.states, h.client.diagnostics().count], [upTo(406), [], ['connecting', 'connected'], 1]);
      assert.equal(h.client.diagnostics().renewal, Infinity, 'there is nothing to ask for');
      await h.close();
    });
  }

  test('is shown by a WebSocket when it is opened, and not again: refresh() does nothing there', async () => {
    const { h } = visitor('websocket');
    h.inbox('c');
    await h.run(1_000);
    const refreshed = outcome(h.client.refresh());
    await h.run(20_000);
    assert.equal(refreshed.was, 'done');
    assert.deepEqual([h.states, h.client.diagnostics().renewal, h.client.diagnostics().count], [['connecting', 'connected'], Infinity, 1]);
    await h.close();
  });
});
