import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../src/error.ts';
import { Holder, upTo } from './support/holder.ts';

const day = 86_400_000;

for (const transport of ['websocket', 'sse', 'stream', 'poll'] as const) {
  describe(`a token over ${transport}`, () => {
    test('is refreshed three times on one attachment: nothing is lost, repeated or told', async () => {
      const h = new Holder([transport]);
      const inbox = h.inbox('c');
      await h.traffic('c', 150_000);
      assert.deepEqual(inbox.data, upTo(300));
      assert.equal(h.asked, 4);
      assert.deepEqual([h.states, h.errors], [['connecting', 'connected'], []]);
      assert.equal(h.world.cluster.attached, transport === 'poll' ? 0 : 1);
      assert.equal(h.client.diagnostics().count, 1);
      h.unblamed();
      await h.close();
    });

    test('is asked for once, also for requests and reconnects of the network, until it is due', async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      h.inbox('c');
      await h.run(1_000);
      for (let i = 0; i < 5; i++) {
        const ack = h.client.channel('c').publish(i);
        await h.run(1_000);
        await ack;
        for (const connection of [...h.world.connections]) h.world.cut(connection, false);
        await h.run(5_000);
      }
      assert.deepEqual([h.asked, h.client.state], [1, 'connected']);
      await h.close();
    });

    test('that has expired is replaced at once: what was published meanwhile is stored once, in order, and nothing is told', async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      const inbox = h.inbox('c');
      await h.run(1_000);
      for (const grant of h.issuer.made) Object.assign(grant, { until: h.world.clock.now() });
      const acks = [1, 2, 3].map((n) => h.client.channel('c').publish(n));
      await h.run(1_000);
      await Promise.all(acks);
      await h.run(30_000);
      assert.deepEqual(inbox.data, [1, 2, 3]);
      assert.deepEqual(h.world.log.messages.map((m) => m.data), [1, 2, 3]);
      assert.deepEqual([h.asked, h.errors, h.client.state], [2, [], 'connected']);
      if (transport !== 'poll') assert.equal(h.world.cluster.attached, 1, 'it was given the new one');
      h.unblamed();
      await h.close();
    });

    test('that expires while nothing is sent ends the attachment after the grace, and another is there at once', async () => {
      const h = new Holder([transport]);
      h.issuer.life = 30_000;
      h.issuer.grace = 3_000;
      const inbox = h.inbox('c');
      await h.run(1_000);
      h.give = () => new Promise(() => {}); // it hangs
      await h.run(25_000);
      h.give = h.issuer.issue;
      await h.traffic('c', 30_000);
      assert.deepEqual([inbox.data, h.client.state], [upTo(60), 'connected']);
      assert.ok(h.asked <= 5, String(h.asked));
      h.unblamed();
      await h.close();
    });

    test('that is revoked is asked for once more, and what serves goes on from where it was', async () => {
      const h = new Holder([transport]);
      h.issuer.life = day;
      const inbox = h.inbox('c');
      await h.traffic('c', 2_000);
      h.world.cluster.revoke();
      await h.traffic('c', 30_000);
      assert.deepEqual(inbox.data, upTo(64));
      assert.deepEqual([h.asked, h.errors, h.client.state], [2, [], 'connected']);
      h.unblamed();
      await h.close();
    });

    test('that is no good twice is the end of it, told once; refresh() and reconnect() go on', async () => {
      for (const way of ['refresh', 'reconnect'] as const) {
        const h = new Holder([transport]);
        const inbox = h.inbox('c');
        await h.traffic('c', 2_000);
        h.world.cluster.revoke();
        const { give } = h;
        h.give = () => 'secret-0-0';
        const ack = h.client.channel('c').publish('kept');
        await h.run(3_600_000);
        assert.deepEqual(h.errors.map((e) => e.code), ['unauthorized']);
        assert.ok(h.asked <= 3, String(h.asked));
        assert.equal(h.client.state, 'refused');
        assert.equal(h.states.filter((s) => s === 'refused').length, 1);
        h.unblamed();
        h.page.tell('online');
        await h.run(60_000);
        assert.equal(h.client.state, 'refused', 'that is nothing that the network could change');
        h.give = give;
        h.client[way]();
        await h.run(1_000);
        await ack;
        assert.deepEqual([h.client.state, inbox.data], ['connected', [...upTo(4), 'kept']]);
        await h.close();
      }
    });

    test('that is a constant is final when it has expired: told once', async () => {
      const h = new Holder([transport], { token: 'secret-1-0' });
      h.issuer.made.push({ token: 'secret-1-0', until: 60_000, sub: 'ann', denies: [], revoked: false });
      const inbox = h.inbox('c');
      await h.traffic('c', 60_000);
      assert.equal(h.client.state, 'connected');
      await h.run(3_600_000);
      assert.deepEqual(h.errors.map((e) => e.code), ['expired']);
      assert.deepEqual([inbox.data, h.client.state], [upTo(120), 'refused']);
      h.client.refresh(h.issuer.issue());
      await h.traffic('c', 2_000);
      assert.deepEqual([inbox.data, h.client.state], [upTo(124), 'connected']);
      h.unblamed();
      await h.close();
    });

    test('that never lives for long keeps nobody busy', async () => {
      for (const life of [2_000, 100, 0, -5_000]) {
        const h = new Holder([transport]);
        h.issuer.life = life;
        h.inbox('c');
        h.client.channel('c').publish(1).catch(() => {});
        await h.run(120_000);
        assert.ok(h.asked <= 40 && h.asked >= 5, `life ${life}: asked ${h.asked} times in two minutes`);
        assert.ok(h.world.requests <= 150, `life ${life}: ${h.world.requests} requests`);
        assert.ok(h.errors.length <= 1 && h.errors.every((e) => e.code === 'expired'), h.errors.map(String).join());
        h.unblamed();
        await h.close();
      }
    });

    test('that is no good when it is refreshed is asked for again while the old one lasts', async () => {
      const h = new Holder([transport]);
      const inbox = h.inbox('c');
      await h.run(1_000);
      h.give = () => {
        h.give = h.issuer.issue;
        return 'secret-0-0';
      };
      await h.traffic('c', 58_000);
      assert.deepEqual([inbox.data, h.asked, h.errors], [upTo(116), 3, []]);
      if (transport !== 'poll') assert.deepEqual(h.states, ['connecting', 'connected']);
      h.unblamed();
      await h.close();
    });

    test('of somebody else has its own attachment', async () => {
      const h = new Holder([transport]);
      const inbox = h.inbox('c');
      await h.traffic('c', 2_000);
      h.issuer.sub = 'bob';
      h.client.refresh();
      await h.traffic('c', 3_000);
      assert.deepEqual([inbox.data, h.errors, h.client.state, h.asked], [upTo(10), [], 'connected', 2]);
      assert.equal(h.world.cluster.attached, transport === 'poll' ? 0 : 2);
      h.unblamed();
      await h.close();
    });

    test('that was asked for before the application gave another is not shown any more', async () => {
      const h = new Holder([transport]);
      const inbox = h.inbox('c');
      await h.run(1_000);
      const [late, other] = [h.issuer.issue(), h.issuer.issue()];
      h.give = () => new Promise((resolve) => h.world.clock.after(3_000, () => resolve(late)));
      h.client.refresh();
      await h.run(1_000);
      h.client.refresh(() => other);
      await h.run(4_000);
      assert.ok(!h.issuer.shown.has(late));
      for (const grant of h.issuer.made) if (grant.token !== other) grant.revoked = true;
      const ack = h.client.channel('c').publish(1);
      await h.run(1_000);
      await ack;
      assert.deepEqual([inbox.data, h.asked, h.states], [[1], 2, ['connecting', 'connected']]);
      await h.close();
    });

    test('that comes slowly is not waited for: the old one does', async () => {
      const h = new Holder([transport]);
      const inbox = h.inbox('c');
      await h.run(1_000);
      h.give = () => new Promise((resolve) => h.world.clock.after(5_000, () => resolve(h.issuer.issue())));
      await h.run(39_000);
      for (let n = 1; n <= 15; n++) {
        const began = h.world.clock.now();
        let took = Infinity;
        void h.client.channel('c').publish(n).then(() => (took = h.world.clock.now() - began));
        await h.run(1_000);
        assert.ok(took < 500, `publish ${n} took ${took}`);
      }
      assert.deepEqual([inbox.data, h.asked], [upTo(15), 2]);
      await h.close();
    });

    test('that the function does not give is asked for again, told when it fails again, and the attachment goes on meanwhile', async () => {
      const h = new Holder([transport]);
      const inbox = h.inbox('c');
      await h.run(1_000);
      h.give = () => Promise.reject(new Error('offline'));
      await h.traffic('c', 59_000);
      assert.deepEqual(h.states, ['connecting', 'connected']);
      assert.deepEqual(h.errors.map((e) => e.code), ['token']);
      assert.ok(h.asked >= 3 && h.asked <= 10, String(h.asked));
      h.give = h.issuer.issue;
      await h.traffic('c', 60_000);
      assert.deepEqual(inbox.data, upTo(238));
      assert.equal(h.client.state, 'connected');
      await h.close();
    });

    test('that grants less ends what it does not grant: that is told, not asked for again, and the others go on', async () => {
      const h = new Holder([transport]);
      const [kept, lost] = [h.inbox('c'), h.inbox('d')];
      await h.traffic('d', 2_000);
      assert.deepEqual([lost.data.length, lost.ready], [4, true]);
      h.issuer.denies = ['d', 'e'];
      await h.run(60_000);
      assert.deepEqual([lost.ended, h.errors.map((e) => e.code), kept.ended], ['forbidden', ['forbidden'], undefined]);
      await h.traffic('c', 2_000);
      assert.equal(kept.data.length, 4);
      for (const connection of [...h.world.connections]) h.world.cut(connection, false);
      await h.traffic('c', 5_000);
      assert.equal(kept.data.length, 14);
      assert.deepEqual(h.client.diagnostics().subscriptions.map((s) => s.pattern), ['c']);
      const e = h.inbox('e');
      await h.run(1_000);
      assert.deepEqual([e.ready, e.ended, h.client.state], [false, 'forbidden', 'connected']);
      h.issuer.denies = [];
      await h.run(60_000);
      const again = h.inbox('d');
      await h.run(2_000);
      assert.deepEqual([again.ready, again.data.length], [true, 4]);
      await h.close();
    });

    test('that does not grant all that is asked for at first gets the rest', async () => {
      const h = new Holder([transport]);
      h.issuer.denies = ['d'];
      const [kept, denied] = [h.inbox('c'), h.inbox('d')];
      await h.traffic('c', 2_000);
      assert.deepEqual([denied.ready, denied.ended, kept.ready, kept.data], [false, 'forbidden', true, upTo(4)]);
      const fresh = h.client.channel('d').subscribe(() => {}); // from now on: a poll asks for that alone
      await h.run(2_000);
      await assert.rejects(fresh.ready, { code: 'forbidden' });
      await h.traffic('c', 2_000);
      assert.deepEqual([kept.data, h.client.state], [upTo(8), 'connected']);
      await h.close();
    });

    test('that grants nothing of what is asked for is the end of it, told once', async () => {
      const h = new Holder([transport]);
      h.issuer.denies = ['d'];
      h.inbox('d');
      await h.run(3_600_000);
      assert.deepEqual([h.errors.map((e) => e.code), h.client.state, h.asked], [['forbidden'], 'refused', 1]);
      h.unblamed();
      h.issuer.denies = [];
      h.client.reconnect();
      await h.run(1_000);
      assert.equal(h.client.state, 'connected');
      await h.close();
    });

    test('that the application has anew is given to what serves at once', async () => {
      const h = new Holder([transport]);
      const inbox = h.inbox('c');
      await h.traffic('c', 2_000);
      h.client.refresh();
      await h.traffic('c', 2_000);
      assert.equal(h.asked, 2);
      const other = h.issuer.issue();
      h.client.refresh(() => other);
      await h.traffic('c', 2_000);
      for (const grant of h.issuer.made) if (grant.token !== other) grant.revoked = true;
      const ack = h.client.channel('c').publish(13);
      await h.traffic('x', 1_000);
      await ack;
      assert.deepEqual([inbox.data, h.asked, h.states], [upTo(13), 2, ['connecting', 'connected']]);
      await h.close();
    });
  });
}

