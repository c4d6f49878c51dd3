// Two hundred messages down and forty up, over each network, in Node and in Chromium: nothing missing, nothing twice, in order.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Course, stored } from './course.ts';
import { Harbour } from './harbour.ts';
import { type Network, networks } from './networks.ts';
import { Table } from './table.ts';
import { latencies, quantile, tally, type Tally } from './tally.ts';
import { inChromium, inNode, type Runtime } from './traveller.ts';
import type { Log, Plan } from './voyage.ts';

const down = { count: 200, every: 50 };
const up = { count: 40, every: 250 };
/** How long the last messages may take, and whatever is promised may take longer on a busy machine. */
const patience = 30_000;
const slack = 1.5;

const table = new Table('network', 'client', 'transports', 'first', 'p50', 'p99', 'max', 'down: missing, twice, disordered', 'up', 'over after');
let harbour: Harbour;

before(async () => {
  harbour = await Harbour.open();
});

after(async () => {
  await harbour?.close();
  table.write('networks', `${down.count} messages down, ${up.count} up; times in milliseconds`);
});

/** Goes over the network and gives what the client saw, and the numbers of which the gateway has stored. */
async function sail(network: Network, runtime: Runtime, name: string): Promise<{ log: Log; sent: number[] }> {
  await using stack = new AsyncDisposableStack();
  const course = new Course(harbour.url, `${name}.down`);
  await course.begin();
  const path = await harbour.path(network.stages);
  stack.defer(() => path.close());
  const embark = await runtime(path);
  const pause = network.pause ?? 0;
  const plan: Plan = { url: path.url, options: {}, down: course.channel, last: down.count, up: `${name}.up`, ...up, pause };
  path.begin();
  const [traveller] = await Promise.all([embark(plan), course.run(down.count, down.every, pause)]);
  stack.defer(() => traveller.close());
  await traveller.whole(patience);
  return { log: await traveller.log(), sent: await stored(harbour.url, plan.up, up.count) };
}

/** What went wrong, in words; empty if nothing did. */
function faults(network: Network, log: Log, came: Tally, went: Tally): string[] {
  const wrong: string[] = [];
  for (const [way, found] of [['down', came], ['up', went]] as const) {
    for (const [what, count] of Object.entries(found)) if (count > 0) wrong.push(`${count} ${what} ${way}`);
  }
  const final = log.transports.at(-1)?.transport;
  if (network.final && !(final && network.final.includes(final))) wrong.push(`carried by ${final} at the end, not by ${network.final.join(' or ')}`);
  const first = firstOf(log);
  if (network.first !== undefined && !(first <= network.first * slack)) wrong.push(`the first message came after ${first} ms`);
  if (log.acknowledged < up.count) wrong.push(`${up.count - log.acknowledged} publishes not acknowledged`);
  return wrong;
}

function firstOf({ began, deliveries }: Log): number {
  return (deliveries[0]?.got ?? NaN) - began;
}

const brief = ({ missing, repeated, disordered }: Tally): string => `${missing}, ${repeated}, ${disordered}`;

describe('networks', { concurrency: 12 }, () => {
  networks.forEach((network, index) => {
    const runtimes = { node: inNode, chromium: ((path) => inChromium(harbour.browser)(path)) satisfies Runtime };
    Object.entries(runtimes).forEach(([client, runtime], second) => {
      test(`${network.name}: ${client}`, { timeout: 120_000 }, async () => {
        const { log, sent } = await sail(network, runtime, `${client}-${index}`);
        const came = tally(log.deliveries.map(({ n }) => n), 0, down.count);
        const went = tally(sent, 1, up.count);
        const took = latencies(log);
        table.add(
          2 * index + second,
          network.name,
          client,
          log.transports.map(({ transport }) => transport).join(' → '),
          String(firstOf(log)),
          ...[0.5, 0.99, 1].map((q) => String(quantile(took, q))),
          brief(came),
          brief(went),
          log.ended === null ? 'never' : String(log.ended - log.began),
        );
        assert.deepEqual(faults(network, log, came, went), [], log.errors.join('\n'));
      });
    });
  });
});
