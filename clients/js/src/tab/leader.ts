import type { FairleadError } from '../error.ts';
import type { Sub } from '../ledger.ts';
import type { Events } from '../session.ts';
import type { Shared } from '../share.ts';
import { backlog, told, type Down, type Letter, type Nudge, type Told, type Up } from './letter.ts';
import type { Means } from './means.ts';

/** What the leader holds for another tab. */
interface Guest {
  tab: string;
  channel: BroadcastChannel;
  subs: Map<number, Sub>;
  sent: number;
  got: number;
}

/** The tab that is attached, and serves the others. */
export class Leader {
  readonly term: number;
  readonly #shared: Shared;
  readonly #means: Pick<Means, 'locks' | 'scope'>;
  readonly #guests = new Map<string, Guest>();
  readonly #over = new AbortController();
  readonly #publishes = new Set<() => void>(); // forget one that waits
  readonly #off: (() => void)[];

  constructor(shared: Shared, means: Pick<Means, 'locks' | 'scope'>, term: number) {
    this.#shared = shared;
    this.#means = means;
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
    if (up.op === 'lead' || up.op === 'over') return;
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
        return;
      case 'nudge':
        return this.#nudge(guest, up);
    }
  }

  #nudge(guest: Guest, { why, token, count: to }: Nudge): void {
    const { session } = this.#shared;
    if (why === 'online' || why === 'visible') return session.retry(why);
    // A leader that has closed tells nobody: the next one is asked.
    session.renew(why, undefined, token).then(
      () => this.#post(guest, { op: 'renewed', to }),
      ({ code, message }: FairleadError) => this.#post(guest, { op: 'renewed', to, error: { code, message } }),
    );
  }

  #guest(tab: string): Guest {
    const known = this.#guests.get(tab);
    if (known) return known;
    const name = `${this.#means.scope}:${tab}`;
    const guest: Guest = { tab, channel: new BroadcastChannel(name), subs: new Map(), sent: 0, got: 0 };
    this.#guests.set(tab, guest);
    // Granted when the tab is gone.
    this.#means.locks.request(name, { signal: this.#over.signal, mode: 'shared' }, () => this.#gone(guest)).catch(() => {});
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
    if (state === 'closed') return;
    for (const guest of this.#guests.values()) this.#post(guest, { op: 'event', type, event, state, transport });
  }

  #answer(guest: Guest, { got, newest }: Extract<Up, { op: 'ask' }>): void {
    const { state, transport, id, position } = this.#shared.session;
    guest.got = got;
    if (state === 'closed') return;
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
