// Fifty messages a second, and in the middle of them the network begins to let WebSockets through: the client moves up from one
// attachment to another while both deliver.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from '../src/index.ts';
import { Course, stored } from './course.ts';
import { Harbour } from './harbour.ts';
import { quantile, tally } from './tally.ts';
import type { Numbered } from './voyage.ts';

const count = 400;
const every = 20;

let harbour: Harbour;
before(async () => {
  harbour = await Harbour.open();
});
after(() => harbour?.close());

for (const below of ['sse', 'stream', 'poll'] as const) {
  test(`from ${below} to websocket in mid-stream nothing is lost, repeated or late`, { timeout: 60_000 }, async (t) => {
    const course = new Course(harbour.url, `switch.${below}`);
    await course.begin();
    let open = false;
    class Blocked extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        // A port that nobody listens on.
        super(open ? url : 'ws://127.0.0.1:9', protocols);
      }
    }
    const got: { n: number; late: number }[] = [];
    const client = connect(harbour.url, { transports: ['websocket', below], WebSocket: Blocked, storage: null, timing: { climbs: [3_000] } });
    const moves: { from: string; to: string; at: number }[] = [];
    client.on('switch', ({ from, to }) => moves.push({ from, to, at: got.length }));
    const whole = new Promise<void>((resolve) => {
      client.channel(course.channel).subscribe(
        ({ data }) => {
          const { n, at } = data as Numbered;
          got.push({ n, late: Date.now() - at });
          if (n === 50) open = true;
          if (n === count) resolve();
        },
        { after: '0' },
      );
    });
    const acks: Promise<unknown>[] = [];
    const up = setInterval(() => acks.length < count / 2 && acks.push(client.channel(`switch.up.${below}`).publish({ n: acks.length + 1 })), 2 * every);
    await Promise.all([course.run(count, every), whole]);
    clearInterval(up);
    await Promise.all(acks);
    await client.close();

    const [, ...live] = got; // the first was there before
    const late = live.map((m) => m.late);
    const around = moves.flatMap(({ at }) => late.slice(Math.max(at - 50, 0), at + 50));
    t.diagnostic(`${moves.map((m) => `${m.from} → ${m.to}`).join(', ')}: p50 ${quantile(late, 0.5)} ms, most ${Math.max(...late)} ms, round the switch ${Math.max(...around)} ms; ${acks.length} up`);
    assert.deepEqual(moves.map(({ from, to }) => [from, to]), [[below, 'websocket']]);
    assert.deepEqual(tally(got.map(({ n }) => n), 0, count), { missing: 0, repeated: 0, disordered: 0 });
    assert.deepEqual(tally(await stored(harbour.url, `switch.up.${below}`, acks.length), 1, acks.length), { missing: 0, repeated: 0, disordered: 0 });
    // 500 ms are promised; a busy machine may take longer.
    assert.ok(Math.max(...around) <= 1_000, `a message came ${Math.max(...around)} ms late`);
  });
}
