import { realClock, type Clock } from './clock.ts';
import { Channel } from './channel.ts';
import { FairleadError, isToken } from './error.ts';
import type { Transport } from './frame.ts';
import { diagnose, type Diagnostics } from './diagnostics.ts';
import { firstByte, tries } from './limits.ts';
import type { State } from './link.ts';
import { Memory } from './memory.ts';
import { ask, isPublic, Watchdog, type Net } from './net.ts';
import { watchPage } from './page.ts';
import { defaults, type Policy } from './policy.ts';
import { poll } from './poll.ts';
import { Session, type Events } from './session.ts';
import type { Share } from './share.ts';
import { shelf, Stored, type KeyValue } from './storage.ts';
import { stream } from './stream.ts';
import { Token, type TokenSource } from './token.ts';
import { webSocket } from './websocket.ts';

export interface ConnectOptions {
  /** Never sent in a URL. A function is asked again ahead of the token's end, and when the server does not take it; it has 8 s. */
  token?: TokenSource;
  /** As fetch's, for who uses cookies: by default they go to the page's own origin. A WebSocket always takes them along. */
  credentials?: RequestCredentials;
  /** What may be tried, best first: by default websocket, sse, stream, poll. */
  transports?: readonly Transport[];
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket;
  /** The beat interval to ask for, in milliseconds. */
  beat?: number;
  /** Go on as this session. */
  session?: string;
  /** How many publishes may wait for their acknowledgement: 1,000. */
  outbox?: number;
  /** Where they are kept across reloads, such as sessionStorage; one client at a time may use it. By default they are not. */
  persist?: KeyValue;
  /** Where to remember what works on which network: localStorage, if there is one. Null for nowhere. */
  storage?: KeyValue | null;
  /** How many messages an async iterator holds before it leaves the rest in the log: 1,000. */
  buffer?: number;
  /** One attachment for many tabs: tabs() of `fairlead/tabs`. */
  share?: Share;
  /** Other times than the defaults, for tests and odd networks. */
  timing?: Partial<Omit<Policy, 'ladder'>>;
  /** Another clock, for tests. */
  clock?: Clock;
}

/** A logical connection to a gateway. It connects at once, and stays until close(). */
export class Client {
  readonly #session: Session;
  readonly #net: Net;
  readonly #buffer: number;
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();
  readonly #forget: () => void;
  #shared: ReturnType<Share> | undefined;

  /** Use connect(). */
  constructor(url: string | URL | undefined, options: ConnectOptions) {
    this.#net = netOf(url, options);
    this.#buffer = options.buffer ?? 1_000;
    const { host } = this.#net.base;
    const report = (error: FairleadError): void => queueMicrotask(() => this.#emit('error', error));
    const kept = options.persist && new Stored<string[]>(options.persist, `outbox:${host}`, report);
    this.#session = new Session({
      net: this.#net,
      policy: { ...defaults, ...options.timing, ladder: ladder(this.#net, options.transports) },
      memory: new Memory(new Stored(storage(options), host, report), this.#net.clock.wall),
      open: (transport, context) =>
        transport === 'websocket' ? webSocket(context) : transport === 'poll' ? poll(context) : stream(context, transport),
      emit: (type, event) => this.#emit(type, event),
      session: options.session,
      beat: options.beat,
      outbox: options.outbox ?? 1_000,
      shelf: kept && shelf(kept),
    });
    // What is subscribed to in this turn of the event loop goes with the first hello.
    queueMicrotask(() => this.#start(options.share));
    this.#forget = watchPage((why) => this.#session.retry(why));
  }

  /** The transport that is proven to deliver; null while none is. */
  get transport(): Transport | null {
    return this.#session.transport;
  }

  get state(): State {
    return this.#session.state;
  }

  /** The name of the session, which outlives every attachment. */
  get session(): string {
    return this.#session.id;
  }

  /** All subscriptions have been served up to here at least; without any, the log's position. Null while unknown. */
  get cursor(): string | null {
    return this.#session.ledger.cursor() ?? this.#session.position;
  }

  /** Calls listener for each event, until the returned function is called. */
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): () => void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** A channel, or (to subscribe only) a pattern. */
  channel(name: string): Channel {
    return new Channel(name, {
      session: this.#session,
      buffer: this.#buffer,
      get: (path, query, signal) => this.#get(path, query, signal),
      report: (error) => this.#emit('error', error),
    });
  }

  /** Asks the server for the log's position and its time. */
  ping(): Promise<{ id: string; time: number }> {
    return this.#get('v1/ping', {}) as Promise<{ id: string; time: number }>;
  }

  /** What the client is doing, and why: plain data, for support and bug reports. */
  diagnostics(): Diagnostics {
    return diagnose(this.#session);
  }

  /** Drops every transport and attaches anew, now, with another token if there is a function for it. */
  reconnect(): void {
    void this.#session.renew('reconnect');
  }

  /**
   * Asks the token function anew, now, and gives what is attached the new token; where the server had refused the last one,
   * connects again. With a token, or another function, that takes the place of what connect() was given. Settles by what the
   * server makes of it; nobody need wait for that.
   */
  refresh(token?: TokenSource): Promise<void> {
    return this.#session.renew('refresh', token);
  }

  /** Ends subscriptions, iterators and waiting publishes; settles when the server was told. */
  async close(): Promise<void> {
    this.#forget();
    this.#shared?.leave();
    await this.#session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #start(share: Share | undefined): void {
    const session = this.#session;
    if (session.state === 'closed') return;
    if (!share) return session.start();
    this.#shared = share({ session, net: this.#net, on: (type, listener) => this.on(type, listener), emit: (type, event) => this.#emit(type, event) });
  }

  #emit<K extends keyof Events>(type: K, event: Events[K]): void {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        (listener as (event: Events[K]) => void)(event);
      } catch (cause) {
        // A listener to errors that throws has nobody left to tell.
        if (type !== 'error') this.#emit('error', new FairleadError('listener', `a listener to ${type} threw`, { cause }));
      }
    }
  }

