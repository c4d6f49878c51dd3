import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { connect, type Client, type ConnectOptions } from '../../src/client.ts';
import { realClock, type Clock } from '../../src/clock.ts';
import type { Session } from '../../src/session.ts';
import type { Share } from '../../src/share.ts';
import { tabs } from '../../src/tabs.ts';
import { next } from './events.ts';
import { Gateway } from './gateway.ts';

// Each client is a tab: Node has Web Locks and BroadcastChannel as browsers have them.

/** What the tabs of a crew call their lock and channels. */
export type Scope = string;

export interface Crew {
  gateway: Gateway;
  scope: Scope;
  share: Share;
  /** Another tab of the same browser. */
  open(options?: ConnectOptions): Client;
  attaches(): number;
}

export async function crew(t: TestContext, connects = connect): Promise<Crew> {
  const gateway = await Gateway.start();
  const name = randomUUID();
  const share = tabs({ name });
  const clients: Client[] = [];
  t.after(async () => {
    for (const client of clients) await client.close();
    await gateway[Symbol.asyncDispose]();
  });
  return {
    gateway,
    scope: `fairlead:${gateway.url}/:${name}`,
    share,
    open(options) {
      const client = connects(gateway.url, { transports: ['sse'], share, storage: null, ...options });
      clients.push(client);
      return client;
    },
    attaches: () => gateway.requests.filter((r) => r.path === '/v1/attach').length,
  };
}

export const connected = (client: Client): Promise<unknown> => (client.state === 'connected' ? Promise.resolve() : next(client, 'state', (e) => e.state === 'connected'));

/** Shares as share does, and tells of the session; leave is called before the tab leaves. */
export const tapped = (share: Share, tap: (session: Session) => void, leave: (session: Session) => void = () => {}): Share => (shared) => {
  tap(shared.session);
  const tab = share(shared);
  return {
    leave: () => {
      leave(shared.session);
      tab.leave();
    },
  };
};

/** Waits are short where a leader does not answer. */
export const hasty: Clock = { ...realClock, after: (ms, fn) => realClock.after(ms / 20, fn) };

/** occupy takes the lead and answers nobody, as a page that hangs. It settles when another has taken the lead, or with release(). */
export async function occupy(scope: Scope, options: LockOptions = {}): Promise<{ stolen: Promise<unknown>; release: () => void }> {
  let release = (): void => {};
  let stolen: Promise<unknown> = Promise.resolve();
  await new Promise<void>((held) => {
    const holding = (): Promise<void> => {
      held();
      return new Promise((resolve) => (release = resolve));
    };
    stolen = navigator.locks.request(`${scope}:lead`, options, holding).catch((error: unknown) => error);
  });
  return { stolen, release: () => release() };
}

/** A tab of which only the letters are seen. */
export class Pen implements Disposable {
  readonly letters: { op: string; message?: { data: unknown }; served?: object }[] = [];
  term = 0;
  readonly #id: string;
  readonly #all: BroadcastChannel;
  readonly #own: BroadcastChannel;
  #wake = (): void => {};

  constructor(scope: Scope, id: string = randomUUID()) {
    this.#id = id;
    this.#all = new BroadcastChannel(scope);
    this.#own = new BroadcastChannel(`${scope}:${id}`);
    this.#own.onmessage = ({ data }) => {
      const letter = data as Pen['letters'][number] & { term: number };
      this.term = letter.term;
      this.letters.push(letter);
      this.#wake();
    };
  }

  write(letter: object): void {
    this.#all.postMessage({ tab: this.#id, term: this.term, ...letter });
  }

  /** Settles with the first letter that check accepts. */
  async gets(check: (letter: Pen['letters'][number]) => boolean): Promise<Pen['letters'][number]> {
    for (;;) {
      const found = this.letters.find(check);
      if (found) return found;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  count(op: string): number {
    return this.letters.filter((letter) => letter.op === op).length;
  }

  [Symbol.dispose](): void {
    this.#all.close();
    this.#own.close();
  }
}

/** How many publishes the gateway was sent. */
export const published = ({ requests }: Gateway): number => requests.flatMap(({ body }) => body.commands ?? []).filter(({ op }) => op === 'publish').length;

export interface Heard {
  op: string;
  tab: string;
  term: number;
  key: number;
  token?: string;
}

/** What is said on the channel that all tabs hear. */
export class Spy implements Disposable {
  readonly #channel: BroadcastChannel;
  readonly #heard: Heard[] = [];
  #wake = (): void => {};

  constructor(scope: Scope) {
    this.#channel = new BroadcastChannel(scope);
    this.#channel.onmessage = ({ data }) => {
      this.#heard.push(data as Heard);
      const wake = this.#wake;
      this.#wake = () => {};
      wake();
    };
  }

  /** The first letter, from the beginning or yet to come, of its kind and that check accepts. */
  async first(op: string, check: (heard: Heard) => boolean = () => true): Promise<Heard> {
    for (;;) {
      const found = this.#heard.find((heard) => heard.op === op && check(heard));
      if (found) return found;
      await new Promise<void>((resolve) => {
        const wake = this.#wake;
        this.#wake = () => {
          wake();
          resolve();
        };
      });
    }
  }

  write(letter: object): void {
    this.#channel.postMessage(letter);
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}

export const denied = (): never => {
  throw new DOMException('denied', 'SecurityError');
};
