import { closedError, FairleadError } from './error.ts';
import type { Message, Start } from './frame.ts';
import type { Ledger, Sub } from './ledger.ts';
import { settled } from './settled.ts';

/** A subscription: ends with unsubscribe(), with its signal, or with the client. */
export interface Subscription extends Disposable {
  /** Settles when the server serves it: nothing published from then on is missed. Rejects if it never will be. */
  readonly ready: Promise<void>;
  /** Settles when it ends. Rejects if the server ended it, or will not serve it. */
  readonly ended: Promise<void>;
  /** After the last message that was handed over: start here to go on. Null until its start is known. */
  readonly cursor: string | null;
  unsubscribe(): void;
}

export interface SubscribeOptions extends Start {
  signal?: AbortSignal;
}

/** Where a subscription lives. */
export interface Host {
  ledger: Pick<Ledger, 'add' | 'remove' | 'park' | 'unpark'>;
  report(error: FairleadError): void;
}

abstract class Base implements Sub, Subscription {
  readonly pattern: string;
  readonly start: Start;
  readonly ready: Promise<void>;
  readonly ended: Promise<void>;
  at: string | null;
  parked = false;
  protected readonly host: Host;
  #settle!: (error?: FairleadError) => void;
  #finish!: (error?: FairleadError) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => this.unsubscribe();

  constructor(pattern: string, { signal, ...start }: SubscribeOptions, host: Host) {
    this.pattern = pattern;
    this.start = start;
    this.at = start.after ?? null;
    this.host = host;
    this.ready = settled((settle) => (this.#settle = settle));
    this.ended = settled((settle) => (this.#finish = settle));
    this.#signal = signal;
    if (signal?.aborted) queueMicrotask(this.#abort);
    else signal?.addEventListener('abort', this.#abort);
  }

  get cursor(): string | null {
    return this.at;
  }

  abstract deliver(message: Message): void;

  fail(error: FairleadError): void {
    const closed = error.code === 'closed';
    this.#settle(error);
    this.#finish(closed ? undefined : error);
    if (!closed) this.host.report(error);
  }

  served(): void {
    this.#settle();
  }

  unsubscribe(): void {
    this.#signal?.removeEventListener('abort', this.#abort);
    this.host.ledger.remove(this);
    this.#settle(closedError(`the subscription to ${this.pattern}`));
    this.#finish();
  }

  [Symbol.dispose](): void {
    this.unsubscribe();
  }
}

/** Hands each message to a function. */
export class Feed extends Base {
  readonly #fn: (message: Message) => unknown;

  constructor(pattern: string, options: SubscribeOptions, host: Host, fn: (message: Message) => unknown) {
    super(pattern, options, host);
    this.#fn = fn;
  }

  deliver(message: Message): void {
    const thrown = (cause: unknown): void =>
      this.host.report(new FairleadError('listener', `the function subscribed to ${this.pattern} threw`, { cause }));
    try {
      // Its promise is not waited for: who wants to be waited for, iterates.
      const result = this.#fn(message);
      if (result instanceof Promise) result.catch(thrown);
    } catch (cause) {
      thrown(cause);
    }
  }
}

/**
 * Holds messages for an async iterator, up to a bound. When that is reached the subscription is parked: what follows is left
 * in the log, and asked for from the cursor when the held ones are consumed. A slow consumer costs a cursor, not a queue.
 */
export class Pull extends Base implements AsyncIterableIterator<Message> {
  readonly #most: number;
  #held: Message[] = [];
  #next = 0; // of held: shifting a long array costs its length
  #waiting: ((result: IteratorResult<Message> | Promise<IteratorResult<Message>>) => void)[] = [];
  #over = false;
  #error: FairleadError | undefined;
  #consumed: string | null = null;

  constructor(pattern: string, options: SubscribeOptions, host: Host, most: number) {
    super(pattern, options, host);
    this.#most = most;
  }

  /** The consumer's place, not what is held for it. */
  override get cursor(): string | null {
    return this.#next < this.#held.length ? this.#consumed : this.at;
  }

  override served(): void {
    super.served();
    this.#consumed ??= this.at;
  }

  override deliver(message: Message): void {
    const waiting = this.#waiting.shift();
    if (waiting) {
      this.#consumed = message.id;
      waiting({ done: false, value: message });
      return;
    }
    this.#held.push(message);
    if (this.#held.length - this.#next >= this.#most) this.host.ledger.park(this);
  }

  override fail(error: FairleadError): void {
    super.fail(error);
    if (error.code !== 'closed') this.#error = error;
    this.#end();
  }

  override unsubscribe(): void {
    super.unsubscribe();
    this.#end();
  }

  next(): Promise<IteratorResult<Message>> {
    const value = this.#held[this.#next];
    if (value) {
      this.#next++;
      this.#consumed = value.id;
      if (this.#next === this.#held.length) {
        this.#held = [];
        this.#next = 0;
        this.host.ledger.unpark(this);
      }
      return Promise.resolve({ done: false, value });
    }
    return this.#over ? this.#last() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<IteratorResult<Message>> {
    this.unsubscribe();
    this.#held = [];
    this.#next = 0;
    return this.next();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #end(): void {
    this.#over = true;
    for (const resolve of this.#waiting.splice(0)) resolve(this.#last());
  }

  /** The error that ended it, once, and then the end. */
  #last(): Promise<IteratorResult<Message>> {
    const error = this.#error;
    this.#error = undefined;
    return error ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined });
  }
}
