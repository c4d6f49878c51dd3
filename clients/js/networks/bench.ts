// How long the first message takes over each network: with the client left to choose, and with each transport alone.
// Usage: npm run bench:networks [words of the networks' names]

import { Course } from './course.ts';
import { Harbour } from './harbour.ts';
import { type Network, networks } from './networks.ts';
import { Table } from './table.ts';
import { quantile } from './tally.ts';
import { inChromium, inNode, type Runtime } from './traveller.ts';
import type { Transport } from '../src/index.ts';

const tries = 3;
/** What has not come after so many milliseconds is taken never to come. */
const never = 8_000;
/** Few enough not to wait for each other. */
const together = 4;

const transports: readonly Transport[] = ['websocket', 'sse', 'stream', 'poll'];

/** The time to the first message, in milliseconds; Infinity for never. */
async function first(harbour: Harbour, network: Network, runtime: Runtime, channel: string, only?: Transport): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const course = new Course(harbour.url, channel);
  await course.begin();
  const path = await harbour.path(network.stages);
  stack.defer(() => path.close());
  const embark = await runtime(path);
  path.begin();
  const options = only === undefined ? {} : { transports: [only] };
  const traveller = await embark({ url: path.url, options, down: channel, up: `${channel}.up`, count: 0, every: 0, pause: 0 });
  stack.defer(() => traveller.close());
  const got = await traveller.next(0, never);
  return got === null ? Infinity : got - (await traveller.log()).began;
}

/** The median of a few tries; what does not come once is not tried again. */
async function median(once: (attempt: number) => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let attempt = 0; attempt < tries; attempt++) {
    times.push(await once(attempt));
    if (times.at(-1) === Infinity) return Infinity;
  }
  return quantile(times.sort((a, b) => a - b), 0.5);
}

const table = new Table('network', 'client', 'left to choose', ...transports, 'against the best');
const harbour = await Harbour.open();
const words = process.argv.slice(2);
const wanted = networks.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
const runs = wanted.flatMap((network) => [['node', inNode] as const, ['chromium', inChromium(harbour.browser)] as const].map((who) => ({ network, who })));
const queue = runs.entries();

async function work(): Promise<void> {
  for (const [place, { network, who: [client, runtime] }] of queue) {
    const measure = (only?: Transport): Promise<number> =>
      median((attempt) => first(harbour, network, runtime, `bench-${place}-${only ?? 'any'}-${attempt}`, only));
    const free = await measure();
    const alone: number[] = [];
    for (const transport of transports) alone.push(await measure(transport));
    const ratio = free / Math.min(...alone);
    table.add(place, network.name, client, ...[free, ...alone].map((ms) => (ms === Infinity ? 'never' : String(ms))), ratio.toFixed(2));
  }
}

await Promise.all(Array.from({ length: together }, work));
await harbour.close();
table.write('first-message', `Time to the first message, in milliseconds, the median of ${tries}`);
