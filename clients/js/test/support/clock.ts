import type { Clock } from '../../src/clock.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  /** Undefined: it was cancelled. */
  fn: (() => void) | undefined;
}

/** So many timers of one moment are a loop that never ends. */
const most = 10_000;

/** A whole turn of the event loop: whatever can settle has settled, be it a promise or a stream of the platform. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * As turn(), at a tenth of its cost, where nothing but promises is to settle: Node runs a tick that was asked for in a microtask
 * only when there are no microtasks left (processTicksAndRejections).
 */
export const promises = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));

/** Virtual time and seeded dice: a run is the same each time. */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  /** A binary heap: the next one first. */
  readonly #timers: Timer[] = [];
  readonly #settled: () => Promise<void>;
  #seed: number;

  constructor(seed: number, settled: () => Promise<void> = turn) {
    this.#seed = seed;
    this.#settled = settled;
  }

  readonly now = (): number => this.#now;
  readonly wall = (): number => 1_700_000_000_000 + this.#now;

  /** mulberry32 */
  readonly random = (): number => {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };

  readonly after = (ms: number, fn: () => void): (() => void) => {
    const timer: Timer = { at: this.#now + ms, order: this.#order++, fn };
    this.#push(timer);
    return () => (timer.fn = undefined);
  };

  /** Runs what is due until then; between two timers everything that was started settles. */
  async run(ms: number): Promise<void> {
    const end = this.#now + ms;
    let still = 0;
    await this.#settled();
    for (let [next] = this.#timers; next && next.at <= end; [next] = this.#timers) {
      this.#pop();
      if (!next.fn) continue;
      still = next.at > this.#now ? 0 : still + 1;
      if (still > most) throw new Error(`time stands still at ${this.#now}: something asks for a timer of no length again and again`);
      this.#now = Math.max(this.#now, next.at);
      next.fn();
      await this.#settled();
    }
    this.#now = end;
  }

  #push(timer: Timer): void {
    const heap = this.#timers;
    let i = heap.length;
    for (let up = (i - 1) >> 1; i > 0 && before(timer, heap[up]); i = up, up = (i - 1) >> 1) heap[i] = heap[up] as Timer;
    heap[i] = timer;
  }

  #pop(): void {
    const heap = this.#timers;
    const last = heap.pop() as Timer;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      if (before(heap[down + 1], heap[down])) down++;
      if (!before(heap[down], last)) break;
      heap[i] = heap[down] as Timer;
      i = down;
    }
    heap[i] = last;
  }
}

function before(a: Timer | undefined, b: Timer | undefined): boolean {
  return a !== undefined && b !== undefined && (a.at < b.at || (a.at === b.at && a.order < b.order));
}
