import { advance, compare, isAfter } from '../cursor.ts';
import { FairleadError } from '../error.ts';
import type { Message, Transport } from '../frame.ts';
import type { Sub } from '../ledger.ts';
import type { Deputy } from '../deputy.ts';
import type { Shared } from '../share.ts';
import type { TokenSource } from '../token.ts';
import { receipt, type Down, type Letter, type Nudge, type Shown, type Up, type Why } from './letter.ts';

/**
 * How often a tab asks its leader whether it is there, at least, and how long it waits for each answer. Milliseconds. The tabs do
 * not ask in step: the first that finds the leader gone takes the lead, and the others hear of it.
 */
interface Rhythm {
  rounds: number;
  patience: number;
}

/** Somebody looks at a visible tab: a leader that hangs is replaced within 1.4 s there, and 3.4 s elsewhere. */
const visible: Rhythm = { rounds: 400, patience: 500 };
const hidden: Rhythm = { rounds: 2_000, patience: 700 };
const rhythm = (): Rhythm => (typeof document !== 'undefined' && document.visibilityState === 'hidden' ? hidden : visible);

/** How often it asks in vain. More than once: a machine that wakes from sleep finds all waits over. */
const tries = 2;

/** When what the leader could not publish is given to it again. Milliseconds. */
const later = 700;

/** The most publishes that are under way to the leader. */
const window = 100;

/** A tab that is served by another: to its session, what an attachment is otherwise. */
export class Follower implements Deputy {
  term = 0; // of the leader that it heeds
  state: Shown['state'] = 'connecting';
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
  #refreshes = 0;
  #token: string | undefined; // that this tab has for its leader
  #giving = false; // it is asked for
  #over = false;
  #cancel = (): void => {};
  readonly #forget: () => void;

  constructor(shared: Shared, id: string, send: (up: Up) => void, orphaned: () => void) {
    this.#shared = shared;
    this.#id = id;
    this.#send = send;
    this.#orphaned = orphaned;
    const { net, session } = shared;
    // It led, and was replaced meanwhile.
    if (session.refreshes.length > 0) this.#token = net.token.current;
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

  /** The leader is to try again; and this tab learns at once whether there is one, after it was hidden, say. */
  nudge(why: Why, source?: TokenSource): void {
    if (why === 'refresh') {
      this.#token = undefined;
      this.#giving = source !== undefined;
      if (this.#giving) return this.#give();
    }
    this.#nudge(why);
    if (why === 'reconnect' && this.#giving) this.#give(); // the session has forgotten what was asked
  }

  /** Has the leader refresh with what this tab's source gives. */
  #give(): void {
    const { net, session } = this.#shared;
    const { token } = net;
    const current = (then: () => void): void => {
      if (this.#over || token !== net.token) return;
      this.#giving = false;
      then();
    };
    // A function stays with its tab: the leader gets what it gives.
    token.get().then(
      (given) =>
        current(() => {
          this.#token = given;
          this.#nudge('refresh');
        }),
      (error: FairleadError) => current(() => session.refreshed(error)),
    );
  }

  #nudge(why: Why): void {
    if (this.#over) return;
    const more = why === 'refresh' ? { token: this.#token, count: ++this.#refreshes } : {};
    this.#post({ op: 'nudge', tab: this.#id, why, ...more });
    this.#ask();
  }

  end(): void {
    this.#over = true;
    this.#cancel();
    this.#forget();
    this.#shared.session.outbox.lost();
  }

  up(up: Up): void {
    const { op, term } = up;
    if (op === 'lead') return this.#attach(term);
    if (up.op === 'nudge') return this.#told(up);
    if (op !== 'over' || term !== this.term) return;
    this.term = 0;
    this.#ask();
  }

  /** Another tab gives the leader a token: it is to be known here if that one goes. What this tab gives takes its place. */
  #told({ token }: Nudge): void {
    const { net, session } = this.#shared;
    if (token === undefined || session.refreshes.length > 0) return;
    net.token = net.token.anew(undefined, token);
  }

  down(down: Down): void {
    if (down.op === 'lead') return this.#attach(down.term);
    if (down.term !== this.term) return;
    const { session, net, emit } = this.#shared;
    switch (down.op) {
      case 'here':
        return this.#here(down);
      case 'reply':
        if (session.outbox.reply(down.reply) === 'retry') net.clock.after(later, () => this.schedule());
        else this.schedule();
        return;
      case 'renewed':
        if (down.to === this.#refreshes) session.refreshed(down.error && new FairleadError(down.error.code, down.error.message));
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
    const { ledger, outbox, refreshes } = this.#shared.session;
    this.#keys.clear();
    this.#subs.clear();
    this.#got = 0;
    outbox.lost();
    for (const sub of ledger.active()) this.#subscribe(sub);
    this.schedule();
    if (refreshes.length > 0 && !this.#giving) this.#nudge('refresh'); // the last one may have done it or not
    else this.#ask();
  }

  #ask(left = tries): void {
    this.#cancel();
    this.#report();
    this.#cancel = this.#shared.net.clock.after(rhythm().patience, () => {
      // A leader that does not answer hangs, or is frozen.
      if (left === 1) this.#orphaned();
      if (!this.#over) this.#ask(left > 1 ? left - 1 : tries);
    });
  }

  #report(): void {
    this.#post({ op: 'ask', tab: this.#id, got: this.#got, newest: this.#count });
  }

  #here({ state, transport, session: id, position, served, newest }: Extract<Down, { op: 'here' }>): void {
    const { net, emit, session } = this.#shared;
    const { clock } = net;
    this.#cancel();
    this.#cancel = clock.after(rhythm().rounds * (1 - clock.random() / 2), () => this.#ask());
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
