import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { connect, type Client, type ConnectOptions } from '../../src/client.ts';
import type { FairleadError } from '../../src/error.ts';
import type { Transport } from '../../src/frame.ts';
import { promises } from './clock.ts';
import { Issuer } from './issuer.ts';
import { Page } from './page.ts';
import { World } from './world.ts';

export const secret = /secret-\d+-\d+/;

/** What is written to the console meanwhile. */
let written = '';
for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace'] as const) {
  const write = console[method].bind(console);
  console[method] = (...what: unknown[]) => {
    written += inspect(what, { depth: 9, showHidden: true });
    write(...what);
  };
}

/** A client with tokens in a world that wants them, where all is well, and what it told of. */
export class Holder {
  readonly world = new World(1, promises);
  readonly issuer: Issuer;
  readonly client: Client;
  readonly page: Page;
  /** How often the token function was asked. */
  asked = 0;
  /** What it does when it is asked. */
  give: () => string | Promise<string>;
  readonly errors: FairleadError[] = [];
  readonly states: string[] = [];
  /** Everything that the application was told, as text. */
  #told = '';

  constructor(transports: readonly Transport[], options: ConnectOptions = {}, asks = true, connects = connect) {
    const { world } = this;
    this.issuer = world.cluster.issuer = new Issuer(world.clock);
    this.give = this.issuer.issue;
    const page = (this.page = new Page(world.clock));
    const token = (): string | Promise<string> => (this.asked++, this.give());
    this.client = connects('http://gateway', { transports, fetch: world.fetch(page), WebSocket: world.socket(page), clock: page.clock, storage: null, ...(asks && { token }), ...options });
    this.client.on('error', (error) => this.errors.push(error));
    this.client.on('state', ({ state }) => this.states.push(state));
    for (const type of ['state', 'transport', 'switch', 'offline', 'error', 'gap'] as const) {
      this.client.on(type, (event) => (this.#told += inspect(event, { depth: 9, showHidden: true })));
    }
  }

  run(ms: number): Promise<void> {
    return this.world.clock.run(ms);
  }

  /** Publishes n, n + 1, … in the log, one each step ms, so long. */
  async traffic(channel: string, ms: number, step = 500): Promise<void> {
    for (let passed = 0; passed < ms; passed += step) {
      this.world.log.publish(channel, this.world.log.messages.length + 1);
      await this.run(step);
    }
  }

  /** Collects what comes on a channel. */
  inbox(channel: string): { data: unknown[]; ended: string | undefined; ready: boolean } {
    const seen = { data: [] as unknown[], ended: undefined as string | undefined, ready: false };
    const sub = this.client.channel(channel).subscribe((m) => void seen.data.push(m.data), { after: '0' });
    sub.ready.then(() => (seen.ready = true), () => {});
    sub.ended.catch((error: FairleadError) => (seen.ended = error.code));
    return seen;
  }

  /** Nothing was held against a transport. */
  unblamed(): void {
    for (const [transport, { bad, strikes }] of Object.entries(this.client.diagnostics().rungs)) assert.deepEqual([bad, strikes], [false, []], transport);
  }

  /** Ends it. No secret was told. */
  async close(): Promise<void> {
    assert.doesNotMatch(this.#told, secret);
    assert.doesNotMatch(inspect(this.client.diagnostics(), { depth: 9, showHidden: true }), secret);
    assert.doesNotMatch(written, secret);
    for (const url of this.world.urls) assert.doesNotMatch(url, secret);
    const closed = this.client.close();
    await this.run(10_000);
    await closed;
    assert.equal(this.page.timers, 0, 'a closed client has no timers');
  }
}

export const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);
