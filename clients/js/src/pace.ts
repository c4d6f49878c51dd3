import type { Clock } from './clock.ts';
import { longest, type Policy } from './policy.ts';

/** When commands may go up again after some were refused or lost; the same for whatever carries them. */
export class Pace {
  #failures = 0;
  #until = 0;
  #forced = false; // the server wants it so; otherwise another attachment may do better
  readonly #clock: Clock;
  readonly #policy: Pick<Policy, 'base' | 'cap'>;

  constructor(clock: Clock, policy: Pick<Policy, 'base' | 'cap'>) {
    this.#clock = clock;
    this.#policy = policy;
  }

  /** How many failed in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** Milliseconds until commands may go up; not positive: now. */
  get wait(): number {
    return this.#until - this.#clock.now();
  }

  /** `least`: the server named the time. */
  back(forced: boolean, least = 0): void {
    const most = Math.min(this.#policy.cap, this.#policy.base * 2 ** Math.min(this.#failures++, 20));
    this.#forced = forced;
    this.#until = this.#clock.now() + Math.max(Math.min(least, longest), this.#clock.random() * most);
  }

  settled(): void {
    this.#failures = 0;
  }

  /** Whatever was asked for counts no more: this is another network, or the application wants it so. */
  reset(): void {
    this.#until = this.#failures = 0;
  }

  /** Another attachment carries them. */
  anew(): void {
    if (!this.#forced) this.reset();
  }
}