describe('a token', () => {
  const ladder = ['websocket', 'sse', 'stream', 'poll'] as const;

  test('that has expired while the page slept is replaced by the time that anybody could notice', async () => {
    const h = new Holder(ladder);
    const inbox = h.inbox('c');
    await h.run(5_000);
    h.page.freeze();
    for (const connection of [...h.world.connections]) h.world.cut(connection, true);
    await h.run(3_600_000);
    h.world.log.publish('c', 1);
    h.page.thaw();
    await h.run(1_000);
    assert.deepEqual([inbox.data, h.errors, h.asked], [[1], [], 2]);
    await h.run(30_000);
    assert.equal(h.client.transport, 'websocket');
    h.unblamed();
    await h.close();
  });

  test('that is refused while others are tried is no reason to try them with it', async () => {
    const h = new Holder(ladder);
    h.give = () => (h.asked === 1 ? 'secret-0-0' : h.issuer.issue());
    const inbox = h.inbox('c');
    await h.traffic('c', 3_000);
    assert.deepEqual([inbox.data, h.asked, h.client.transport, h.errors], [upTo(6), 2, 'websocket', []]);
    h.unblamed();
    await h.close();
  });

  test('goes to what is climbed to as well', async () => {
    const h = new Holder(ladder);
    h.issuer.life = 20_000;
    h.world.change('websocket', { ...h.world.weather.websocket, open: 'refuse' });
    const inbox = h.inbox('c');
    await h.traffic('c', 25_000);
    assert.equal(h.client.transport, 'sse');
    h.world.change('websocket', { ...h.world.weather.websocket, open: 'pass' });
    await h.traffic('c', 125_000);
    assert.deepEqual([h.client.transport, inbox.data, h.errors], ['websocket', upTo(300), []]);
    assert.ok(h.asked >= 8 && h.asked <= 14, String(h.asked));
    await h.close();
  });

  test('reaches what was being attached when it came', async () => {
    const h = new Holder(['websocket', 'sse']);
    h.issuer.life = day;
    h.world.change('websocket', { ...h.world.weather.websocket, open: 'refuse' });
    h.inbox('c');
    await h.run(25_000);
    h.world.change('websocket', { ...h.world.weather.websocket, open: 'pass', delay: 2_000 });
    while (h.client.diagnostics().attempts.length < 2) await h.run(10);
    h.client.refresh();
    await h.run(20_000);
    assert.equal(h.client.transport, 'websocket');
    h.issuer.shown.clear();
    const ack = h.client.channel('c').publish(1);
    await h.run(10_000);
    await ack;
    assert.deepEqual([...h.issuer.shown], [h.issuer.made[1]?.token], 'what serves has the second');
    await h.close();
  });

  test('of which a poll learns nothing when it is refused a part is renewed all the same', async () => {
    const h = new Holder(['poll']);
    h.issuer.denies = ['d'];
    const inbox = h.inbox('c');
    h.client.channel('d').subscribe(() => {});
    await h.traffic('c', 100_000);
    assert.deepEqual([inbox.data, h.asked, h.states], [upTo(200), 3, ['connecting', 'connected']]);
    await h.close();
  });

  test('that grants not even a poll for nothing ends it: no loop', async () => {
    const h = new Holder(['poll']);
    await h.run(1_000);
    h.world.cluster.admit = () => ({ code: 'forbidden', message: 'no' });
    await h.run(120_000);
    assert.deepEqual([h.client.state, h.errors.map((e) => e.code)], ['refused', ['forbidden']]);
    assert.ok(h.world.requests < 20, String(h.world.requests));
    await h.close();
  });

  test('without one, a cookie may have been renewed: what expired is tried again', async () => {
    for (const transport of ladder) {
      const h = new Holder([transport], {}, false);
      const { admit, commands } = h.world.cluster;
      let cookie = h.issuer.issue();
      h.world.cluster.admit = (body) => admit.call(h.world.cluster, { ...body, token: cookie });
      h.world.cluster.commands = (body) => commands.call(h.world.cluster, { ...body, token: cookie });
      const inbox = h.inbox('c');
      await h.traffic('c', 50_000);
      cookie = h.issuer.issue(); // by some request of the page
      await h.traffic('c', 60_000);
      assert.deepEqual([inbox.data, h.errors, h.client.state], [upTo(220), [], 'connected']);
      assert.equal(h.client.diagnostics().renewal, Infinity, 'there is nothing to ask for');
      h.world.cluster.revoke();
      await h.run(3_600_000);
      assert.deepEqual([h.errors.map((e) => e.code), h.client.state], [['unauthorized'], 'refused']);
      h.unblamed();
      await h.close();
    }
  });

  test('a close that says why is as good as an error that does', async () => {
    for (const [code, name] of [[4401, 'unauthorized'], [4403, 'forbidden'], [4419, 'expired']] as const) {
      const h = new Holder(['websocket'], { token: 'constant' });
      h.world.cluster.issuer = undefined;
      h.world.cluster.attach = (_, __, peer) => (peer.end(code), 'n1.0');
      await h.run(60_000);
      assert.deepEqual([h.errors.map((e) => e instanceof FairleadError && e.code), h.client.state], [[name], 'refused']);
      h.unblamed();
      await h.close();
    }
  });
});
