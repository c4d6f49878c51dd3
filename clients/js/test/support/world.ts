import { promises, VirtualClock } from './clock.ts';
import { Cluster, type Body } from './cluster.ts';
import { Exchange } from './exchange.ts';
import type { Page } from './page.ts';
import { fine, kinds, type Kind, type Weather } from './weather.ts';
import { socketOf } from './websocket.ts';
import { Wire } from './wire.ts';

export { VirtualClock } from './clock.ts';

/** A connection through the network: of a WebSocket, or of one request and its response. */
interface Connection {
  readonly kind: Kind;
  readonly page: Page;
  readonly up: Wire;
  readonly down: Wire;
  readonly weather: Weather; // when it began
  /** The network has let it through. */
  accepted: boolean;
  node: string | undefined;
  /** How many bytes came down. */
  bytes: number;
  /** When it was used last. */
  used: number;
  /** Tells the client that it broke. */
  broken(clean: boolean): void;
  /** Tells the server that it is over. */
  gone(): void;
}

/** Fairlead behind a network that does what networks do, in virtual time: fetch and WebSocket for pages under test. */
export class World {
  readonly clock: VirtualClock;
  readonly cluster: Cluster;
  readonly weather = Object.fromEntries(kinds.map((k) => [k, fine])) as Record<Kind, Weather>;
  /** Those that the network still carries. */
  readonly connections = new Set<Connection>();
  /** Those that a client has not ended, though they may be dead. */
  readonly held = new Set<Connection>();
  requests = 0;
  /** Where requests went. */
  readonly urls = new Set<string>();
  /** The network is away: what is new is refused, or hangs until it is back. */
  #away: 'refuse' | 'swallow' | undefined;

  constructor(seed: number, settled = promises) {
    this.clock = new VirtualClock(seed, settled);
    this.cluster = new Cluster(this.clock);
  }

  get log(): Cluster['log'] {
    return this.cluster.log;
  }

  readonly pick = <T>(list: readonly T[]): T => list[Math.floor(this.clock.random() * list.length)] as T;

  dice(chance: number): boolean {
    return this.clock.random() < chance;
  }

  /** Changes the weather of one kind. */
  change(kind: Kind, weather: Weather): void {
    this.weather[kind] = weather;
    this.#flush();
  }

  leave(how: 'refuse' | 'swallow'): void {
    this.#away = how;
  }

  /** The network is back; `lost` is the chance that it has forgotten a connection. */
  return(lost: number): void {
    this.#away = undefined;
    for (const connection of [...this.connections]) if (this.dice(lost)) this.cut(connection, this.dice(0.7));
    this.#flush();
  }

  /** A node is no more; `rude`: it went without a word. */
  kill(node: string, rude: boolean): void {
    this.cluster.kill(node);
    for (const connection of [...this.connections]) if (connection.node === node) this.cut(connection, rude);
  }

  /** Breaks a connection; `rude`: the client is not told. */
  cut(connection: Connection, rude: boolean): void {
    if (!this.connections.delete(connection)) return;
    const { up, down, page, broken } = connection;
    up.cut();
    down.cut();
    this.clock.after(this.clock.random() * (rude ? 30_000 : 100), () => connection.gone());
    if (rude) return;
    const clean = this.dice(0.3);
    this.clock.after(this.clock.random() * 50, () => page.turn(() => broken(clean)));
  }

  /** The page goes from one moment to the next. */
  end(page: Page): void {
    page.kill();
    for (const connection of [...this.held]) if (connection.page === page) this.#left(connection);
  }

  fetch(page: Page): typeof fetch {
    return (async (input: string, init: RequestInit = {}): Promise<Response> => {
      this.requests++;
      this.urls.add(input);
      const kind = kindOf(new URL(input).pathname, (init.headers as Record<string, string>)['accept'] ?? '');
      const body = JSON.parse((init.body as string | null) ?? '{}') as Body;
      return new Promise((resolve, reject) => new Exchange(this, page, kind, body, init.signal ?? undefined, resolve, reject));
    }) as typeof fetch;
  }

  socket(page: Page): typeof WebSocket {
    return socketOf(this, page);
  }

