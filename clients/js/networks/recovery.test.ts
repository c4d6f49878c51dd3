// How soon a client receives again after its network has failed: not before it has been on its way for a while, and with
// messages coming all the time. What was sent meanwhile comes too, once, in order.

import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Transport } from '../src/index.ts';
import { PlainChromium } from '../stand/chromium.ts';
import { Course } from './course.ts';
import { Harbour } from './harbour.ts';
import { Table } from './table.ts';
import { tally } from './tally.ts';
import { inChromium, inNode, inPage, type PageTraveller, type Runtime, type Traveller } from './traveller.ts';
import { Wire } from './wire.ts';

const beat = 5_000;
const every = 50;
/** How many messages come before the network fails: three seconds, so that the transport is settled. */
const settled = 60;
/** How long is waited for what is late, and how much later than promised a busy machine may be. */
const patience = 45_000;
const slack = 1.5;

/** What befalls a traveller. It gives the moment from which the promise counts, by Date.now(), when that has come. */
interface Mishap<T extends Traveller = Traveller> {
  name: string;
  /** Milliseconds. */
  promised: number;
  /** Without it, the client chooses. */
  transports?: readonly Transport[];
  strike(wire: Wire, course: Course, traveller: T): Promise<number>;
}

const mishaps: readonly Mishap[] = [
  {
    name: 'silent death of all that is open',
    promised: beat + 2_000,
    async strike(wire) {
      wire.silence(0);
      return Date.now();
    },
  },
  {
    name: 'black hole of 6 s, counted from its end',
    promised: 2_000,
    async strike(wire) {
      wire.silence(6_000);
      return Date.now() + 6_000;
    },
  },
  {
    name: 'resets, then 5 s of refusals, counted from their end',
    promised: 1_000,
    async strike(wire) {
      await wire.leave(5_000);
      return Date.now();
    },
  },
];

const freeze: Mishap<PageTraveller> = {
  name: 'a page frozen while its sockets die, counted from its thaw',
  promised: 1_000,
  async strike(wire, course, { page }) {
    const browser = await page.context().newCDPSession(page);
    const { windowId } = await browser.send('Browser.getWindowForTarget');
    const show = (windowState: 'minimized' | 'normal'): Promise<unknown> => browser.send('Browser.setWindowBounds', { windowId, bounds: { windowState } });
    await page.evaluate(() => document.addEventListener('freeze', () => (document.title = 'frozen')));
    await show('minimized'); // a visible page is never frozen
    await browser.send('Page.setWebLifecycleState', { state: 'frozen' });
    wire.silence(0);
    await course.more(settled);
    const thawed = Date.now();
    await browser.send('Page.setWebLifecycleState', { state: 'active' });
    await show('normal');
    assert.equal(await page.title(), 'frozen', 'the page was not frozen');
    return thawed;
  },
};

/** Chromium itself closes a frozen page's WebSocket; of the death of a stream it says nothing. */
const freezes: readonly Mishap<PageTraveller>[] = [freeze, { ...freeze, name: `${freeze.name}, on sse`, transports: ['sse'] }];

const table = new Table('mishap', 'client', 'receives again after', 'promised', 'missing, twice, disordered');
let harbour: Harbour;
let voyages = 0;

before(async () => {
  harbour = await Harbour.open();
});

after(async () => {
  await harbour?.close();
  table.write('recovery', `Receiving again, in milliseconds; a beat is ${beat}; a test allows ${slack} times what is promised`);
});

async function survive<T extends Traveller>(mishap: Mishap<T>, client: string, runtime: Runtime<T>, place: number): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const course = new Course(harbour.url, `recovery-${++voyages}`);
  await course.begin();
  const wire = new Wire(harbour.url);
  const path = await harbour.path([() => wire.start()]);
  stack.defer(() => path.close());
  const embark = await runtime(path);
  const { transports } = mishap;
  const options = transports === undefined ? { beat } : { beat, transports };
  const traveller = await embark({ url: path.url, options, down: course.channel, up: `${course.channel}.up`, count: 0, every, pause: 0 });
  stack.defer(() => traveller.close());
  const running = course.run(Infinity, every);
  await course.more(settled);
  assert.notEqual(await traveller.next(Date.now(), patience), null, 'nothing comes before the network fails');
  const struck = Date.now();
  const from = await mishap.strike(wire, course, traveller);
  const got = await traveller.next(Math.max(struck, from), patience);
  const last = course.stop();
  await running;
  await traveller.last(last);
  await traveller.whole(patience);
  const { deliveries } = await traveller.log();
  const { missing, repeated, disordered } = tally(deliveries.map(({ n }) => n), 0, last);
  const took = got === null ? Infinity : got - from;
  table.add(place, mishap.name, client, String(took), String(mishap.promised), `${missing}, ${repeated}, ${disordered}`);
  assert.deepEqual({ missing, repeated, disordered }, { missing: 0, repeated: 0, disordered: 0 });
  assert.ok(took <= mishap.promised * slack, `receives again after ${took} ms, want at most ${mishap.promised * slack}`);
}

const limit = { timeout: 2 * patience + 30_000 };

describe('recovery', { concurrency: true }, () => {
  mishaps.forEach((mishap, index) => {
    test(`${mishap.name}: node`, limit, () => survive(mishap, 'node', inNode, 2 * index));
    test(`${mishap.name}: chromium`, limit, () => survive(mishap, 'chromium', inChromium(harbour.browser), 2 * index + 1));
  });
  freezes.forEach((mishap, index) => {
    test(`${mishap.name}: chromium`, limit, async (t) => {
      const chromium = await PlainChromium.start(mkdtempSync(join(harbour.dir, 'chromium-')));
      t.after(() => chromium.stop());
      await survive(mishap, 'chromium', inPage(chromium.context), 2 * mishaps.length + index);
    });
  });
});
