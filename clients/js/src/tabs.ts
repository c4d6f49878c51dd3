import { advance, compare, isAfter } from './cursor.ts';
import { FairleadError } from './error.ts';
import type { Gap, Message, Reply, Start, Transport } from './frame.ts';
import type { Sub } from './ledger.ts';
import type { State } from './link.ts';
import { randomKey } from './random.ts';
import type { Events } from './session.ts';
import type { Share, Shared } from './share.ts';

/**
 * Many tabs of one browser, one attachment: the tab that holds a Web Lock leads, and serves the others over BroadcastChannels,
 * each from its own cursors. When it goes, the browser gives the lock to another, which attaches and serves from where each
 * had come. Where a browser has no Web Locks (they need a secure context), each tab attaches by itself.
 */

export interface TabsOptions {
  /** Tabs share with those of the same gateway, origin and name: give each user of a shared browser another. */
  name?: string;
}

/** For connect's `share`. */
export function tabs({ name = '' }: TabsOptions = {}): Share {
  return (shared) => {
    const locks = globalThis.navigator?.locks as LockManager | undefined;
    if (locks && typeof BroadcastChannel === 'function') return new Tab(shared, locks, `fairlead:${shared.base}:${name}`);
    shared.session.start();
    return { leave: () => {} };
  };
}

/** How often a tab asks its leader whether it is there, how long it waits for the answer, and how often in vain. Milliseconds. */
const rounds = 2_000;
const patience = 700;
const tries = 2;

/** What a tab may not have taken before it is served no more until it catches up, and how often it tells what it has taken. */
const backlog = 2_000;
const receipt = 500;

/** The most publishes that are under way to the leader. */
const window = 100;

/**
 * Up: from a tab to its leader, on the channel that all tabs hear. A term is one tab's time as the leader: each is higher than
 * those before, so that nobody heeds a leader that was frozen and does not know yet that it leads no more. 0: none is known.
 */
type Up = { term: number } & (
  | { op: 'lead' }
  | { op: 'ask'; tab: string; got: number; newest: number }
  | { op: 'subscribe'; tab: string; key: number; pattern: string; start: Start; at: string | null }
  | { op: 'unsubscribe'; tab: string; key: number }
  | { op: 'publish'; tab: string; commands: { cid: number; text: string }[] }
);

/** Down: from the leader to one tab, on that tab's channel. `at` is where the leader's subscription has come. */
type Down = { term: number } & (
  | { op: 'lead' }
  | ({ op: 'here'; session: string; position: string | null } & Shown & Served)
  | { op: 'message'; key: number; message: Message }
  | { op: 'served'; key: number; at: string | null }
  | { op: 'gap'; key: number; gap: Gap; at: string | null }
  | { op: 'fail'; key: number; code: string; message: string }
  | { op: 'reply'; reply: Reply }
  | ({ op: 'event'; type: Told; event: Events[Told] } & Shown)
);

/** How the leader is connected. */
interface Shown {
  state: State;
  transport: Transport | null;
}

/** What the leader serves, and up to which key it had been asked then. */
interface Served {
  served: Record<number, string | null>;
  newest: number;
}

/** The events of the leader that are those of the others as well. */
type Told = (typeof told)[number];
const told = ['state', 'transport', 'switch', 'offline'] as const;

type Letter<T> = T extends unknown ? Omit<T, 'term'> : never;

/** This tab, as one of many: it follows, and may be called to lead. */
class Tab {
  readonly #id = randomKey();
  readonly #shared: Shared;
  readonly #locks: LockManager;
  readonly #scope: string;
  readonly #all: BroadcastChannel;
  readonly #own: BroadcastChannel;
  readonly #leaving = new AbortController();
  readonly #forget: () => void;
  #candidacy: AbortController | undefined;
  #part: Follower | Leader | undefined; // none before the tab's own lock is held

