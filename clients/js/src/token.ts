import type { Clock } from './clock.ts';
import { FairleadError } from './error.ts';
import { tokenLimit } from './limits.ts';

export type TokenSource = string | (() => string | Promise<string>);

/** The application's token. Its function is asked once, and the answer kept until it is of no use. */
export class Token {
  /** What the function has given. */
  kept: string | undefined;
  /** The function is to be asked, or asked again. */
  lacking: boolean;
  readonly #source: TokenSource | undefined;
  readonly #clock: Clock;
  #asked: Promise<string> | undefined;

  /** `kept`: what its function would give. */
  constructor(source: TokenSource | undefined, clock: Clock, kept?: string) {
    this.#source = source;
    this.#clock = clock;
    this.kept = kept;
    this.lacking = typeof source === 'function' && kept === undefined;
  }

  /** What there is without asking. */
  get current(): string | undefined {
    return typeof this.#source === 'string' ? this.#source : this.kept;
  }

  /** Whether there may be another one: without any it is a cookie. */
  get renewable(): boolean {
    return typeof this.#source !== 'string';
  }

  /** What was kept, and what was asked and is not answered yet, is forgotten. `told`: another's, until a function is to be asked again. */
  anew(source = this.#source, told?: string): Token {
    return typeof source === 'function' ? new Token(source, this.#clock, told) : new Token(told ?? source, this.#clock);
  }

  /** It is of no use. */
  drop(token: string | undefined): void {
    if (token !== this.kept) return;
    this.kept = undefined;
    this.lacking = typeof this.#source === 'function';
  }

  /** One that is not `old`, which is kept until there is another, though the application may give it again. Throws a FairleadError. */
  async get(old?: string): Promise<string | undefined> {
    const source = this.#source;
    if (typeof source !== 'function') return source;
    if (this.kept !== undefined && this.kept !== old) return this.kept;
    // Those who ask together ask once, and none waits for ever.
    try {
      this.kept = await (this.#asked ??= new Promise<string>((resolve, reject) => {
        const cancel = this.#clock.after(tokenLimit, () => reject(new Error('nothing came')));
        // As text, or none: of an answer in another form nothing says more than this error.
        Promise.resolve().then(source).then((token) => token?.trim()).then(resolve, reject).finally(cancel);
      }));
      this.lacking = false;
      return this.kept;
    } catch (cause) {
      throw new FairleadError('token', 'the application gave no token', { cause });
    } finally {
      this.#asked = undefined;
    }
  }
}