  /** Opens a connection; `refused` if the network says no, at once or in the end; else `accepted`, once it is through. */
  open(kind: Kind, page: Page, on: { broken(clean: boolean): void; accepted(): void; refused(how: 'refuse' | 'redirect' | 'page' | number): void }): Connection {
    const weather = this.weather[kind];
    const latency = (): number => 1 + this.clock.random() * this.weather[kind].delay;
    const connection: Connection = {
      kind, page, weather, accepted: false, node: undefined, bytes: 0, used: this.clock.now(), broken: on.broken, gone: () => {},
      up: new Wire(this.clock, latency, () => !this.#away && (connection.accepted || this.weather[kind].open !== 'swallow')),
      down: new Wire(this.clock, latency, ({ bytes, whole }) => !this.#away && passes(this.weather[kind].down, bytes, whole)),
    };
    this.connections.add(connection);
    this.held.add(connection);
    if (this.#away === 'refuse') this.clock.after(5, () => this.#refuse(connection, on));
    else connection.up.send(0, () => this.#arrive(connection, on));
    if (weather.cutAfter < Infinity) this.clock.after(weather.cutAfter, () => this.cut(connection, weather.rude));
    if (weather.cutIdle < Infinity) this.#watch(connection);
    return connection;
  }

  /** The client ends it. */
  close(connection: Connection): void {
    this.held.delete(connection);
    if (!this.connections.delete(connection)) return;
    connection.down.cut();
    connection.up.send(0, () => connection.gone());
    // Where that does not arrive, the server finds out by itself.
    this.clock.after(45_000, () => connection.gone());
  }

  /** Sends bytes, or a message of so many, down; `piece` gives the client the first of them. */
  push(connection: Connection, size: number, piece: (from: number, to: number) => void): void {
    // What the network carries has other borders than what the server wrote.
    const border = connection.kind !== 'websocket' && this.dice(0.15) ? Math.floor(this.clock.random() * size) : size;
    for (const [from, to] of [[0, border], [border, size]] as const) {
      if (to === from) continue;
      connection.down.send(to - from, () => {
        const room = connection.weather.cutBytes - connection.bytes;
        connection.bytes += to - from;
        connection.used = this.clock.now();
        const until = Math.min(to, from + room);
        connection.page.turn(() => piece(from, until));
        if (until < to) this.cut(connection, connection.weather.rude);
      });
    }
  }

  #flush(): void {
    for (const { up, down } of [...this.connections]) {
      up.flush();
      down.flush();
    }
  }

  #arrive(connection: Connection, on: { accepted(): void; refused(how: 'refuse' | 'redirect' | 'page' | number): void }): void {
    const { open, loss } = this.weather[connection.kind];
    if (this.dice(loss)) return this.cut(connection, this.dice(0.6));
    if (open === 'pass') {
      connection.node = this.cluster.node();
      connection.accepted = true;
      if (connection.node === undefined) on.refused(this.pick([502, 503]));
      else on.accepted();
    } else if (open === 'refuse') this.#refuse(connection, on);
    else if (open !== 'swallow') on.refused(open);
  }

  #refuse(connection: Connection, on: { refused(how: 'refuse'): void }): void {
    if (this.connections.has(connection)) on.refused('refuse');
  }

  #left(connection: Connection): void {
    if (this.dice(0.5)) return this.close(connection);
    this.held.delete(connection);
    this.cut(connection, true);
  }

  #watch(connection: Connection): void {
    const { cutIdle, rude } = connection.weather;
    const idle = this.clock.now() - connection.used;
    if (!this.connections.has(connection)) return;
    if (idle >= cutIdle) return this.cut(connection, rude);
    this.clock.after(cutIdle - idle, () => this.#watch(connection));
  }
}

function passes(down: Weather['down'], bytes: number, whole: boolean): boolean {
  return down === 'pass' || (down !== 'mute' && whole) || (down === 'lump' && bytes >= 4_096);
}

function kindOf(path: string, accept: string): Kind {
  if (path === '/v1/commands') return 'commands';
  if (path === '/v1/ping') return 'ping';
  return accept === 'text/event-stream' ? 'sse' : accept === 'application/x-ndjson' ? 'stream' : 'poll';
}