  constructor(shared: Shared, locks: LockManager, scope: string) {
    this.#shared = shared;
    this.#locks = locks;
    this.#scope = scope;
    this.#all = new BroadcastChannel(scope);
    this.#own = new BroadcastChannel(`${scope}:${this.#id}`);
    this.#all.onmessage = ({ data }: MessageEvent<Up>) => this.#part?.up(data);
    this.#own.onmessage = ({ data }: MessageEvent<Down>) => this.#part?.down(data);
    this.#forget = watchFreezing(() => this.#withdraw(), () => this.#candidate(false));
    // Held for as long as the tab lives: so its leader learns of its end, and would take it for gone before.
    this.#hold(`${scope}:${this.#id}`, this.#leaving.signal, () => {
      this.#part = this.#follower();
      this.#candidate(false);
    });
  }

  /** Hands the lead over, if it is this tab's. */
  leave(): void {
    this.#forget();
    this.#leaving.abort();
    this.#candidacy?.abort();
    this.#part?.end();
    this.#all.close();
    this.#own.close();
  }

  /** Waits to lead; with steal, at once. */
  #candidate(steal: boolean): void {
    this.#candidacy?.abort();
    const { signal } = (this.#candidacy = new AbortController());
    this.#hold(`${this.#scope}:lead`, signal, () => this.#lead(), steal);
  }

  #lead(): void {
    const term = Math.max(this.#shared.clock.wall(), (this.#part?.term ?? 0) + 1) + Math.random();
    this.#become(() => new Leader(this.#shared, this.#locks, this.#scope, term), 'this tab leads');
    this.#all.postMessage({ op: 'lead', term } satisfies Up);
  }

  /** Neither leads nor waits to: a frozen page would keep the others waiting. */
  #withdraw(): void {
    this.#candidacy?.abort();
    this.#follow();
  }

  #follow(): void {
    if (this.#part instanceof Leader) this.#become(() => this.#follower(), 'another tab leads');
  }

  #become(part: () => Follower | Leader, reason: string): void {
    const { session, emit } = this.#shared;
    const before = session.state;
    this.#part?.end();
    this.#part = part();
    if (session.state !== before) emit('state', { state: session.state, reason });
  }

  #follower(): Follower {
    return new Follower(this.#shared, this.#id, (up) => this.#all.postMessage(up), () => this.#candidate(true));
  }

  /** Holds a lock until the signal, or a thief, takes it away. */
  #hold(name: string, signal: AbortSignal, held: () => void, steal = false): void {
    const holding = (): Promise<void> | undefined => {
      if (signal.aborted) return undefined;
      held();
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
    };
    this.#locks.request(name, steal ? { steal } : { signal }, holding).catch((error: unknown) => {
      if (signal.aborted) return;
      // The page may not use locks, as in a sandbox.
      if (!(error instanceof DOMException && error.name === 'AbortError')) return this.#alone();
      // Another tab has taken the lead: this one had not answered.
      this.#follow();
      this.#candidate(false);
    });
  }

  #alone(): void {
    this.leave();
    this.#shared.session.start();
  }
}

/** Calls back when the page is about to be frozen, and when it goes on. Gives a function that ends it. */
function watchFreezing(freeze: () => void, resume: () => void): () => void {
  if (typeof document === 'undefined') return () => {};
  document.addEventListener('freeze', freeze);
  document.addEventListener('resume', resume);
  return () => {
    document.removeEventListener('freeze', freeze);
    document.removeEventListener('resume', resume);
  };
}

/** A tab that is served by another: to its session, what an attachment is otherwise. */
class Follower {
  term = 0; // of the leader that it heeds
  state: State = 'connecting';
  transport: Transport | null = null;
  readonly #shared: Shared;
  readonly #id: string;
  readonly #send: (up: Up) => void;
  readonly #orphaned: () => void;
  readonly #keys = new Map<Sub, number>();
  readonly #subs = new Map<number, Sub>(); // by key
  #count = 0;
  #got = 0;
  #last = ''; // the message that the application was told of
  #over = false;
  #cancel = (): void => {};
  readonly #forget: () => void;

  constructor(shared: Shared, id: string, send: (up: Up) => void, orphaned: () => void) {
    this.#shared = shared;
    this.#id = id;
    this.#send = send;
    this.#orphaned = orphaned;
    const { session } = shared;
    session.stop(this);
    this.#forget = session.ledger.watch({ changes: (gone) => this.#changes(gone) });
    this.#ask();
  }

