import assert from 'node:assert/strict';
import { FairleadError } from '../../src/error.ts';
import type { Transport } from '../../src/frame.ts';
import { deadline, due, initial, mainOf, watched, type Attempt, type End, type Link } from '../../src/link.ts';
import type { Effect, Event } from '../../src/move.ts';
import { defaults, type Policy } from '../../src/policy.ts';
import { step } from '../../src/step.ts';

type Occurrence = Event extends infer E ? (E extends Event ? Omit<E, 'now' | 'random' | 'lacking'> : never) : never;

/** What comes of an attempt at a transport. All but the first three have been welcomed, or answered, after `delay`. */
interface Condition {
  kind:
    | 'refuse' // nothing listens
    | 'swallow' // nothing comes back
    | 'mute' // welcomed, and then held back
    | 'chatter' // the same, but something trickles through
    | 'portal' // somebody else answers
    | 'busy' // the server says no
    | 'die' // works, and breaks off after `life`
    | 'hush' // works, and falls silent
    | 'leave' // works, and is asked to go
    | 'work';
  delay: number;
  life: number;
  after?: number | undefined;
}

const storms: readonly Condition['kind'][] = ['refuse', 'swallow', 'mute', 'chatter', 'portal', 'busy', 'die', 'hush', 'leave', 'work', 'work', 'work'];
/** What never carries anything. */
const duds: readonly Condition['kind'][] = ['refuse', 'swallow', 'mute', 'chatter', 'portal', 'busy'];

/** One attempt as the world sees it. */
interface Live {
  id: number;
  transport: Transport;
  condition: Condition;
  welcomed: number;
  period: number; // something comes each time
  silent: number; // from then on nothing comes
  listens: boolean; // the next thing that comes is on its way to the machine
}

export const transports = defaults.ladder;

export class World {
  now = 0;
  link: Link;
  readonly lives = new Map<number, Live>();
  conditions: Record<Transport, Condition>;
  network: 'up' | 'refuses' | 'swallows' = 'up';
  net = 'net0';
  /** After the storm: nothing that works breaks any more. */
  calm = false;
  /** When attempts began, and when somebody asked for them. */
  readonly attempts: number[] = [];
  readonly asked: number[] = [];
  steps = 0;
  pings = 0;
  /** When the token expires, what the server says then, and how long the next one lives. */
  until = Infinity;
  says: 'expired' | 'unauthorized' = 'expired';
  life = Infinity;
  /** When tokens were asked for by way of `renew`. */
  readonly renewals: number[] = [];
  /** There is no token at hand; and how often its function is asked, as long as that is the application's. */
  #lacking = false;
  #asked = 0;
  #source = 0;
  #state = '';
  #offline = false;
  #events: { at: number; fn: () => void }[] = [];
  #tick = Infinity;
  #asleep: number | undefined; // since then
  #wake = -Infinity;
  #spins = 0;
  #seed: number;

  constructor(seed: number, policy: Partial<Policy> = {}) {
    this.#seed = seed;
    this.link = initial({ ...defaults, ...policy });
    this.conditions = Object.fromEntries(transports.map((t) => [t, this.condition(storms)])) as Record<Transport, Condition>;
  }

