import { advance, compare, epoch, isAfter, lowest, sequence, start as beginning } from './cursor.ts';
import { FairleadError, isPassing } from './error.ts';
import type { Command, Gap, Message, Reply, Start, Welcome } from './frame.ts';
import { hasWildcard, matches, overlap } from './pattern.ts';

/**
 * One local subscription. `idle`: not served. `asked`: the server has been, or is being, asked. `live`: what arrives for it
 * is complete from its cursor on, so it is served. `parked`: its consumer is too slow to be served for now.
 */
export interface Sub {
  readonly pattern: string;
  readonly start: Start;
  /** The last message or position that it has been given; null until its start is known. Moved by the ledger only. */
  at: string | null;
  phase: 'idle' | 'asked' | 'live' | 'parked';
  deliver(message: Message): void;
  /** It is served, from its cursor on. */
  served(): void;
  /** The server will not serve it. */
  fail(error: FairleadError): void;
}

/** A subscribe command under way, and those that it is for. */
interface Ask {
  cid: number;
  subs: Sub[];
}

/**
 * Who is subscribed to what, and how far each has come. It decides what to ask of the server and who gets what arrives, so
 * that each subscription sees each message once, in order: a message never moves a cursor past something that is still to
 * come. No I/O, no time: the session calls it with what arrives.
 */
export class Ledger {
  readonly #subs = new Set<Sub>();
  readonly #exact = new Map<string, Set<Sub>>();
  readonly #wild = new Set<Sub>();
  /** The patterns that the attachment serves. */
  readonly #served = new Set<string>();
  /** By pattern: one command at a time, so that `subscribed`, which names only a pattern, is of one command. */
  readonly #asking = new Map<string, Ask>();
  #hello: Sub[] = [];
  #changed = false; // commands() may have something to say
  readonly #onGap: (gap: Gap) => void;
  readonly #onChange: () => void;

  /** onChange: a subscription came, went, was parked or goes on; called while that is done. */
  constructor(onGap: (gap: Gap) => void, onChange: () => void) {
    this.#onGap = onGap;
    this.#onChange = onChange;
  }

  add(sub: Sub): void {
    this.#change();
    this.#subs.add(sub);
    if (hasWildcard(sub.pattern)) this.#wild.add(sub);
    else this.#exact.set(sub.pattern, (this.#exact.get(sub.pattern) ?? new Set()).add(sub));
  }

  remove(sub: Sub): void {
    this.#change();
    sub.phase = 'idle';
    this.#subs.delete(sub);
    this.#wild.delete(sub);
    const same = this.#exact.get(sub.pattern);
    same?.delete(sub);
    if (same?.size === 0) this.#exact.delete(sub.pattern);
  }

