import { FairleadError, isPassing } from './error.ts';
import type { Command, Reply } from './frame.ts';

/** A publish that waits for its acknowledgement. */
export interface Entry extends Command {
  /** Whether it is under way. */
  sent: boolean;
  done(reply: Reply): void;
  fail(error: FairleadError): void;
}

/** Where what waits is kept across reloads. Neither may throw. */
export interface Shelf {
  /** The texts of what waited when this was saved last, in order. */
  load(): string[];
  save(texts: readonly string[]): void;
}

/**
 * The publishes that are not acknowledged, in order. What may not have arrived is given out again, from the front; its key
 * makes that harmless.
 */
export class Outbox {
  #entries: Entry[] = [];
  #sent = 0;
  #refused = false; // hold back until nothing is under way: what follows a refused one must not overtake it twice
  #saving = false;
  readonly #limit: number;
  readonly #shelf: Shelf | undefined;
  #largest = Infinity;

  /** At most limit publishes wait. */
  constructor(limit: number, shelf?: Shelf) {
    this.#limit = limit;
    this.#shelf = shelf;
  }

  /** Takes up what an earlier page left. Call it before anything is added. */
  restore(nextCid: () => number, fail: (error: FairleadError) => void): void {
    for (const text of this.#shelf?.load() ?? []) {
      const cid = nextCid();
      this.#entries.push({ cid, text: JSON.stringify({ ...(JSON.parse(text) as object), cid }), sent: false, done: () => {}, fail });
    }
  }

  /** How many are under way. */
  get sent(): number {
    return this.#sent;
  }

  get size(): number {
    return this.#entries.length;
  }

  add(command: Command, done: (reply: Reply) => void, fail: (error: FairleadError) => void): Entry {
    if (this.#entries.length >= this.#limit) {
      throw new FairleadError('outbox_full', `${this.#limit} publishes are not acknowledged: await some of them`);
    }
    const entry = { ...command, sent: false, done, fail };
    this.#check(entry);
    this.#entries.push(entry);
    this.#save();
    return entry;
  }

  /** The server takes commands of at most bytes: rejects those that are larger, now and when they are added. */
  restrict(bytes: number): void {
    this.#largest = bytes;
    for (const entry of [...this.#entries]) {
      try {
        this.#check(entry);
      } catch (error) {
        this.remove(entry);
        entry.fail(error as FairleadError);
      }
    }
  }

  #check({ text }: Command): void {
    // A UTF-16 unit is at most three bytes: most commands need not be encoded to be measured.
    if (text.length * 3 <= this.#largest) return;
    const bytes = new TextEncoder().encode(text).length;
    if (bytes > this.#largest) throw new FairleadError('too_large', `the message takes ${bytes} bytes, and the server allows ${this.#largest}`);
  }

  /** The next ones to send, at most count and (but for one) at most size characters; they are under way then. */
  take(count: number, size: number): Entry[] {
    if (this.#refused && this.#sent > 0) return [];
    this.#refused = false;
    const taken: Entry[] = [];
    for (const entry of this.#entries) {
      if (entry.sent) continue;
      size -= entry.text.length;
      if (taken.length >= count || (taken.length > 0 && size < 0)) break;
      entry.sent = true;
      taken.push(entry);
    }
    this.#sent += taken.length;
    return taken;
  }

  /** Settles the one that a reply is to, unless it says that it will pass. `retry`: later, from the front. */
  reply(reply: Reply): 'settled' | 'retry' | 'unknown' {
    const entry = this.#entries.find((e) => e.cid === reply.to);
    if (!entry) return 'unknown';
    if (reply.error && isPassing(reply.error.code)) {
      if (!entry.sent) return 'unknown';
      entry.sent = false;
      this.#sent--;
      this.#refused = true;
      return 'retry';
    }
    this.remove(entry);
    if (reply.error) entry.fail(new FairleadError(reply.error.code, reply.error.message));
    else entry.done(reply);
    return 'settled';
  }

  /** What was under way may be lost: all of it is to be sent again. */
  lost(): void {
    for (const entry of this.#entries) entry.sent = false;
    this.#sent = 0;
  }

  remove(entry: Entry): void {
    const at = this.#entries.indexOf(entry);
    if (at < 0) return;
    this.#entries.splice(at, 1);
    if (entry.sent) this.#sent--;
    this.#save();
  }

  /** Rejects everything. What is on the shelf stays there, for the next page. */
  close(error: FairleadError): void {
    const entries = this.#entries;
    this.#write();
    this.#entries = [];
    this.#sent = 0;
    for (const entry of entries) entry.fail(error);
  }

  #save(): void {
    if (!this.#shelf || this.#saving) return;
    this.#saving = true;
    // Many changes in one turn of the event loop are written once.
    queueMicrotask(() => this.#write());
  }

  #write(): void {
    if (!this.#saving) return;
    this.#saving = false;
    this.#shelf?.save(this.#entries.map((e) => e.text));
  }
}
