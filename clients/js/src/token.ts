import type { Clock } from './clock.ts';
import { FairleadError } from './error.ts';

export type TokenSource = string | (() => string | Promise<string>);

/** For the application's function. Milliseconds. */
const limit = 8_000;

/** The application's token. Its function is asked once, and the answer kept until it is of no use. */
export class Token {
  /** Undefined: the function is to be asked. */
  kept: string | undefined;
  readonly #source: TokenSource | undefined;
  readonly #clock: Clock;
  #asked: Promise<string> | undefined;

  constructor(source: TokenSource | undefined, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  /** What there is without asking. */
  get current(): string | undefined {
    return typeof this.#source === 'string' ? this.#source : this.kept;
  }

  /** Whether there may be another one: without any it is a cookie. */
  get renewable(): boolean {
    return typeof this.#source !== 'string';
  }

  /** What was kept, and what was asked and is not answered yet, is forgotten. */
  anew(source = this.#source): Token {
    return new Token(source, this.#clock);
  }

  /** It is of no use. */
  drop(token: string | undefined): void {
    if (token === this.kept) this.kept = undefined;
  }

  /** One that is not `old`, which is kept until there is another, though the application may give it again. Throws a FairleadError. */
  async get(old?: string): Promise<string | undefined> {
    const source = this.#source;
    if (typeof source !== 'function') return source;
    if (this.kept !== undefined && this.kept !== old) return this.kept;
    // Those who ask together ask once, and none waits for ever.
    this.#asked ??= new Promise<string>((resolve, reject) => {
      const cancel = this.#clock.after(limit, () => reject(new Error(`nothing came within ${limit} ms`)));
      new Promise<string>((resolved) => resolved(source())).then(resolve, reject).finally(cancel);
    }).finally(() => (this.#asked = undefined));
    try {
      return (this.kept = await this.#asked);
    } catch (cause) {
      throw new FairleadError('token', 'the application gave no token', { cause });
    }
  }
}
