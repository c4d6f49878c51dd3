import type { Clock } from '../../src/clock.ts';
import type { KeyValue } from '../../src/storage.ts';
import type { VirtualClock } from './clock.ts';

/** What the page of now listens to; src/page.ts finds it where a browser's window is. */
let front = new EventTarget();
Object.assign(globalThis, {
  addEventListener: (type: string, fn: () => void) => front.addEventListener(type, fn),
  removeEventListener: (type: string, fn: () => void) => front.removeEventListener(type, fn),
});

/** A page that a client lives in. It may be frozen for a while, or gone from one moment to the next. */
export class Page {
  readonly clock: Clock;
  /** How many of its timers are to fire. */
  timers = 0;
  readonly #window = (front = new EventTarget());
  /** When it was thawed last; Infinity while it is frozen. */
  thawed = 0;
  #gone = false;
  readonly #late: (() => void)[] = [];
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
    const { now, wall, random } = clock;
    this.clock = {
      now, wall, random,
      after: (ms, fn) => {
        let live = true;
        const over = (): boolean => {
          if (!live) return false;
          live = false;
          this.timers--;
          return true;
        };
        this.timers++;
        // As a browser's: whole milliseconds, so a little early, and at least one.
        const cancel = clock.after(Math.max(Math.trunc(ms), 1), () => this.turn(() => over() && fn()));
        return () => {
          cancel();
          over();
        };
      },
    };
  }

  /** Runs fn in the page: at once, when the page thaws, or never. */
  turn(fn: () => void): void {
    if (this.#gone) return;
    if (this.thawed === Infinity) this.#late.push(fn);
    else fn();
  }

  freeze(): void {
    this.thawed = Infinity;
  }

  /** What came meanwhile happens now, in order, each in a turn of its own. */
  thaw(): void {
    const next = this.#late.shift();
    if (!next) this.thawed = Math.min(this.thawed, this.#clock.now());
    else if (!this.#gone) {
      next();
      this.#clock.after(0, () => this.thaw());
    }
  }

  /** It ends without a word. */
  kill(): void {
    this.#gone = true;
  }

  tell(type: 'online' | 'pageshow'): void {
    this.turn(() => this.#window.dispatchEvent(new Event(type)));
  }
}

/** localStorage. */
export class Shelf implements KeyValue {
  readonly values = new Map<string, string>();
  readonly getItem = (key: string): string | null => this.values.get(key) ?? null;
  readonly setItem = (key: string, value: string): void => void this.values.set(key, value);
  readonly removeItem = (key: string): void => void this.values.delete(key);
}