  /** There is something to publish. */
  schedule(): void {
    if (this.#over || this.term === 0) return;
    const { outbox } = this.#shared.session;
    const commands = outbox.take(window - outbox.sent, 256 << 10).map(({ cid, text }) => ({ cid, text }));
    if (commands.length > 0) this.#post({ op: 'publish', tab: this.#id, commands });
  }

  end(): void {
    this.#over = true;
    this.#cancel();
    this.#forget();
    this.#shared.session.outbox.lost();
  }

  up({ op, term }: Up): void {
    if (op === 'lead') this.#attach(term);
  }

  down(down: Down): void {
    if (down.op === 'lead') return this.#attach(down.term);
    if (down.term !== this.term) return;
    const { session, clock, emit } = this.#shared;
    switch (down.op) {
      case 'here':
        return this.#here(down);
      case 'reply':
        if (session.outbox.reply(down.reply) === 'retry') clock.after(patience, () => this.schedule());
        else this.schedule();
        return;
      case 'event':
        this.state = down.state;
        this.transport = down.transport;
        return emit(down.type, down.event);
      case 'message':
        // By count, not by time: timers of a hidden page hardly run.
        if (++this.#got % receipt === 0) this.#report();
    }
    const sub = this.#subs.get(down.key);
    if (sub) this.#serve(sub, down);
  }

  #serve(sub: Sub, down: Extract<Down, { key: number }>): void {
    const { ledger } = this.#shared.session;
    switch (down.op) {
      case 'served':
        sub.at ??= down.at;
        return sub.served();
      case 'message':
        return this.#deliver(sub, down.message);
      case 'gap':
        sub.at = down.at;
        return ledger.gap(down.gap, [sub]);
      case 'fail':
        ledger.remove(sub);
        return sub.fail(new FairleadError(down.code, down.message));
    }
  }

  #deliver(sub: Sub, message: Message): void {
    if (sub.at !== null && isAfter(message.id, sub.at) === false) return;
    sub.at = sub.at === null ? message.id : advance(sub.at, message.id);
    sub.deliver(message);
    // The subscriptions that it is for get it one after the other.
    if (message.id !== this.#last) this.#shared.emit('message', message);
    this.#last = message.id;
  }

  /** Asks the leader of the term for everything, from where this tab has come. */
  #attach(term: number): void {
    if (term <= this.term) return;
    this.term = term;
    const { ledger, outbox } = this.#shared.session;
    this.#keys.clear();
    this.#subs.clear();
    this.#got = 0;
    outbox.lost();
    for (const sub of ledger.active()) this.#subscribe(sub);
    this.schedule();
    this.#ask();
  }

  #ask(left = tries): void {
    this.#cancel();
    this.#report();
    this.#cancel = this.#shared.clock.after(patience, () => {
      // A leader that does not answer hangs, or is frozen.
      if (left === 1) this.#orphaned();
      if (!this.#over) this.#ask(left > 1 ? left - 1 : tries);
    });
  }

  #report(): void {
    this.#post({ op: 'ask', tab: this.#id, got: this.#got, newest: this.#count });
  }

  #here({ state, transport, session: id, position, served, newest }: Extract<Down, { op: 'here' }>): void {
    const { clock, emit, session } = this.#shared;
    this.#cancel();
    this.#cancel = clock.after(rounds, () => this.#ask());
    session.id = id;
    session.position = position;
    for (const sub of session.ledger.active()) {
      const key = this.#keys.get(sub);
      const at = key === undefined ? undefined : served[key];
      // The leader has given it up: this tab was too slow, or taken for gone.
      if (key === undefined || (at === undefined && key <= newest)) this.#subscribe(sub);
      // All up to there came before this.
      else if (at && sub.at !== null && (compare(at, sub.at) ?? 0) > 0) sub.at = at;
    }
    const before = { state: this.state, transport: this.transport };
    const reason = 'another tab leads';
    this.state = state;
    this.transport = transport;
    if (transport !== null && transport !== before.transport) emit('transport', { transport, from: before.transport, reason });
    if (state !== before.state) emit('state', { state, reason });
  }

  #changes(gone?: Sub): void {
    const key = gone && this.#keys.get(gone);
    if (gone && key !== undefined) {
      this.#keys.delete(gone);
      this.#subs.delete(key);
      this.#post({ op: 'unsubscribe', tab: this.#id, key });
    }
    for (const sub of this.#shared.session.ledger.active()) if (!this.#keys.has(sub)) this.#subscribe(sub);
  }

  #subscribe(sub: Sub): void {
    if (this.term === 0) return;
    this.#subs.delete(this.#keys.get(sub) ?? 0);
    const key = ++this.#count;
    this.#keys.set(sub, key);
    this.#subs.set(key, sub);
    const { pattern, start, at } = sub;
    this.#post({ op: 'subscribe', tab: this.#id, key, pattern, start, at });
  }

  #post(up: Letter<Up>): void {
    this.#send({ ...up, term: this.term } as Up);
  }
}

/** What the leader holds for another tab. */
interface Guest {
  tab: string;
  channel: BroadcastChannel;
  subs: Map<number, Sub>;
  sent: number;
  got: number;
}

/** The tab that is attached, and serves the others. */
class Leader {
  readonly term: number;
  readonly #shared: Shared;
  readonly #locks: LockManager;
  readonly #scope: string;
  readonly #guests = new Map<string, Guest>();
  readonly #over = new AbortController();
  readonly #publishes = new Set<() => void>(); // forget one that waits
  readonly #off: (() => void)[];

