// One client's voyage: it takes what comes down and sends its own up, and writes the log. It runs in Node and in a page alike,
// so voyage() is one function that refers to nothing outside itself: a page is given its source.

import type { connect, ConnectOptions, Transport } from '../src/index.ts';

export interface Plan {
  url: string;
  options: { transports?: readonly Transport[]; beat?: number };
  /** The channel that comes down: numbers from 0 to last. Without a last one, until close(). */
  down: string;
  last?: number;
  /** The channel that goes up: numbers from 1 to count. */
  up: string;
  count: number;
  /** Milliseconds between two of them, and once, half-way, so many more. */
  every: number;
  pause: number;
}

/** What a number on its way carries: when it was sent, by Date.now(). */
export interface Numbered {
  n: number;
  at: number;
}

/** Times are Date.now(). */
export interface Log {
  began: number;
  /** In the order in which they were delivered, repeats too. */
  deliveries: { n: number; sent: number; got: number }[];
  transports: { transport: Transport; at: number; reason: string }[];
  errors: string[];
  /** How many of those sent up were acknowledged. */
  acknowledged: number;
  /** When the last one came, or was acknowledged. */
  ended: number | null;
}

export interface Voyage {
  log: Log;
  /** Settles when everything has come and everything has been acknowledged, or false after so many milliseconds. */
  whole(limit: number): Promise<boolean>;
  /** When the first message that was sent at the time or later was delivered; null if none was within so many milliseconds. */
  next(sent: number, limit: number): Promise<number | null>;
  /** No message is expected after the one with this number. */
  last(n: number): void;
  close(): Promise<void>;
}

export function voyage(start: typeof connect, plan: Plan, own: Pick<ConnectOptions, 'fetch' | 'WebSocket'> = {}): Voyage {
  const log: Log = { began: Date.now(), deliveries: [], transports: [], errors: [], acknowledged: 0, ended: null };
  const seen = new Set<number>();
  const waiters = new Set<() => void>();
  let last = plan.last ?? Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const client = start(plan.url, { ...plan.options, ...own });
  client.on('transport', ({ transport, reason }) => log.transports.push({ transport, at: Date.now(), reason }));
  client.on('error', (error) => log.errors.push(String(error)));

  const happened = (): void => {
    if (seen.size > last && log.acknowledged === plan.count) log.ended ??= Date.now();
    for (const waiter of waiters) waiter();
  };
  /** Waits until check gives something. */
  const until = <T>(check: () => T | null, limit: number): Promise<T | null> =>
    new Promise((resolve) => {
      const settle = (value: T | null): void => {
        clearTimeout(late);
        waiters.delete(look);
        resolve(value);
      };
      const look = (): void => {
        const value = check();
        if (value !== null) settle(value);
      };
      const late = setTimeout(() => settle(null), limit);
      waiters.add(look);
      look();
    });

  client.channel(plan.down).subscribe(
    ({ data }) => {
      const { n, at } = data as Numbered;
      log.deliveries.push({ n, sent: at, got: Date.now() });
      seen.add(n);
      happened();
    },
    { after: '0' },
  );

  const up = client.channel(plan.up);
  const send = (n: number): void => {
    if (n > plan.count) return;
    up.publish({ n, at: Date.now() }).then(
      () => {
        log.acknowledged++;
        happened();
      },
      (error: unknown) => log.errors.push(`publish ${n}: ${String(error)}`),
    );
    timer = setTimeout(() => send(n + 1), plan.every + (2 * n === plan.count ? plan.pause : 0));
  };
  send(1);

  return {
    log,
    whole: async (limit) => (await until(() => (log.ended === null ? null : true), limit)) ?? false,
    next: (sent, limit) => until(() => log.deliveries.find((d) => d.sent >= sent)?.got ?? null, limit),
    last: (n) => {
      last = n;
      happened();
    },
    close: async () => {
      clearTimeout(timer);
      waiters.clear();
      await client.close();
    },
  };
}
