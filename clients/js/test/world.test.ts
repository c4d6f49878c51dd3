import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../src/client.ts';
import type { Transport } from '../src/frame.ts';
import { matches } from '../src/pattern.ts';
import type { Subscription } from '../src/subscription.ts';
import { World, type Weather } from './support/world.ts';

/** One subscription of a world, and what it must have seen. */
interface Watcher {
  pattern: string;
  sub: Subscription;
  got: string[];
  /** Everything from this place on must have come: it was asked for, or the subscription was ready. */
  from: number;
  /** Nothing before this may have come. */
  notBefore: number;
  ended: boolean;
}

const seq = (id: string): number => Number(id.split('-')[1]);

/** Lives through ten minutes of bad networks, and checks that nobody could tell by what they were given. */
async function live(seed: number, transports: Transport[]): Promise<World> {
  const world = new World(seed);
  const { clock, log } = world;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(clock.random() * list.length)] as T;
  for (let i = 0; i < 20; i++) log.publish(pick(['a.1', 'a.2', 'b.1']), i);
  const client = connect('http://gateway', { transports, fetch: world.fetch, WebSocket: world.WebSocket, clock, buffer: 5 });
  const watchers: Watcher[] = [];
  let sent = 0;
  let acknowledged = 0;
  let reconnects = 0;

  const watch = (): void => {
    const pattern = pick(['a.1', 'a.2', 'a.*', 'b.>', '>', 'a.1']);
    const now = log.messages.length;
    const at = Math.floor(clock.random() * (now + 1));
    const last = Math.floor(clock.random() * 5);
    const how = pick(['after', 'now', 'last'] as const);
    const start = how === 'after' ? { after: `a-${at}` } : how === 'last' ? { last } : {};
    const watcher: Watcher = { pattern, got: [], from: how === 'after' ? at : Infinity, notBefore: how === 'after' ? at : how === 'last' ? 0 : now, ended: false, sub: undefined as unknown as Subscription };
    if (world.dice(0.3)) {
      const messages = client.channel(pattern).subscribe(start);
      watcher.sub = messages;
      void (async () => {
        for await (const { id } of messages) {
          watcher.got.push(id);
          // A consumer with something else to do.
          if (world.dice(0.2)) await new Promise<void>((resolve) => clock.after(clock.random() * 2_000, resolve));
        }
      })();
    } else watcher.sub = client.channel(pattern).subscribe((m) => void watcher.got.push(m.id), start);
    watcher.sub.ready.then(() => (watcher.from = Math.min(watcher.from, log.messages.length)), () => {});
    watchers.push(watcher);
  };

  const weathers: readonly Weather[] = ['fine', 'fine', 'fine', 'refuse', 'swallow', 'mute', 'busy'];
  const acts: (() => void)[] = [
    () => void log.publish(pick(['a.1', 'a.2', 'b.1', 'b.2.3']), 0),
    () => void log.publish(pick(['a.1', 'a.2', 'b.1', 'b.2.3']), 0),
    () => {
      const n = ++sent;
      client.channel('up').publish(n).then(() => acknowledged++, () => {});
    },
    () => {
      for (const kind of world.dice(0.5) ? ['websocket'] : ['websocket', 'text/event-stream', 'application/x-ndjson', 'application/json', 'commands']) world.weather[kind] = pick(weathers);
    },
    () => (world.loss = pick([0, 0, 0.1, 0.3])),
    () => {
      for (const connection of [...world.connections]) connection.cut(world.dice(0.3));
    },
    () => {
      for (const connection of world.connections) connection.send({ op: 'goaway', after_ms: Math.floor(clock.random() * 3_000), reason: 'drain' });
    },
    () => {
      if (world.dice(0.2)) client.reconnect(), reconnects++;
    },
    () => watchers.length < 12 && watch(),
    () => {
      const leaver = pick(watchers);
      if (!leaver || leaver.ended || !world.dice(0.3)) return;
      leaver.ended = true;
      leaver.sub.unsubscribe();
    },
  ];
  watch();
  watch();
  for (let i = 0; i < 600; i++) {
    pick(acts)();
    await clock.run(clock.random() * 2_000);
  }

  // The storm is over: everything that is missing comes.
  for (const kind of Object.keys(world.weather)) world.weather[kind] = 'fine';
  world.loss = 0;
  await clock.run(120_000);
  assert.equal(client.state, 'connected');

  const up = log.messages.filter((m) => m.channel === 'up').map((m) => m.data);
  assert.deepEqual(up, Array.from({ length: sent }, (_, i) => i + 1), 'each publish stored once, in order');
  assert.equal(acknowledged, sent, 'and acknowledged');
  for (const { pattern, sub, got, from, notBefore, ended } of watchers) {
    const name = `${pattern} from ${from}`;
    const mine = log.messages.filter((m) => matches(pattern, m.channel)).map((m) => m.id);
    const first = got[0] === undefined ? mine.length : mine.indexOf(got[0]);
    const whole = mine.slice(first, ended ? first + got.length : undefined);
    assert.deepEqual(got, whole, `${name}: each once, in order, without a hole`);
    assert.ok(got.every((id) => seq(id) > notBefore), `${name}: nothing from before its start`);
    if (!ended) {
      await sub.ready;
      assert.deepEqual(got.filter((id) => seq(id) > from), mine.filter((id) => seq(id) > from), `${name}: everything from its start on`);
    }
  }
  const closed = client.close();
  await clock.run(2_000);
  await closed;

  // No hot loop: within any ten seconds there are few attempts, but for those that the application wanted.
  const { attempts } = world;
  for (let i = 0, j = 0; i < attempts.length; i++) {
    while ((attempts[i] ?? 0) - (attempts[j] ?? 0) > 10_000) j++;
    assert.ok(i - j < 60 + reconnects, `${i - j} attempts in ten seconds`);
  }
  return world;
}

const ladders: Transport[][] = [['websocket', 'sse', 'poll'], ['websocket'], ['sse'], ['stream', 'poll'], ['poll']];
const seeds = Number(process.env['WORLDS'] ?? 4);
const first = Number(process.env['WORLD'] ?? 1);

for (const ladder of ladders) {
  test(`in ${seeds} bad worlds nothing is lost, repeated or reordered, and nothing loops: ${ladder.join(', ')}`, async () => {
    for (let seed = first; seed < first + seeds; seed++) {
      try {
        await live(seed, ladder);
      } catch (error) {
        throw new Error(`WORLD=${seed} WORLDS=1`, { cause: error });
      }
    }
  });
}

test('the same seed is the same world', async () => {
  const [a, b] = [await live(7, ['websocket', 'sse', 'poll']), await live(7, ['websocket', 'sse', 'poll'])];
  assert.deepEqual(a.attempts, b.attempts);
  assert.ok(a.requests > 20);
});
