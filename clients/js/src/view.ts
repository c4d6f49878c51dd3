import { advance, compare, epoch, isAfter, sequence, start as beginning } from './cursor.ts';
import { FairleadError, isPassing } from './error.ts';
import type { Command, Gap, Message, Reply, Start, Welcome } from './frame.ts';
import type { Ledger, Sub, Watcher } from './ledger.ts';
import { matches } from './pattern.ts';
import { alike, disjoint, startOf, starts } from './starts.ts';

/** A subscribe command under way, and those that it is for. */
interface Ask {
  cid: number;
  subs: Sub[];
}

/**
 * What one attachment serves. A subscription is live in it when what arrives is complete from the subscription's cursor on; then
 * a message never moves the cursor past something that is still to come, whatever other attachments bring.
 */
export class View implements Watcher {
  readonly #ledger: Ledger;
  readonly #live = new Set<Sub>();
  readonly #asked = new Set<Sub>(); // the server has been, or is being, asked
  readonly #served = new Set<string>(); // patterns
  /** By pattern: one command at a time, so that `subscribed`, which names only a pattern, is of one command. */
  readonly #asking = new Map<string, Ask>();
  /** By pattern, the cursor from which it was asked for. */
  readonly #began = new Map<string, string | undefined>();
  #hello: Sub[] = [];
  #changed = false; // commands() may have something to say
  /** Ends it: nothing is served any more. */
  readonly close: () => void;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    this.close = ledger.watch(this);
  }

  changes(gone?: Sub): void {
    this.#changed = true;
    if (!gone) return;
    this.#live.delete(gone);
    this.#asked.delete(gone);
  }

  /**
   * What a new attachment is asked for. Those that it leaves out, because they start at a place of their own within what
   * others already get, are asked for by commands() once it is welcomed.
   */
  hello(): Record<string, Start> {
    this.#changed = true;
    const active = this.#ledger.active();
    const known = active.filter((s) => s.at !== null);
    const fresh = disjoint(active.filter((s) => s.at === null), known);
    return this.#ask([...known, ...fresh]);
  }

  /**
   * What the next poll asks for, and whether that is all; `fresh` ones are to be answered at once. Each poll is an attachment of its own: those whose
   * start is not known yet come first and alone, so that nothing that others get moves them past their own start.
   */
  poll(): { channels: Record<string, Start>; fresh: boolean; all: boolean } {
    this.#live.clear();
    this.#asked.clear();
    const active = this.#ledger.active();
    const fresh = disjoint(active.filter((s) => s.at === null), []);
    // The polls after this one bring the rest.
    this.#changed = false;
    const asked = fresh.length > 0 ? fresh : active;
    return { channels: this.#ask(asked), fresh: fresh.length > 0, all: asked.length === active.length };
  }

  /** What hello() or poll() asked for is served from here on. Without a frame, the first message or position is the start. */
  welcome(frame?: Welcome): void {
    for (const sub of this.#hello) {
      const started = frame?.channels?.[sub.pattern];
      // What the server does not name it does not serve: `unsubscribed` follows.
      if (started || !frame) this.#serve(sub, started?.after);
    }
    this.#hello = [];
  }

  /** Whether subscriptions have come or gone since the server was asked last. */
  get changed(): boolean {
    return this.#changed;
  }

  /** Whether a subscribe command waits for its `subscribed`. */
  get unanswered(): boolean {
    return this.#asking.size > 0;
  }

  /** The commands, at most so many, that bring what the attachment serves in line with what is subscribed to. */
  commands(nextCid: () => number, most: number): Command[] {
    const commands: Command[] = [];
    if (!this.#changed) return commands;
    this.#changed = false;
    const active = this.#ledger.active();
    const wanted = new Set(active.map((s) => s.pattern));
    for (const channel of this.#served) {
      if (wanted.has(channel)) continue;
      if (commands.length >= most) return this.#more(commands);
      this.#served.delete(channel);
      commands.push(command(nextCid(), { op: 'unsubscribe', channel }));
    }
    for (const sub of active) {
      if (!this.#idle(sub) || this.#asking.has(sub.pattern)) continue;
      if (commands.length >= most) return this.#more(commands);
      const subs = active.filter((s) => this.#idle(s) && s.pattern === sub.pattern && alike(s, sub));
      const cid = nextCid();
      const start = startOf(subs);
      for (const each of subs) this.#asked.add(each);
      this.#asking.set(sub.pattern, { cid, subs });
      this.#began.set(sub.pattern, start.after);
      commands.push(command(cid, { op: 'subscribe', channel: sub.pattern, ...start }));
    }
    return commands;
  }

  /** The answer to one of commands(). True if it was one of them. */
  reply(reply: Reply): boolean {
    for (const [pattern, ask] of this.#asking) {
      if (ask.cid !== reply.to) continue;
      if (!reply.error) return true; // `subscribed`, in the stream, says from where
      this.#asking.delete(pattern);
      this.#changed = true;
      for (const sub of ask.subs) {
        if (!this.#asked.delete(sub) || isPassing(reply.error.code)) continue;
        this.#ledger.remove(sub);
        sub.fail(new FairleadError(reply.error.code, reply.error.message));
      }
      return true;
    }
    return false;
  }

  /** Commands that may not have arrived are to be given again. */
  unasked(): void {
    this.#changed = true;
    for (const ask of this.#asking.values()) for (const sub of ask.subs) this.#asked.delete(sub);
    this.#asking.clear();
  }

  subscribed(pattern: string, after: string): void {
    this.#changed = true;
    this.#served.add(pattern);
    const ask = this.#asking.get(pattern);
    this.#asking.delete(pattern);
    for (const sub of ask?.subs ?? []) this.#serve(sub, after);
  }

  /** The server serves the pattern no more, or not at all. */
  unsubscribed(pattern: string, error: FairleadError): void {
    this.#served.delete(pattern);
    for (const sub of this.#ledger.active()) {
      if (sub.pattern !== pattern || this.#idle(sub)) continue;
      this.#ledger.remove(sub);
      sub.fail(error);
    }
  }

  /** Gives a message to those that have not had it. True if there was any. Throws when it is of another log. */
  message(message: Message): boolean {
    let taken = false;
    for (const sub of this.#ledger.matching(message.channel)) {
      // A listener may have unsubscribed another.
      if (!this.#live.has(sub)) continue;
      if (sub.at !== null) {
        const after = isAfter(message.id, sub.at);
        if (after === false) continue;
        if (after === undefined) this.#replaced(sub, `${epoch(message.id)}-${sequence(message.id) - 1}`);
      }
      sub.at = sub.at === null ? message.id : advance(sub.at, message.id);
      taken = true;
      sub.deliver(message);
    }
    return taken;
  }

  gap(gap: Gap): void {
    const moved: Sub[] = [];
    for (const sub of this.#live) {
      const news =
        gap.reason === 'purged' // of one channel, at its own place in the log, as a message is
          ? matches(sub.pattern, gap.channel) && (sub.at === null || isAfter(gap.to, sub.at) === true)
          : sub.pattern === gap.channel && this.#moves(gap, sub.at);
      if (!news) continue;
      sub.at = gap.to;
      moved.push(sub);
    }
    if (moved.length > 0) this.#ledger.gap(gap, moved);
  }

  /** Everything up to id has been sent. Throws when that is of another log. */
  beat(id: string): void {
    for (const sub of this.#live) {
      const order = sub.at === null ? 1 : compare(id, sub.at);
      if (order === undefined) this.#replaced(sub, id);
      else if (order > 0) sub.at = id;
    }
  }

  #idle(sub: Sub): boolean {
    return !this.#live.has(sub) && !this.#asked.has(sub);
  }

  #more(commands: Command[]): Command[] {
    this.#changed = true;
    return commands;
  }

  #ask(subs: Sub[]): Record<string, Start> {
    for (const sub of subs) this.#asked.add(sub);
    this.#hello = subs;
    const all = starts(subs);
    this.#began.clear();
    for (const [pattern, { after }] of Object.entries(all)) this.#began.set(pattern, after);
    return all;
  }

  #serve(sub: Sub, after: string | undefined): void {
    if (!this.#asked.delete(sub)) return;
    this.#served.add(sub.pattern);
    // A poll that was asked for "from now", and does not say which place that was, must not move a cursor that another attachment gave.
    if (after === undefined && sub.at !== null && this.#began.get(sub.pattern) === undefined) return;
    if (after !== undefined) sub.at ??= after;
    // Another attachment has given it a start before this one's: it is to be asked for from there.
    if (after !== undefined && sub.at !== null && (compare(sub.at, after) ?? 0) < 0) return;
    this.#live.add(sub);
    sub.served();
  }

  /**
   * Whether a gap moves a cursor: several of one pattern may have come to different places, and not all lose by it; and two
   * attachments may both tell of it. Back it moves only those that were beyond where this attachment began.
   */
  #moves(gap: Gap, cursor: string | null): boolean {
    if (cursor === null) return true;
    const order = compare(cursor, gap.to);
    if (order !== undefined && order < 0) return gap.reason !== 'ahead';
    if (gap.from !== this.#began.get(gap.channel)) return false;
    const beyond = compare(cursor, gap.from);
    return order === undefined ? beyond !== undefined : gap.reason === 'ahead' && order > 0 && beyond !== undefined && beyond >= 0;
  }

  /** Another log's position came without a gap. Where the cursors were of several logs that was asked for: it must not be silent. */
  #replaced(sub: Sub, to: string): void {
    if (this.#began.get(sub.pattern) !== beginning) throw new FairleadError('bad_answer', 'a position of another log came without a gap');
    const gap = { channel: sub.pattern, from: sub.at ?? beginning, to, reason: 'replaced' };
    sub.at = to;
    this.#ledger.gap(gap, [sub]);
  }
}

export function command(cid: number, fields: object): Command {
  return { cid, text: JSON.stringify({ ...fields, cid }) };
}