  subs(): Sub[] {
    return [...this.#subs];
  }

  /** The lowest cursor: whoever starts from it misses nothing. Null while none is known. */
  cursor(): string | null {
    const known = this.subs().map((s) => s.at).filter((c) => c !== null);
    return known.length > 0 ? lowest(known) : null;
  }

  /** The attachment is gone: nothing is served or asked. */
  detached(): void {
    this.#changed = true;
    for (const sub of this.#subs) if (sub.phase !== 'parked') sub.phase = 'idle';
    this.#served.clear();
    this.#asking.clear();
    this.#hello = [];
  }

  /**
   * What a new attachment is asked for. Those that it leaves out, because they start at a place of their own within what
   * others already get, are asked for by commands() once it is welcomed.
   */
  hello(): Record<string, Start> {
    this.detached();
    const active = this.#active();
    const known = active.filter((s) => s.at !== null);
    const fresh = disjoint(active.filter((s) => s.at === null), known);
    return this.#ask([...known, ...fresh]);
  }

  /**
   * What the next poll asks for; `fresh` ones are to be answered at once. Each poll is an attachment of its own: those whose
   * start is not known yet come first and alone, so that nothing that others get moves them past their own start.
   */
  poll(): { channels: Record<string, Start>; fresh: boolean } {
    this.detached();
    const active = this.#active();
    const fresh = disjoint(active.filter((s) => s.at === null), []);
    // The polls after this one bring the rest.
    this.#changed = false;
    return { channels: this.#ask(fresh.length > 0 ? fresh : active), fresh: fresh.length > 0 };
  }

  /** What hello() or poll() asked for is served from here on. Without a frame, the first message or position is the start. */
  welcome(frame?: Welcome): void {
    for (const sub of this.#hello) {
      if (sub.phase !== 'asked') continue;
      if (frame) sub.at ??= frame.channels?.[sub.pattern]?.after ?? frame.id;
      this.#serve(sub);
    }
    this.#hello = [];
  }

  /** Whether subscriptions have come or gone since the server was asked last. */
  get changed(): boolean {
    return this.#changed;
  }

  /** Whether a subscribe command waits for its `subscribed`. */
  get asking(): boolean {
    return this.#asking.size > 0;
  }

  /** The commands, at most so many, that bring what the attachment serves in line with what is subscribed to. */
  commands(nextCid: () => number, most: number): Command[] {
    const commands: Command[] = [];
    if (!this.#changed) return commands;
    this.#changed = false;
    const active = this.#active();
    const wanted = new Set(active.map((s) => s.pattern));
    for (const channel of this.#served) {
      if (wanted.has(channel)) continue;
      if (commands.length >= most) return this.#more(commands);
      this.#served.delete(channel);
      commands.push(command(nextCid(), { op: 'unsubscribe', channel }));
    }
    for (const sub of active) {
      if (sub.phase !== 'idle' || this.#asking.has(sub.pattern)) continue;
      if (commands.length >= most) return this.#more(commands);
      const subs = active.filter((s) => s.phase === 'idle' && s.pattern === sub.pattern && alike(s, sub));
      const cid = nextCid();
      for (const each of subs) each.phase = 'asked';
      this.#asking.set(sub.pattern, { cid, subs });
      commands.push(command(cid, { op: 'subscribe', channel: sub.pattern, ...startOf(subs) }));
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
        if (sub.phase !== 'asked') continue;
        sub.phase = 'idle';
        if (isPassing(reply.error.code)) continue;
        this.remove(sub);
        sub.fail(new FairleadError(reply.error.code, reply.error.message));
      }
      return true;
    }
    return false;
  }

  /** Commands that may not have arrived are to be given again. */
  unasked(): void {
    this.#changed = true;
    for (const ask of this.#asking.values()) for (const sub of ask.subs) if (sub.phase === 'asked') sub.phase = 'idle';
    this.#asking.clear();
  }

  subscribed(pattern: string, after: string): void {
    this.#changed = true;
    this.#served.add(pattern);
    const ask = this.#asking.get(pattern);
    this.#asking.delete(pattern);
    for (const sub of ask?.subs ?? []) {
      if (sub.phase !== 'asked') continue;
      sub.at ??= after;
      this.#serve(sub);
    }
  }

  /** Gives a message to those that have not had it. True if there was any. */
  message(message: Message): boolean {
    let taken = false;
    for (const sub of this.#matching(message.channel)) {
      // A listener may have unsubscribed another.
      if (sub.phase !== 'live') continue;
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
    let affected = false;
    for (const sub of this.#subs) {
      if (sub.phase !== 'live') continue;
      const news =
        gap.reason === 'purged' // of one channel, at its own place in the log, as a message is
          ? matches(sub.pattern, gap.channel) && (sub.at === null || isAfter(gap.to, sub.at) === true)
          : sub.pattern === gap.channel && moves(gap, sub.at);
      if (!news) continue;
      sub.at = gap.to;
      affected = true;
    }
    if (affected) this.#onGap(gap);
  }

  /** Everything up to id has been sent. */
  beat(id: string): void {
    for (const sub of this.#subs) {
      if (sub.phase !== 'live') continue;
      const order = sub.at === null ? 1 : compare(id, sub.at);
      if (order === undefined) this.#replaced(sub, id);
      else if (order > 0) sub.at = id;
    }
  }

  park(sub: Sub): void {
    this.#change();
    sub.phase = 'parked';
  }

  unpark(sub: Sub): void {
    this.#change();
    if (sub.phase === 'parked' && this.#subs.has(sub)) sub.phase = 'idle';
  }

  #change(): void {
    this.#changed = true;
    this.#onChange();
  }

  #more(commands: Command[]): Command[] {
    this.#changed = true;
    return commands;
  }

  #active(): Sub[] {
    return this.subs().filter((s) => s.phase !== 'parked');
  }

  #matching(channel: string): Sub[] {
    const subs = [...(this.#exact.get(channel) ?? [])];
    for (const sub of this.#wild) if (matches(sub.pattern, channel)) subs.push(sub);
    return subs;
  }

  #ask(subs: Sub[]): Record<string, Start> {
    for (const sub of subs) sub.phase = 'asked';
    this.#hello = subs;
    return starts(subs);
  }

  #serve(sub: Sub): void {
    this.#served.add(sub.pattern);
    sub.phase = 'live';
    sub.served();
  }

  /** A position of another epoch came without a gap: the hole must not be silent. */
  #replaced(sub: Sub, to: string): void {
    const gap = { channel: sub.pattern, from: sub.at ?? beginning, to, reason: 'replaced' };
    sub.at = to;
    this.#onGap(gap);
  }
}

function command(cid: number, fields: object): Command {
  return { cid, text: JSON.stringify({ ...fields, cid }) };
}

/** Whether one command serves both: from a known cursor the lower one does. */
function alike(a: Sub, b: Sub): boolean {
  if (a.at !== null || b.at !== null) return a.at !== null && b.at !== null;
  return a.start.last === b.start.last;
}

/** The start that serves all of these, which are alike. */
function startOf(subs: readonly Sub[]): Start {
  const cursors = subs.map((s) => s.at).filter((c) => c !== null);
  if (cursors.length > 0) return { after: lowest(cursors) };
  const last = subs[0]?.start.last;
  return last === undefined ? {} : { last };
}

/** The starts by pattern. Patterns that share channels get one start, or one's messages would overtake the other's. */
function starts(subs: readonly Sub[]): Record<string, Start> {
  const groups = new Map<string, Sub[]>();
  for (const sub of subs) groups.set(sub.pattern, [...(groups.get(sub.pattern) ?? []), sub]);
  const all = new Map([...groups].map(([pattern, group]) => [pattern, startOf(group)]));
  const wild = [...all.keys()].filter(hasWildcard);
  for (let changed = true; changed; ) {
    changed = false;
    for (const one of wild) {
      const near = [...all].filter(([other, s]) => s.after !== undefined && overlap(one, other));
      const after = lowest(near.map(([, s]) => s.after ?? beginning));
      for (const [pattern, s] of near) {
        if (s.after === after) continue;
        all.set(pattern, { after });
        changed = true;
      }
    }
  }
  return Object.fromEntries(all);
}

/** Those of subs that share no channel with one another nor with others, unless they are the same. */
function disjoint(subs: readonly Sub[], others: readonly Sub[]): Sub[] {
  const chosen: Sub[] = [];
  const names = new Map<string, Sub>();
  const wild: Sub[] = [];
  const note = (sub: Sub): void => {
    if (hasWildcard(sub.pattern)) wild.push(sub);
    else names.set(sub.pattern, sub);
  };
  others.forEach(note);
  for (const sub of subs) {
    const near = hasWildcard(sub.pattern) ? [...names.values(), ...wild] : [...wild, ...(names.has(sub.pattern) ? [names.get(sub.pattern) as Sub] : [])];
    const clash = near.some((s) => overlap(s.pattern, sub.pattern) && !(s.pattern === sub.pattern && alike(s, sub)));
    if (clash) continue;
    chosen.push(sub);
    note(sub);
  }
  return chosen;
}

/** Whether a gap moves a cursor: several of one pattern may have come to different places, and not all lose by it. */
function moves(gap: Gap, cursor: string | null): boolean {
  if (cursor === null || cursor === gap.from) return true;
  const order = compare(cursor, gap.to);
  if (order === undefined) return true;
  return gap.reason === 'ahead' ? order > 0 : order < 0;
}
