import { isCursor } from './cursor.ts';
import { closedError, FairleadError } from './error.ts';
import { decode, encode, type Gap, type Message } from './frame.ts';
import { mostLast } from './limits.ts';
import { isChannel, isPattern } from './pattern.ts';
import { randomKey } from './random.ts';
import type { Session } from './session.ts';
import { Feed, Pull, type Host, type SubscribeOptions, type Subscription } from './subscription.ts';

export interface PublishOptions {
  /** What the application calls it. */
  type?: string;
  /** The idempotency key: random unless given. The first message with a key is stored, repeats get its id. */
  key?: string;
  /** Gives up waiting; the message may have been stored all the same. */
  signal?: AbortSignal;
}

/** Where a page of history lies: after or before a cursor, or the last messages. */
export interface HistoryOptions {
  after?: string;
  before?: string;
  last?: number;
  limit?: number;
  signal?: AbortSignal;
}

export interface History {
  messages: Message[];
  /** The next page's `after` (or, going back, its `before`); absent at the end. */
  next?: string;
  gap?: Omit<Gap, 'channel'>;
}

/** What a channel needs of its client. */
export interface Within {
  session: Session;
  buffer: number;
  get(path: string, query: object, signal?: AbortSignal): Promise<unknown>;
  report(error: FairleadError): void;
}

export class Channel {
  readonly name: string;
  readonly #within: Within;

  /** Use client.channel(). */
  constructor(name: string, within: Within) {
    if (!isPattern(name)) throw new FairleadError('bad_request', `${JSON.stringify(name)} is not a channel name or pattern`);
    this.name = name;
    this.#within = within;
  }

  /** Calls fn with each message once, in order: from now, or from where the options say. */
  subscribe(fn: (message: Message) => void | Promise<void>, options?: SubscribeOptions): Subscription;
  /** Iterates over each message once, in order. Whoever is slow reads on from the log. */
  subscribe(options?: SubscribeOptions): AsyncIterableIterator<Message> & Subscription;
  subscribe(first?: ((message: Message) => void | Promise<void>) | SubscribeOptions, second: SubscribeOptions = {}): Subscription {
    const { session, buffer, report } = this.#within;
    const options = checked((typeof first === 'function' ? second : first) ?? {});
    const host: Host = { ledger: session.ledger, report };
    if (session.state === 'closed') throw closedError('the client');
    const sub = typeof first === 'function' ? new Feed(this.name, options, host, first) : new Pull(this.name, options, host, buffer);
    session.ledger.add(sub);
    return sub;
  }

  /**
   * Stores a message and gives its id. It is retried, on whatever transport is up, until the server acknowledges or refuses
   * it, or signal aborts; its key makes sure that it is stored once.
   */
  async publish(data: unknown, { type, key = randomKey(), signal }: PublishOptions = {}): Promise<{ id: string; duplicate: boolean }> {
    const { session } = this.#within;
    this.#mustBeChannel('publish');
    signal?.throwIfAborted();
    if (session.state === 'closed') throw closedError('the client');
    const cid = session.nextCid();
    let text: string;
    try {
      text = JSON.stringify({ op: 'publish', cid, channel: this.name, type, ...encode(data), key });
    } catch (cause) {
      throw new FairleadError('bad_request', 'the data cannot be written as JSON', { cause });
    }
    return new Promise((resolve, reject) => {
      const settle = (): void => signal?.removeEventListener('abort', abort);
      const forget = session.publish(
        { cid, text },
        (id, duplicate) => {
          settle();
          resolve({ id, duplicate });
        },
        (error) => {
          settle();
          reject(error);
        },
      );
      const abort = (): void => {
        forget();
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', abort);
    });
  }

  /** A page of the channel's past, oldest first. Without a position: from the beginning. */
  async history({ signal, ...query }: HistoryOptions = {}): Promise<History> {
    this.#mustBeChannel('history');
    const path = `v1/channels/${encodeURIComponent(this.name)}/messages`;
    const page = (await this.#within.get(path, query, signal)) as History;
    if (!Array.isArray(page?.messages)) throw new FairleadError('bad_answer', 'the answer to history is not whole');
    page.messages.forEach(decode);
    return page;
  }

  #mustBeChannel(what: string): void {
    if (!isChannel(this.name)) throw new FairleadError('bad_request', `${what} takes a channel name, and ${this.name} is a pattern`);
  }
}

function checked(options: SubscribeOptions): SubscribeOptions {
  const { after, last } = options;
  if (after !== undefined && last !== undefined) throw new FairleadError('bad_request', 'after and last exclude each other');
  if (after !== undefined && !isCursor(after)) throw new FairleadError('bad_request', `${JSON.stringify(after)} is not a cursor`);
  if (last !== undefined && !(Number.isInteger(last) && last >= 0 && last <= mostLast)) {
    throw new FairleadError('bad_request', `last is a count from 0 to ${mostLast}`);
  }
  return options;
}
