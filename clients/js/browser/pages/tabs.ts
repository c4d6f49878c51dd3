// A tab that shares its attachment, unless told not to: it keeps what it receives, and does what the test calls.

import { connect, type ConnectOptions } from '../../src/index.ts';
import { tabs } from '../../src/tabs.ts';

const search = new URLSearchParams(location.search);
const { share = true, name = '', ...options } = JSON.parse(search.get('options') ?? '{}') as { share?: boolean; name?: string } & Omit<ConnectOptions, 'share'>;
const channel = search.get('channel') ?? '';
const client = connect(undefined, { ...options, ...(share && { share: tabs({ name }) }) });
/** What came, and when by the wall clock, which all tabs share. */
const got: { n: number; at: number }[] = [];
let waiting: { count: number; resolve: () => void }[] = [];
const subscription = client.channel(channel).subscribe(({ data }) => {
  got.push({ n: data as number, at: Date.now() });
  waiting = waiting.filter(({ count, resolve }) => {
    if (got.length < count) return true;
    resolve();
    return false;
  });
});

const tab = {
  client,
  got,
  ready: subscription.ready,
  has: (count: number): Promise<void> => new Promise((resolve) => (got.length >= count ? resolve() : waiting.push({ count, resolve }))),
  publish: (from: number, to: number): Promise<unknown> => {
    const acks: Promise<unknown>[] = [];
    for (let n = from; n <= to; n++) acks.push(client.channel(`${channel}.up`).publish(n));
    return Promise.all(acks);
  },
  connected: (): Promise<void> =>
    new Promise((resolve) => {
      if (client.state === 'connected') return resolve();
      client.on('state', ({ state }) => state === 'connected' && resolve());
    }),
  leads: (): boolean => client.diagnostics().attempts.length > 0,
};
export type Tab = typeof tab;
Object.assign(globalThis, { tab });