  /** Mulberry32. */
  random = (): number => {
    let t = (this.#seed = (this.#seed + 0x6d2b79f5) | 0);
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };

  dice(p: number): boolean {
    return this.random() < p;
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  condition(kinds: readonly Condition['kind'][]): Condition {
    const delay = this.pick([1, 20, 60, 200, 800]) * (1 + this.random());
    return { kind: this.pick(kinds), delay, life: this.pick([100, 2_000, 20_000, 120_000]) * this.random(), after: this.pick([undefined, 0, 500, 8_000]) };
  }

  after(ms: number, fn: () => void): void {
    const at = this.now + ms;
    // Latest first: the next one is at the end.
    this.#events.splice(this.#place(at), 0, { at, fn });
  }

  #place(at: number): number {
    let low = 0;
    for (let high = this.#events.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle]?.at ?? 0) > at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Lives until then, or until `stop` says so; whether it did. */
  run(until: number, stop = (): boolean => false): boolean {
    while (!stop()) {
      const event = this.#events.at(-1);
      const next = Math.max(Math.min(event?.at ?? Infinity, this.#tick), this.#wake);
      if (next > until) {
        this.now = until;
        return false;
      }
      this.now = Math.max(this.now, next);
      if (this.#tick <= (event?.at ?? Infinity)) {
        this.#tick = Infinity;
        const heard = this.#heard();
        // All that comes is beats, but for a chatterer's.
        this.dispatch({ type: 'tick', heard, told: heard });
      } else {
        this.#events.pop();
        event?.fn();
      }
      this.#awake();
    }
    return true;
  }

  /** The page is frozen: nothing happens until then, and then everything that is due. */
  freeze(ms: number): void {
    this.#asleep ??= this.now;
    this.#wake = this.now + ms;
  }

  /** What came in its sleep comes now. */
  #awake(): void {
    if (this.#asleep === undefined || this.now < this.#wake) return;
    const since = this.#asleep;
    this.#asleep = undefined;
    for (const live of [...this.lives.values()]) if (this.#last(live, this.now) > since) this.#speak(live);
  }

  /** When anything came on it last, up to then. */
  #last({ welcomed, period, silent }: Live, then: number): number {
    const at = Math.min(then, silent);
    return at < welcomed ? 0 : welcomed + Math.floor((at - welcomed) / period) * period;
  }

  #heard(): Record<number, number> {
    return Object.fromEntries([...this.lives.values()].map((l) => [l.id, this.#last(l, this.#asleep ?? this.now)]));
  }

  #speak(live: Live): void {
    if (this.lives.has(live.id) && live.silent > this.now && watched(this.link, live.id)) this.dispatch({ type: 'spoke', attempt: live.id });
  }

  /** Something happens to an attempt after a while, if that still exists, and is not cut off. */
  #then(live: Live, ms: number, fn: () => void): void {
    this.after(ms, () => {
      if (this.lives.get(live.id) === live && live.silent > this.now) fn();
    });
  }

  end(live: Live, end: End): void {
    const heard = this.#last(live, this.now);
    this.lives.delete(live.id);
    this.dispatch({ type: 'ended', attempt: live.id, end, heard });
  }

  #attach(id: number, transport: Transport, beat: number | null): void {
    assert.ok(!this.lives.has(id), 'an attempt has its own number');
    const condition = this.conditions[transport];
    const live: Live = { id, transport, condition, welcomed: Infinity, period: 1_000, silent: Infinity, listens: false };
    const { kind, delay, after } = condition;
    this.lives.set(id, live);
    this.attempts.push(this.now);
    assert.ok(!this.#lacking, 'nothing begins without a token');
    if (this.network === 'swallows') live.silent = 0;
    if (this.network === 'refuses' || kind === 'refuse') return this.#then(live, Math.min(delay, 20), () => this.end(live, { kind: 'refused', reason: 'no route' }));
    if (kind === 'swallow') return;
    if (kind === 'portal') return this.#then(live, delay, () => this.end(live, { kind: 'blocked', reason: 'portal', error: new FairleadError('bad_answer', `${Math.floor(delay)}`) }));
    if (kind === 'busy') {
      const error = delay > 100 ? new FairleadError('bad_request', 'no') : undefined;
      return this.#then(live, delay, () => this.end(live, { kind: 'server', reason: 'busy', retryAfter: after, ...(error && { error }) }));
    }
    this.#then(live, delay, () => {
      if (this.#refused(live)) return;
      live.welcomed = this.now;
      // A poll is heard when it is answered.
      const granted = transport === 'poll' ? 26_000 : Math.min(Math.max(beat ?? 25_000, 5_000), 60_000);
      if (kind === 'mute') live.silent = this.now + 1;
      else if (kind !== 'chatter') live.period = transport === 'poll' ? 25_000 : granted;
      this.dispatch({ type: 'welcome', attempt: id, beat: granted, net: this.net, offered: transports, ...this.#expiry() });
      this.#watch(live);
      if (kind !== 'mute' && kind !== 'chatter') this.#then(live, 250, () => this.#proven(live));
    });
  }

  /** What it was attached with is of no use: another is to be asked for. */
  #refused(live: Live): boolean {
    if (this.now < this.until) return false;
    const error = new FairleadError(this.says, this.says);
    this.#lacking = true;
    if (this.lives.has(live.id)) this.end(live, { kind: 'server', reason: this.says, error });
    return true;
  }

  /** The application has another function for tokens, perhaps. */
  anew(): void {
    this.#lacking = true;
    this.#asked = 0;
    this.#source++;
  }

  #renewed(): void {
    this.#lacking = false;
    this.until = this.now + this.life;
    this.says = 'expired';
  }

  #expiry(): { expires?: number } {
    return this.until < Infinity ? { expires: this.until - this.now } : {};
  }

  /** Ends it a while after its token, unless that was renewed. */
  #watch(live: Live): void {
    if (this.until < Infinity) this.#then(live, this.until + 10_000 - this.now, () => this.#refused(live) || this.#watch(live));
  }

  /** The application gives another token, in its own time, or fails to, and what serves is told. */
  #renew(): void {
    this.renewals.push(this.now);
    assert.ok(mainOf(this.link) || this.#lacking, 'it is renewed for who serves, or for who cannot begin');
    const source = this.#source;
    this.#asked++;
    this.after(this.pick(this.calm ? [0, 20, 200] : [0, 20, 3_000, 8_000]), () => {
      if (source !== this.#source) return;
      this.#asked--;
      if (!this.calm && this.dice(0.2)) return this.dispatch({ type: 'renewed', error: new FairleadError('token', 'none') });
      this.#renewed();
      this.dispatch({ type: 'given' });
      const live = this.lives.get(mainOf(this.link)?.id ?? 0);
      if (live) this.#then(live, live.condition.delay, () => this.dispatch({ type: 'renewed', ...this.#expiry() }));
    });
  }

  #proven(live: Live): void {
    const { kind, life, after = 0 } = live.condition;
    this.dispatch({ type: 'proof', attempt: live.id });
    this.#then(live, life, () => {
      if (this.calm) return;
      if (kind === 'die') this.end(live, { kind: 'dropped', reason: 'reset' });
      if (kind === 'hush') live.silent = this.now;
      if (kind !== 'leave') return;
      this.dispatch({ type: 'goaway', attempt: live.id, after });
      if (this.lives.has(live.id)) this.#then(live, after * 2 * this.random(), () => this.end(live, { kind: 'server', reason: 'restart' }));
    });
  }

