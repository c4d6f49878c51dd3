// A fault-injecting relay of TCP connections. What it does to bytes it does not understand it does to any transport.

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { type Lane, Pace } from './pace.ts';
import type { Stage, Start } from './path.ts';

/** What a wire does all the time. */
export interface Faults {
  /** Each connection is reset when it is so old, in milliseconds. */
  lifetime?: number;
  /** Each connection is closed after so many bytes down. */
  most?: number;
  /** Only so many connections at a time are served; what comes beyond them is accepted and never answered. */
  seats?: number;
  /** Bytes a second, each way, shared by all connections. */
  rate?: number;
  /** How long a byte is under way, each way, in milliseconds. */
  delay?: number;
}

/** Something that happens to a wire in the middle of a course. */
export interface Moment {
  /** Milliseconds after the course began. */
  after: number;
  strike(wire: Wire): void;
}

/** One connection, as the two sockets that the wire joins. A dead line stays open and carries nothing. */
interface Line {
  near: Socket;
  far: Socket | undefined;
  dead: boolean;
}

export class Wire implements Stage {
  readonly #upstream: URL;
  readonly #faults: Faults;
  readonly #moment: Moment | undefined;
  readonly #server: Server;
  readonly #down: Pace | undefined;
  readonly #up: Pace | undefined;
  readonly #lines = new Set<Line>();
  #port = 0;
  #holeUntil = 0; // when new connections work again, by performance.now()
  #timer: NodeJS.Timeout | undefined;

  constructor(upstream: string, faults: Faults = {}, moment?: Moment) {
    this.#upstream = new URL(upstream);
    this.#faults = faults;
    this.#moment = moment;
    if (faults.rate !== undefined || faults.delay !== undefined) {
      this.#down = new Pace(faults.rate, faults.delay);
      this.#up = new Pace(faults.rate, faults.delay);
    }
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#join(near));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<this> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  begin(): void {
    const moment = this.#moment;
    if (moment) this.#timer = setTimeout(() => moment.strike(this), moment.after);
  }

  /** silence makes a black hole: no open connection carries a byte again, nor does one that is opened within so many milliseconds. */
  silence(ms: number): void {
    this.#holeUntil = performance.now() + ms;
    for (const line of this.#lines) kill(line);
  }

  /** leave resets every connection and refuses new ones for so many milliseconds; it settles when the network is back. */
  async leave(ms: number): Promise<void> {
    this.#server.close();
    for (const line of this.#lines) reset(line);
    await new Promise((back) => {
      this.#timer = setTimeout(back, ms);
    });
    await this.start();
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const line of this.#lines) reset(line);
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }

  #join(near: Socket): void {
    const { lifetime, seats, most } = this.#faults;
    const served = [...this.#lines].filter((line) => !line.dead).length;
    const dead = performance.now() < this.#holeUntil || (seats !== undefined && served >= seats);
    const line: Line = { near, far: undefined, dead };
    this.#lines.add(line);
    near.on('close', () => this.#part(line));
    near.on('error', () => {}); // close follows
    if (dead) return;
    const far = connect({ host: this.#upstream.hostname, port: Number(this.#upstream.port), allowHalfOpen: true, noDelay: true });
    line.far = far;
    far.on('error', () => reset(line));
    // The local handshake took no time; on the slow link it would have taken a round trip.
    carry(line, near, far, this.#up?.lane(2 * (this.#faults.delay ?? 0)));
    carry(line, far, near, this.#down?.lane(0), most);
    if (lifetime === undefined) return;
    const timer = setTimeout(() => reset(line), lifetime);
    near.on('close', () => clearTimeout(timer));
  }

  /** The near end has gone: what is at the other end of a dead line never hears of it. */
  #part(line: Line): void {
    if (line.dead && line.far?.destroyed === false) return;
    this.#lines.delete(line);
    line.far?.destroy();
  }
}

export function wire(faults: Faults, moment?: Moment): Start {
  return (upstream) => new Wire(upstream, faults, moment).start();
}

/** carry moves bytes one way, through the lane if there is one, and closes the line after `most` of them. */
function carry(line: Line, from: Socket, to: Socket, lane: Lane | undefined, most = Infinity): void {
  let left = most;
  const write = (bytes: Buffer): void => {
    if (line.dead || to.destroyed) return;
    const flows = to.write(bytes.subarray(0, left));
    left -= bytes.length;
    if (left <= 0) return closeSoon(line);
    if (flows) return;
    from.pause();
    to.once('drain', () => line.dead || from.resume());
  };
  const finish = (): void => {
    if (!line.dead && !to.destroyed) to.end();
  };
  from.on('data', (bytes: Buffer) => (lane ? lane.pass(bytes, write) : write(bytes)));
  from.on('end', () => (lane ? lane.end(finish) : finish()));
}

function closeSoon(line: Line): void {
  line.near.destroySoon();
  line.far?.destroy();
}

function kill(line: Line): void {
  line.dead = true;
  line.near.pause();
  line.far?.pause();
}

function reset(line: Line): void {
  line.dead = true;
  for (const socket of [line.near, line.far]) {
    // Node never gets rid of one that is reset while it ends, and spins when the process exits.
    if (socket?.writableEnded) socket.destroy();
    else socket?.resetAndDestroy();
  }
}
