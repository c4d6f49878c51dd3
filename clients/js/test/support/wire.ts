import type { VirtualClock } from './clock.ts';

interface Item {
  readonly at: number;
  readonly size: number;
  readonly last: boolean;
  readonly fn: () => void;
}

/** What is on a wire and has had its time. */
export interface Ready {
  bytes: number;
  /** Nothing follows. */
  whole: boolean;
}

/** One direction of a connection: what is sent arrives in order, later, or (cut, or stuck for ever) from some point on not at all. */
export class Wire {
  readonly #items: Item[] = [];
  readonly #clock: VirtualClock;
  readonly #latency: () => number;
  readonly #gate: (ready: Ready) => boolean;
  #at = 0;
  #over = false;

  /** gate: whether what is ready gets through now. */
  constructor(clock: VirtualClock, latency: () => number, gate: (ready: Ready) => boolean) {
    this.#clock = clock;
    this.#latency = latency;
    this.#gate = gate;
  }

  send(size: number, fn: () => void, last = false): void {
    if (this.#over) return;
    const now = this.#clock.now();
    this.#at = Math.max(this.#at, now + this.#latency());
    this.#items.push({ at: this.#at, size, last, fn });
    this.#clock.after(this.#at - now, this.flush);
  }

  /** Delivers what has become deliverable. */
  readonly flush = (): void => {
    const now = this.#clock.now();
    const ready = this.#items.filter(({ at }) => at <= now);
    if (this.#over || ready.length === 0) return;
    if (!this.#gate({ bytes: ready.reduce((sum, { size }) => sum + size, 0), whole: ready.some(({ last }) => last) })) return;
    this.#items.splice(0, ready.length);
    for (const { fn } of ready) if (!this.#over) fn();
  };

  /** Nothing arrives any more. */
  cut(): void {
    this.#over = true;
    this.#items.length = 0;
  }
}
