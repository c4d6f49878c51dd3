import type { Body } from './cluster.ts';
import { statuses, type Refusal } from './issuer.ts';
import type { Page } from './page.ts';
import type { Kind } from './weather.ts';
import type { World } from './world.ts';

/** One request of a page, and its response. */
export class Exchange {
  readonly #world: World;
  readonly #page: Page;
  readonly #kind: Kind;
  readonly #body: Body;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (response: Response) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #incoming = new Incoming();
  /** The head is in. */
  #begun = (): void => {};
  readonly #connection: ReturnType<World['open']>;

  constructor(world: World, page: Page, kind: Kind, body: Body, signal: AbortSignal | undefined, resolve: (response: Response) => void, reject: (reason: unknown) => void) {
    this.#world = world;
    this.#page = page;
    this.#kind = kind;
    this.#body = body;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#connection = world.open(kind, page, {
      broken: (clean) => this.#fail(new TypeError('terminated'), clean),
      accepted: () => this.#accepted(),
      refused: (how) => this.#refused(how),
    });
    if (signal?.aborted) this.#abort();
    else signal?.addEventListener('abort', this.#abort);
  }

  readonly #abort = (): void => {
    this.#world.close(this.#connection);
    this.#reject(this.#signal?.reason);
    this.#incoming.fail(this.#signal?.reason);
  };

  #refused(how: 'refuse' | 'redirect' | 'page' | number): void {
    if (how === 'refuse') {
      this.#world.connections.delete(this.#connection);
      return this.#page.turn(() => this.#fail(new TypeError('fetch failed'), false));
    }
    const { retryAfter } = this.#world.weather[this.#kind];
    if (how === 'redirect') return this.#answer('opaqueredirect', 0, {}, '');
    if (how === 'page') return this.#answer('basic', 200, { 'content-type': 'text/html' }, '<html>Welcome to our hotel');
    this.#answer('basic', how, { 'content-type': 'text/html', ...(retryAfter !== undefined && { 'retry-after': `${retryAfter}` }) }, 'sorry');
  }

  #accepted(): void {
    const world = this.#world;
    const { cluster, clock } = world;
    const connection = this.#connection;
    const json = (value: object | Refusal): void => {
      // The answer may be lost though the request was carried out.
      if (!world.connections.has(connection)) return;
      if (world.dice(world.weather[this.#kind].loss)) return world.cut(connection, world.dice(0.6));
      if ('code' in value) return this.#problem(value);
      this.#answer('basic', 200, { 'content-type': 'application/json' }, JSON.stringify(value));
    };
    if (this.#kind === 'ping') json({ id: cluster.log.id, time: clock.wall() });
    else if (this.#kind === 'commands') json(cluster.commands(this.#body));
    else if (this.#kind === 'poll') {
      const over = cluster.poll(this.#body, json);
      if ('code' in over) json(over);
      else connection.gone = over;
    } else this.#stream(this.#kind === 'sse');
  }

  #stream(sse: boolean): void {
    const { cluster } = this.#world;
    const connection = this.#connection;
    const refused = cluster.admit(this.#body);
    if ('code' in refused) return this.#problem(refused);
    this.#head('basic', 200, { 'content-type': sse ? 'text/event-stream' : 'application/x-ndjson' });
    this.#push(sse ? `retry: 1000\n\n:${' '.repeat(2_046)}\n\n` : `${' '.repeat(2_047)}\n`);
    const id = cluster.attach(connection.node as string, this.#body, {
      send: (frame) => this.#push(sse ? `data: ${JSON.stringify(frame)}\r\n\r\n` : `${JSON.stringify(frame)}\n`),
      end: () => connection.down.send(0, () => this.#page.turn(this.#done), true),
    });
    connection.gone = () => cluster.gone(id as string);
  }

  #problem({ code, message }: Refusal): void {
    this.#answer('basic', statuses[code], { 'content-type': 'application/problem+json' }, JSON.stringify({ code, detail: message }));
  }

  #answer(type: ResponseType, status: number, headers: Record<string, string>, body: string): void {
    this.#head(type, status, headers);
    this.#push(body);
    this.#connection.down.send(0, () => this.#page.turn(this.#done), true);
  }

  #head(type: ResponseType, status: number, headers: Record<string, string>): void {
    const response = { type, status, ok: status >= 200 && status < 300, headers: { get: (name: string) => headers[name] ?? null }, body: this.#incoming };
    this.#begun = () => this.#resolve(response as unknown as Response);
    this.#connection.accepted = true;
    // A proxy that holds back a body does not hold back its head.
    this.#connection.up.send(0, () => this.#page.turn(this.#begun));
  }

  #push(text: string): void {
    const bytes = Buffer.from(text);
    this.#world.push(this.#connection, bytes.length, (from, to) => {
      this.#begun();
      this.#incoming.push(bytes.subarray(from, to));
    });
  }

  readonly #done = (): void => {
    this.#world.close(this.#connection);
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#begun();
    this.#incoming.close();
  };

  #fail(error: Error, clean: boolean): void {
    this.#world.held.delete(this.#connection);
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#reject(error);
    if (clean) this.#incoming.close();
    else this.#incoming.fail(error);
  }
}

/** The body of a response: what src/net.ts uses of a ReadableStream, and nothing of its cost. */
class Incoming {
  readonly #parts: Uint8Array[] = [];
  #waiting: { resolve(part: { done: boolean; value?: Uint8Array }): void; reject(reason: unknown): void } | undefined;
  #end: { error?: unknown } | undefined;

  getReader(): { read(): Promise<{ done: boolean; value?: Uint8Array }> } {
    return {
      read: () =>
        new Promise((resolve, reject) => {
          this.#waiting = { resolve, reject };
          this.#give();
        }),
    };
  }

  push(part: Uint8Array): void {
    this.#parts.push(part);
    this.#give();
  }

  close(): void {
    this.#end ??= {};
    this.#give();
  }

  fail(error: unknown): void {
    this.#end ??= { error };
    this.#give();
  }

  #give(): void {
    const { resolve, reject } = this.#waiting ?? {};
    if (!resolve || !reject) return;
    const value = this.#parts.shift();
    if (!value && !this.#end) return;
    this.#waiting = undefined;
    if (value) resolve({ done: false, value });
    else if (this.#end && 'error' in this.#end) reject(this.#end.error);
    else resolve({ done: true });
  }
}