  constructor(shared: Shared, locks: LockManager, scope: string, term: number) {
    this.#shared = shared;
    this.#locks = locks;
    this.#scope = scope;
    this.term = term;
    this.#off = told.map((type) => shared.on(type, (event) => this.#tell(type, event)));
    shared.session.start();
  }

  end(): void {
    this.#over.abort();
    for (const off of this.#off) off();
    for (const guest of [...this.#guests.values()]) this.#gone(guest);
    // Those whose they are give them to the next leader.
    for (const forget of this.#publishes) forget();
  }

  down(): void {}

  up(up: Up): void {
    if (up.op === 'lead') return;
    if (up.term > this.term) return; // another tab leads, and this one will hear of it
    const guest = this.#guest(up.tab);
    if (up.term < this.term) return this.#post(guest, { op: 'lead' });
    switch (up.op) {
      case 'ask':
        return this.#answer(guest, up);
      case 'subscribe':
        return this.#subscribe(guest, up);
      case 'unsubscribe': {
        const sub = guest.subs.get(up.key);
        guest.subs.delete(up.key);
        if (sub) this.#shared.session.ledger.remove(sub);
        return;
      }
      case 'publish':
        for (const command of up.commands) this.#publish(guest, command);
    }
  }

  #guest(tab: string): Guest {
    const known = this.#guests.get(tab);
    if (known) return known;
    const name = `${this.#scope}:${tab}`;
    const guest: Guest = { tab, channel: new BroadcastChannel(name), subs: new Map(), sent: 0, got: 0 };
    this.#guests.set(tab, guest);
    // Granted when the tab is gone.
    this.#locks.request(name, { signal: this.#over.signal, mode: 'shared' }, () => this.#gone(guest)).catch(() => {});
    return guest;
  }

  #gone(guest: Guest): void {
    this.#guests.delete(guest.tab);
    this.#drop(guest);
    guest.channel.close();
  }

  /** Serves it no more, until it subscribes again. */
  #drop(guest: Guest): void {
    for (const sub of guest.subs.values()) this.#shared.session.ledger.remove(sub);
    guest.subs.clear();
  }

  #post(guest: Guest, down: Letter<Down>): void {
    // A closed channel throws.
    if (this.#guests.get(guest.tab) === guest) guest.channel.postMessage({ ...down, term: this.term });
  }

  #tell(type: Told, event: Events[Told]): void {
    const { state, transport } = this.#shared.session;
    for (const guest of this.#guests.values()) this.#post(guest, { op: 'event', type, event, state, transport });
  }

  #answer(guest: Guest, { got, newest }: Extract<Up, { op: 'ask' }>): void {
    const { state, transport, id, position } = this.#shared.session;
    guest.got = got;
    const served = Object.fromEntries([...guest.subs].map(([key, sub]) => [key, sub.at]));
    this.#post(guest, { op: 'here', state, transport, session: id, position, served, newest });
  }

  #subscribe(guest: Guest, { key, pattern, start, at }: Extract<Up, { op: 'subscribe' }>): void {
    const sub: Sub = {
      pattern, start, at, parked: false,
      deliver: (message) => {
        this.#post(guest, { op: 'message', key, message });
        // What it has not taken is held in memory. It asks for the rest, from its cursor, when it has taken that.
        if (++guest.sent - guest.got >= backlog) this.#drop(guest);
      },
      served: () => this.#post(guest, { op: 'served', key, at: sub.at }),
      missed: (gap) => this.#post(guest, { op: 'gap', key, gap, at: sub.at }),
      fail: ({ code, message }) => {
        guest.subs.delete(key);
        if (code !== 'closed') this.#post(guest, { op: 'fail', key, code, message });
      },
    };
    guest.subs.set(key, sub);
    this.#shared.session.ledger.add(sub);
  }

  #publish(guest: Guest, { cid: to, text }: { cid: number; text: string }): void {
    const { session } = this.#shared;
    const cid = session.nextCid();
    let forget = (): void => {};
    const reply = (more: object): void => {
      this.#publishes.delete(forget);
      this.#post(guest, { op: 'reply', reply: { op: 'reply', to, ...more } });
    };
    const refuse = ({ code, message }: FairleadError): void => {
      // The leader has closed, or has no room: the tab tries again.
      const passing = code === 'closed' || code === 'outbox_full' ? 'unavailable' : code;
      reply({ error: { code: passing, message } });
    };
    try {
      forget = session.publish({ cid, text: JSON.stringify({ ...(JSON.parse(text) as object), cid }) }, (id, duplicate) => reply({ ok: true, id, duplicate }), refuse);
      this.#publishes.add(forget);
    } catch (error) {
      refuse(error as FairleadError);
    }
  }
}
