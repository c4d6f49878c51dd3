import { lowest } from './cursor.ts';
import type { FairleadError } from './error.ts';
import type { Gap, Message, Start } from './frame.ts';
import { hasWildcard, matches } from './pattern.ts';

/** One local subscription. */
export interface Sub {
  readonly pattern: string;
  readonly start: Start;
  /** The last message or position that it has been given; null until its start is known. Moved by the views only. */
  at: string | null;
  /** Its consumer is too slow to be served for now. Set by the ledger only. */
  parked: boolean;
  deliver(message: Message): void;
  /** It is served, from its cursor on. */
  served(): void;
  /** Messages before its new cursor have gone from the log. */
  missed?(gap: Gap): void;
  /** The server will not serve it. */
  fail(error: FairleadError): void;
}

/** Who serves subscriptions. */
export interface Watcher {
  /** A subscription came or goes on, or this one went or was parked. */
  changes(gone?: Sub): void;
}

/**
 * Who is subscribed to what, and how far each has come. Each attachment has a view of it, which decides what to ask of the
 * server and who gets what arrives; several may deliver at once, and each message moves a cursor once. No I/O, no time.
 */
export class Ledger {
  readonly #subs = new Set<Sub>();
  readonly #exact = new Map<string, Set<Sub>>();
  readonly #wild = new Set<Sub>();
  readonly #watchers = new Set<Watcher>();
  readonly #onGap: (gap: Gap) => void;
  readonly #onChange: () => void;

  /** onChange: a subscription came, went, was parked or goes on; called while that is done. */
  constructor(onGap: (gap: Gap) => void, onChange: () => void) {
    this.#onGap = onGap;
    this.#onChange = onChange;
  }

  add(sub: Sub): void {
    this.#subs.add(sub);
    if (hasWildcard(sub.pattern)) this.#wild.add(sub);
    else this.#exact.set(sub.pattern, (this.#exact.get(sub.pattern) ?? new Set()).add(sub));
    this.#change();
  }

  remove(sub: Sub): void {
    this.#subs.delete(sub);
    this.#wild.delete(sub);
    const same = this.#exact.get(sub.pattern);
    same?.delete(sub);
    if (same?.size === 0) this.#exact.delete(sub.pattern);
    this.#change(sub);
  }

  park(sub: Sub): void {
    sub.parked = true;
    this.#change(sub);
  }

  unpark(sub: Sub): void {
    sub.parked = false;
    this.#change();
  }

  subs(): Sub[] {
    return [...this.#subs];
  }

  /** Those that are to be served. */
  active(): Sub[] {
    return this.subs().filter((s) => !s.parked);
  }

  matching(channel: string): Sub[] {
    const subs = [...(this.#exact.get(channel) ?? [])];
    for (const sub of this.#wild) if (matches(sub.pattern, channel)) subs.push(sub);
    return subs;
  }

  /** The lowest cursor: whoever starts from it misses nothing. Null while none is known. */
  cursor(): string | null {
    const known = this.subs().map((s) => s.at).filter((c) => c !== null);
    return known.length > 0 ? lowest(known) : null;
  }

  /** Tells it of changes, until the returned function is called. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Tells of a gap, which has moved these. */
  gap(gap: Gap, subs: readonly Sub[]): void {
    for (const sub of subs) sub.missed?.(gap);
    this.#onGap(gap);
  }

  #change(gone?: Sub): void {
    for (const watcher of this.#watchers) watcher.changes(gone);
    this.#onChange();
  }
}