  /** A GET changes nothing: it is tried again when the network fails, for two pooled connections in a row may be dead. */
  async #get(path: string, query: object, signal?: AbortSignal): Promise<unknown> {
    const params = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined));
    const asked = `${path}?${params}`;
    for (let left = tries; ; ) {
      const tokens = this.#net.token;
      const token = isPublic(path) ? undefined : await tokens.get();
      signal?.throwIfAborted();
      const watchdog = new Watchdog(this.#net.clock);
      const abort = (): void => watchdog.abort(signal?.reason);
      signal?.addEventListener('abort', abort);
      try {
        return await ask(this.#net, { path: asked, token }, (answer) => answer as unknown, firstByte, watchdog);
      } catch (error) {
        signal?.throwIfAborted();
        const { code } = error as FairleadError;
        const stale = isToken(code) && tokens.renewable;
        if (!(stale || code === 'network') || !--left) throw error;
        if (stale) tokens.drop(token);
      } finally {
        signal?.removeEventListener('abort', abort);
      }
    }
  }
}

/** Connects to the gateway at url: by default where the page came from. */
export function connect(url?: string | URL, options: ConnectOptions = {}): Client {
  return new Client(url, options);
}

function netOf(url: string | URL | undefined, options: ConnectOptions): Net {
  const { location } = globalThis as { location?: Location };
  const where = url || location?.origin;
  if (where === undefined) throw new FairleadError('bad_request', 'connect needs the URL of the gateway');
  const base = new URL(where, location?.href);
  base.protocol = base.protocol.replace('ws', 'http');
  base.search = base.hash = '';
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  // Called as a method of another object, a browser's fetch throws.
  const send = options.fetch ?? globalThis.fetch;
  const clock = options.clock ?? realClock;
  return {
    base,
    fetch: (input, init) => send(input, init),
    WebSocket: options.WebSocket ?? globalThis.WebSocket,
    token: new Token(options.token, clock),
    credentials: options.credentials,
    clock,
  };
}

function ladder(net: Net, transports: readonly Transport[] = defaults.ladder): readonly Transport[] {
  const usable = transports.filter((t) => t !== 'websocket' || net.WebSocket);
  if (usable.length === 0) throw new FairleadError('bad_request', 'none of the transports can be used here');
  return usable;
}

/** Where a browser keeps things, if it lets us. */
function storage({ storage }: ConnectOptions): KeyValue | undefined {
  if (storage !== undefined) return storage ?? undefined;
  try {
    return globalThis.localStorage;
  } catch {
    return undefined; // the page may not use it
  }
}