  #ping(limit: number): void {
    const { count, until } = this.link;
    this.pings++;
    // The answer to an earlier ping is thrown away by the driver.
    const answer = (end?: End): void => {
      if (this.link.phase === 'probing' && this.link.count === count && this.link.until === until) this.dispatch({ type: 'pong', ...(end && { end }) });
    };
    if (this.network === 'refuses') this.after(5, () => answer({ kind: 'refused', reason: 'no route' }));
    else if (this.network === 'swallows') this.after(limit, () => answer({ kind: 'blocked', reason: 'nothing came' }));
    else this.after(50, () => answer());
  }

  /** Whether the main one is alive, and not only believed to be. */
  works(): boolean {
    const main = mainOf(this.link);
    const live = main && this.lives.get(main.id);
    return live !== undefined && live.silent === Infinity;
  }

  /** Whether this one serves, and nothing is about to change that. */
  rests(transport: Transport): boolean {
    const main = mainOf(this.link);
    return main?.transport === transport && main.leave === Infinity && this.link.attempts.length + this.link.queue.length === 1;
  }

  dispatch(occurrence: Occurrence): void {
    const before = this.link;
    const event = { ...occurrence, now: this.now, random: this.random(), lacking: this.#lacking } as Event;
    this.steps++;
    const [link, effects] = step(before, event);
    this.link = link;
    this.#check(before, event, effects);
    this.#spin(event);
    // A timer may be late, and is set anew by each event.
    const at = deadline(link);
    this.#tick = Math.max(at, this.now) + (this.dice(0.02) ? 4_000 * this.random() : 0);
    for (const effect of effects) this.#run(effect);
    this.#agree();
    for (const live of this.lives.values()) this.#listen(live);
  }

  #run(effect: Effect): void {
    switch (effect.type) {
      case 'attach':
        return this.#attach(effect.attempt, effect.transport, effect.beat);
      case 'detach':
        assert.ok(this.lives.delete(effect.attempt), 'what is detached was attached');
        return;
      case 'ask': {
        const live = this.lives.get(effect.attempt);
        assert.ok(live, 'what is asked is attached');
        return this.#then(live, live.condition.delay, () => this.#speak(live));
      }
      case 'ping':
        return this.#ping(effect.limit);
      case 'renew':
        return this.#renew();
    }
  }

  /** While the machine listens, it is told of the next thing that comes. */
  #listen(live: Live): void {
    if (live.listens || !watched(this.link, live.id)) return;
    live.listens = true;
    const next = Math.max(live.welcomed + (Math.floor((this.now - live.welcomed) / live.period) + 1) * live.period, this.now);
    this.#then(live, next - this.now, () => {
      live.listens = false;
      this.#speak(live);
    });
  }

  /** A deadline in the past is in order only if the tick then gets somewhere. */
  #spin({ type, now }: Event): void {
    this.#spins = type === 'tick' && deadline(this.link) <= now ? this.#spins + 1 : 0;
    assert.ok(this.#spins < 5, 'a hot loop');
  }

  /** The machine and the world agree on what is attached. */
  #agree(): void {
    const { attempts } = this.link;
    assert.ok(attempts.length === this.lives.size && attempts.every((a) => this.lives.has(a.id)), 'each attempt is attached, and detached or ended once');
  }

  #check(before: Link, event: Event, effects: Effect[]): void {
    const { link } = this;
    const { phase, attempts, queue, policy } = link;
    const main = mainOf(link);
    const others = attempts.filter((a) => a !== main);
    assert.ok(others.every((a) => a.stage !== 'main'), 'one main at most');
    assert.equal(new Set([...others, ...queue].map((a) => a.transport)).size, others.length + queue.length, 'a transport is tried once at a time');
    assert.ok(queue.every((s, i) => s.at >= (queue[i - 1]?.at ?? 0)), 'in order');
    for (const a of others) assert.ok(due(link, a) <= a.since + (a.stage === 'opening' ? 1 : 3) * policy.budget, `attempt ${a.id} has all the time in the world`);
    const at = deadline(link);
    assert.ok(!Number.isNaN(at));
    if (phase === 'open') assert.ok(attempts.length + queue.length > 0 && (at < Infinity || this.#asked > 0 || effects.some((e) => e.type === 'renew')), 'stuck');
    else assert.equal(attempts.length, 0, `attempts while ${phase}`);
    if (phase === 'waiting' || phase === 'probing') assert.ok(at <= this.now + 1.1 * 300_000 + policy.cap, 'a wait has an end');
    const left = mainOf(before);
    if (left && left.id !== main?.id && event.type !== 'ended') this.#left(left, event, main);
    for (const effect of effects) this.#told(effect);
    assert.equal(this.#state === 'connected', main !== undefined, `${this.#state}, as the application was told`);
  }

  /** What served is left only for a better one, or because it is dead, or because somebody wants it. */
  #left(left: Attempt, event: Event, main: Attempt | undefined): void {
    if (['close', 'reconnect', 'stop'].includes(event.type)) return;
    assert.notEqual(event.type, 'renewed', 'a token is no reason to leave what serves');
    if (event.type === 'proof') return assert.ok(main, 'left for nothing');
    assert.equal(event.type, 'tick', 'it was left');
    const live = this.lives.get(left.id);
    const silence = this.now - Math.max(left.heard, live ? this.#last(live, this.#asleep ?? this.now) : 0);
    assert.ok(silence >= 1.5 * left.beat - 1, `given up after ${silence} ms of silence, with a beat of ${left.beat}`);
  }

  #told(effect: Effect): void {
    if (effect.type === 'offline') {
      assert.ok(!this.#offline, 'offline is told once');
      this.#offline = true;
    }
    if (effect.type === 'state') this.#state = effect.event.state;
    if (this.link.offline === false) this.#offline = false;
  }
}

/** A few minutes in which everything breaks. */
export function storm(world: World): void {
  const each = (fn: (live: Live) => void): void => [...world.lives.values()].forEach((l) => world.lives.get(l.id) === l && fn(l));
  const acts: readonly (() => void)[] = [
    () => void (world.conditions[world.pick(transports)] = world.condition(storms)),
    () => void (world.conditions[world.pick(transports)] = world.condition(storms)),
    () => {
      world.network = world.pick(['refuses', 'swallows']);
      const cut = world.dice(0.5);
      each((l) => (cut && mainOf(world.link)?.id === l.id ? world.end(l, { kind: 'dropped', reason: 'cut' }) : (l.silent = Math.min(l.silent, world.now))));
      world.after(20_000 * world.random(), () => {
        world.network = 'up';
        if (world.dice(0.5)) nudge(world, 'online');
      });
    },
    () => nudge(world, world.pick(['online', 'visible'])),
    () => world.dice(0.2) && nudge(world, 'reconnect'),
    () => {
      const main = mainOf(world.link);
      if (main) world.asked.push(world.now), world.dispatch({ type: 'doubt', attempt: main.id, reason: 'no reply' });
    },
    () => void (world.life = world.pick([Infinity, 300, 6_000, 60_000])),
    () => {
      world.until = world.now;
      if (world.dice(0.5)) world.dispatch({ type: 'stale' });
    },
    () => {
      world.until = world.now;
      world.says = 'unauthorized';
    },
    () => world.dice(0.2) && nudge(world, 'refresh'),
    () => world.dice(0.3) && world.freeze(60_000 * world.random() ** 3),
    () => void (world.net = world.pick(['net0', 'net0', 'net1'])),
    () => each((l) => world.dice(0.3) && world.end(l, { kind: world.pick(['dropped', 'server', 'blocked']), reason: 'cut' })),
    () => each((l) => void (world.dice(0.3) && (l.silent = Math.min(l.silent, world.now)))),
  ];
  const end = (2 + 6 * world.random()) * 60_000;
  while (world.now < end) {
    world.pick(acts)();
    world.run(world.now + world.pick([50, 1_000, 20_000]) * world.random());
  }
}

function nudge(world: World, type: 'online' | 'visible' | 'reconnect' | 'refresh'): void {
  world.asked.push(world.now);
  if ((type === 'reconnect' || type === 'refresh') && world.dice(0.5)) world.anew();
  world.dispatch({ type });
}

/** From now on each transport works, or never does; at least one works. The best that does. */
export function settle(world: World): Transport {
  const main = mainOf(world.link);
  const good = main && world.works() ? main.transport : world.pick(transports);
  for (const t of transports) world.conditions[t] = { ...world.condition(t === good || world.dice(0.3) ? ['work'] : duds) };
  for (const live of world.lives.values()) if (world.conditions[live.transport].kind !== 'work') live.silent = Math.min(live.silent, world.now);
  world.network = 'up';
  world.calm = true;
  world.life = world.pick([Infinity, 20_000, 600_000]);
  world.says = 'expired';
  if (world.link.phase === 'refused') nudge(world, world.pick(['refresh', 'reconnect']));
  return transports.find((t) => world.conditions[t].kind === 'work') ?? good;
}

/** How many attempts there were in any minute, but for those that somebody asked for. */
export function busiest({ attempts, asked }: World): number {
  return rate(attempts, asked);
}

/** The same for tokens. */
export function thirstiest({ renewals, asked }: World): number {
  return rate(renewals, asked);
}

function rate(attempts: readonly number[], asked: readonly number[]): number {
  let most = 0;
  for (let i = 0, j = 0, from = 0, to = 0; i < attempts.length; i++) {
    const at = attempts[i] ?? 0;
    while ((attempts[j] ?? 0) < at - 60_000) j++;
    while ((asked[to] ?? Infinity) <= at) to++;
    while ((asked[from] ?? Infinity) < at - 60_000) from++;
    most = Math.max(most, i - j + 1 - 4 * (to - from));
  }
  return most;
}
