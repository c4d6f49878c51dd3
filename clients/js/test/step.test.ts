import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../src/error.ts';
import type { Transport } from '../src/frame.ts';
import { carrier, deadline, initial, ladder, line, mainOf, watched, type Attempt, type End, type Link, type Remembered } from '../src/link.ts';
import { defaults, longest, type Policy } from '../src/policy.ts';
import { step, type Effect, type Event } from '../src/step.ts';

type Occurrence = Event extends infer E ? (E extends Event ? Omit<E, 'now' | 'random'> : never) : never;

/** A machine with a clock that the test turns. Nothing is heard on an attempt but what the test says. */
class Bench {
  link: Link;
  now = 1_000;
  random = 0.5;
  /** Of the last event. */
  effects: Effect[] = [];
  /** Attempts begun, as [transport, when], since it was read last. */
  #begun: [Transport, number][] = [];
  /** When something came on an attempt last. */
  readonly heard: Record<number, number> = {};
  /** When a beat did, if it was not all beats. */
  told: Record<number, number> | undefined;
  /** Ticks are this late. */
  late = 0;
  /** The main one is heard all the time. */
  lively = false;

  constructor(policy: Partial<Policy> = {}) {
    this.link = initial({ ...defaults, ...policy });
  }

  do(occurrence: Occurrence, ms = 0): Effect[] {
    this.now += ms;
    [this.link, this.effects] = step(this.link, { ...occurrence, now: this.now, random: this.random } as Event);
    for (const e of this.effects) if (e.type === 'attach') this.#begun.push([e.transport, this.now]);
    return this.effects;
  }

  begun(): [Transport, number][] {
    return this.#begun.splice(0);
  }

  /** The youngest attempt at a transport. */
  at(transport: Transport): Attempt {
    const attempt = this.link.attempts.findLast((a) => a.transport === transport);
    assert.ok(attempt, `no ${transport} is under way`);
    return attempt;
  }

  tick(): Effect[] {
    const main = mainOf(this.link);
    if (this.lively && main) this.heard[main.id] = this.now;
    return this.do({ type: 'tick', heard: this.heard, told: this.told ?? this.heard });
  }

  /** Lets time pass to the next deadline. */
  expire(): Effect[] {
    const at = deadline(this.link);
    assert.ok(at < Infinity, `no deadline in ${this.link.phase}`);
    this.now = Math.max(this.now, at + this.late);
    return this.tick();
  }

  /** Lets time pass, with a tick at each deadline; what that did. */
  pass(ms: number): Effect[] {
    const end = this.now + ms;
    const all: Effect[] = [];
    for (let i = 0; deadline(this.link) + this.late <= end; i++) {
      assert.ok(i < 10_000, 'a hot loop');
      all.push(...this.expire());
    }
    this.now = end;
    return all;
  }

  welcome(t: Transport, more: { beat?: number; offered?: readonly Transport[]; net?: string; remembered?: Remembered } = {}): Effect[] {
    return this.do({ type: 'welcome', attempt: this.at(t).id, beat: 25_000, ...more });
  }

  proof(t: Transport): Effect[] {
    return this.do({ type: 'proof', attempt: this.at(t).id });
  }

  prove(t: Transport, more: Parameters<Bench['welcome']>[1] = {}): Effect[] {
    this.welcome(t, more);
    this.now += 250;
    return this.proof(t);
  }

  fail(t: Transport, kind: End['kind'], more: Partial<End> = {}): Effect[] {
    return this.do({ type: 'ended', attempt: this.at(t).id, end: { kind, reason: kind, ...more } });
  }

  /** Ends what is under way, and what follows it, the same way. */
  failAll(kind: End['kind'], more: Partial<End> = {}): void {
    for (let i = 0; this.link.attempts[0]; i++) {
      assert.ok(i < 10, 'it never stops');
      this.fail(this.link.attempts[0].transport, kind, more);
    }
  }

  pong(end?: End): Effect[] {
    return this.do({ type: 'pong', ...(end && { end }) });
  }

  get main(): Transport | undefined {
    return mainOf(this.link)?.transport;
  }

  get under(): Transport[] {
    return this.link.attempts.map((a) => a.transport);
  }

  get wait(): number {
    assert.equal(this.link.phase, 'waiting');
    return deadline(this.link) - this.now;
  }
}

function started(policy: Partial<Policy> = {}, more: { net?: string; remembered?: Remembered } = {}): Bench {
  const bench = new Bench(policy);
  bench.do({ type: 'start', ...more });
  return bench;
}

/** A bench whose main one is the transport, while those before it in the ladder were blocked; nothing else is under way. */
function serving(transport: Transport, policy: Partial<Policy> = {}): Bench {
  const b = started(policy);
  for (const t of b.link.policy.ladder) {
    if (t === transport) break;
    b.fail(t, 'blocked');
  }
  b.prove(transport);
  b.begun();
  return b;
}

const names = (effects: Effect[]): string[] => effects.map((e) => (e.type === 'state' ? e.event.state : e.type));
const of = <T extends Effect['type']>(effects: Effect[], type: T): Extract<Effect, { type: T }>[] => effects.filter((e): e is Extract<Effect, { type: T }> => e.type === type);
const refused: End = { kind: 'refused', reason: 'no route' };
const silent: End = { kind: 'blocked', reason: 'swallowed' };

describe('a race', () => {
  test('is staggered: SSE after 250 ms, the stream a second after that; where nothing is known the poll begins at once', () => {
    const b = started();
    assert.deepEqual(names(b.effects), ['connecting', 'attach', 'attach']);
    b.pass(9_000);
    assert.deepEqual(b.begun(), [['websocket', 1_000], ['poll', 1_000], ['sse', 1_250], ['stream', 2_250]]);
  });

  test('where something is known to work, the poll comes a second after SSE, and the stream last', () => {
    const b = serving('websocket');
    b.do({ type: 'reconnect' }, 5_000);
    const at = b.now;
    b.pass(9_000);
    assert.deepEqual(b.begun(), [['websocket', at], ['sse', at + 250], ['poll', at + 1_250], ['stream', at + 2_250]]);
  });

  test('pauses at a welcome: the next one begins when the proof is overdue', () => {
    const b = started();
    b.pass(100);
    b.welcome('websocket');
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['websocket', 1_000], ['poll', 1_000], ['sse', 1_600], ['stream', 2_600]]);
    const c = started();
    c.pass(100);
    c.welcome('poll');
    c.pass(200);
    assert.deepEqual(c.begun().map(([t]) => t), ['websocket', 'poll', 'sse'], 'but for a poll: that proves nothing of a better one');
    const d = started();
    d.pass(300);
    d.welcome('websocket');
    d.pass(5_000);
    assert.deepEqual(d.begun().at(-1), ['stream', 2_250], 'what is further off keeps its time');
  });

  test('gives a slow network two round trips', () => {
    const b = started();
    b.now += 800;
    b.prove('websocket');
    b.begun();
    b.do({ type: 'reconnect' }, 10_000);
    const at = b.now;
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['websocket', at], ['sse', at + 800], ['poll', at + 1_800], ['stream', at + 2_800]]);
    const quick = serving('websocket');
    assert.equal(quick.link.trip, 0);
    quick.do({ type: 'reconnect' });
    quick.pass(300);
    assert.deepEqual(quick.begun().map(([t]) => t), ['websocket', 'sse'], 'never less than the stagger');
  });

  test('knows the quickest round trip that it saw', () => {
    const b = started({ ladder: ['websocket', 'sse'] });
    b.pass(600);
    b.welcome('websocket');
    assert.equal(b.link.trip, 300);
    b.now += 50;
    b.welcome('sse');
    assert.equal(b.link.trip, 200);
    const c = started({ ladder: ['websocket', 'sse'] });
    c.pass(450);
    c.welcome('sse');
    c.welcome('websocket');
    assert.equal(c.link.trip, 100);
  });

  test('takes no nap of the page for a round trip', () => {
    const b = started();
    b.now += 60_000;
    b.prove('websocket');
    b.do({ type: 'reconnect' }, 60_000);
    const [, second] = line(b.link);
    assert.ok((second?.at ?? Infinity) - b.now <= 5_000, `the next one begins after ${(second?.at ?? 0) - b.now} ms`);
  });

  test('goes on at once after a failure, and the rest keeps its distance', () => {
    const b = started();
    b.now += 100;
    b.fail('websocket', 'refused');
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['websocket', 1_000], ['poll', 1_000], ['sse', 1_100], ['stream', 2_100]]);
    const c = started();
    for (const t of ['websocket', 'sse', 'poll'] as const) c.fail(t, 'refused');
    assert.deepEqual(c.begun().map(([, at]) => at), [1_000, 1_000, 1_000, 1_000], 'what fails at once costs no time');
  });

  test('ends with the first one that is proven: worse ones are detached, with a goodbye if they were welcomed', () => {
    const b = started();
    b.pass(3_000);
    b.welcome('poll');
    b.welcome('sse');
    const effects = b.proof('sse');
    assert.deepEqual(names(effects), ['detach', 'detach', 'transport', 'connected']);
    assert.deepEqual(of(effects, 'detach').map((e) => e.bye), [true, false]);
    assert.deepEqual(b.under, ['websocket', 'sse']);
    assert.deepEqual(of(effects, 'transport')[0]?.event, { transport: 'sse', from: null, reason: '' });
  });

  test('what has not begun and is worse does not begin any more', () => {
    const b = started();
    b.prove('websocket');
    b.lively = true;
    b.pass(10_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket', 'poll']);
  });

  test('lets better ones go on, to the end of their budget', () => {
    const b = started();
    b.lively = true;
    b.pass(300);
    b.prove('poll');
    assert.equal(b.main, 'poll');
    b.pass(1_000 + defaults.budget - b.now - 1);
    assert.deepEqual(b.under, ['websocket', 'poll', 'sse', 'stream']);
    b.pass(1);
    assert.deepEqual(b.under, ['poll', 'sse', 'stream']);
    assert.deepEqual(names(b.prove('sse')), ['detach', 'detach', 'transport', 'switch']);
    assert.deepEqual(b.under, ['sse']);
  });

  test('a better one that is still queued begins in its time, beside the one that serves', () => {
    const b = started({}, { net: 'n', remembered: { good: 'poll', bad: [] } });
    b.prove('poll');
    b.lively = true;
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['poll', 1_000], ['websocket', 2_000], ['sse', 3_000], ['stream', 4_000]]);
  });

  test('a better one that fails beside the one that serves brings the next at once', () => {
    const b = started({}, { net: 'n', remembered: { good: 'poll', bad: [] } });
    b.prove('poll');
    b.lively = true;
    b.pass(800);
    b.begun();
    const at = b.now;
    b.fail('websocket', 'blocked');
    assert.deepEqual(b.begun(), [['sse', at]]);
  });

  test('the poll serves, and the stream is better still', () => {
    const b = serving('poll');
    b.lively = true;
    assert.equal(b.main, 'poll');
    b.pass(defaults.climbs[0] ?? 0);
    assert.ok(b.begun().some(([t]) => t === 'stream'));
  });

  test('commands go to the main one, or to what comes nearest to it', () => {
    const b = started();
    assert.equal(carrier(b.link), undefined);
    b.pass(300);
    b.welcome('sse');
    assert.equal(carrier(b.link)?.transport, 'sse');
    b.now += 250;
    b.proof('sse');
    b.welcome('websocket');
    assert.equal(carrier(b.link)?.transport, 'sse', 'while it is not in doubt');
    b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'no reply' });
    assert.equal(carrier(b.link)?.transport, 'websocket');
    b.fail('websocket', 'dropped');
    assert.equal(carrier(b.link)?.transport, 'sse');
  });
});

describe('a proof', () => {
  test('is a second thing, after the welcome', () => {
    const b = started({ ladder: ['websocket'] });
    assert.deepEqual(names(b.welcome('websocket')), []);
    assert.equal(b.main, undefined);
    assert.deepEqual(names(b.proof('websocket')), ['transport', 'connected']);
    assert.equal(b.main, 'websocket');
    assert.deepEqual(names(b.proof('websocket')), [], 'once');
  });

  test('comes in time, or the transport is held back', () => {
    const b = started({ ladder: ['websocket'] });
    b.welcome('websocket');
    b.pass(defaults.proof - 1);
    assert.deepEqual(b.under, ['websocket']);
    assert.deepEqual(names(b.pass(1)), ['detach', 'ping']);
    assert.equal(b.link.reason, 'websocket: no proof in time');
  });

  test('may come later while something is heard, but not for ever', () => {
    const b = started({ ladder: ['websocket'] });
    b.now += 100;
    b.welcome('websocket');
    const welcomed = b.now;
    const { id } = b.at('websocket');
    while (b.under.length > 0) {
      b.heard[id] = b.now + 900;
      b.pass(1_000);
    }
    assert.equal(b.now - welcomed, 3 * defaults.budget);
    const c = started({ ladder: ['websocket'] });
    c.welcome('websocket');
    c.heard[c.at('websocket').id] = c.now + 1_000;
    c.pass(1_000 + defaults.proof - 1);
    assert.deepEqual(c.under, ['websocket']);
    c.pass(1);
    assert.deepEqual(c.under, []);
  });

  test('a welcome that does not come within the budget is none', () => {
    const b = started({ ladder: ['websocket'] });
    b.pass(defaults.budget - 1);
    assert.deepEqual(b.under, ['websocket']);
    const [detach] = b.pass(1);
    assert.deepEqual(detach, { type: 'detach', attempt: 1, bye: false });
    assert.equal(b.link.reason, 'websocket: no welcome in time');
  });

  test('a second welcome does not take the trust away', () => {
    const b = serving('websocket');
    b.welcome('websocket');
    assert.equal(b.main, 'websocket');
  });

  test('a proof without a welcome proves nothing', () => {
    const b = started();
    b.proof('websocket');
    assert.equal(b.main, undefined);
  });

  test('what is no better than the one that serves by now is not wanted', () => {
    const b = started();
    b.pass(300);
    b.welcome('websocket');
    b.welcome('sse');
    const { id } = b.at('sse');
    b.now += 250;
    b.proof('websocket');
    assert.deepEqual(b.do({ type: 'proof', attempt: id }), [], 'it is gone already');
    assert.equal(b.main, 'websocket');
  });
});

describe('make before break', () => {
  test('upward: the one that serves is detached when the better one is proven, not before', () => {
    const b = serving('sse');
    b.lively = true;
    const { id } = b.at('sse');
    b.pass(defaults.climbs[0] ?? 0);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket']);
    assert.deepEqual(names(b.welcome('websocket')), []);
    b.now += 250;
    const effects = b.proof('websocket');
    assert.deepEqual(names(effects), ['detach', 'transport', 'switch']);
    assert.deepEqual(of(effects, 'detach')[0], { type: 'detach', attempt: id, bye: true });
    assert.deepEqual(of(effects, 'switch')[0]?.event, { from: 'sse', to: 'websocket', reason: 'climbing back' });
    assert.deepEqual(of(effects, 'transport')[0]?.event, { transport: 'websocket', from: 'sse', reason: 'climbing back' });
  });

  test('downward: the one in doubt stays until another is proven', () => {
    const b = serving('websocket');
    b.do({ type: 'doubt', attempt: b.at('websocket').id, reason: 'a publish is not answered' }, 10_000);
    assert.deepEqual(names(b.effects), ['attach']);
    b.pass(300);
    assert.deepEqual(b.under, ['websocket', 'websocket', 'sse'], 'the same again, beside it, and the next');
    b.welcome('sse');
    assert.equal(b.main, 'websocket');
    b.now += 250;
    const effects = b.proof('sse');
    assert.deepEqual(names(effects), ['detach', 'transport', 'switch']);
    assert.equal(of(effects, 'switch')[0]?.event.reason, 'websocket: a publish is not answered');
    assert.deepEqual(b.under, ['websocket', 'sse'], 'the better one that has begun goes on');
  });

  test('the same transport again takes over without a transport event', () => {
    const b = serving('websocket');
    const { id } = b.at('websocket');
    b.do({ type: 'goaway', attempt: id, after: 0 }, 10_000);
    b.expire();
    const effects = b.prove('websocket');
    assert.deepEqual(names(effects), ['detach', 'switch']);
    assert.deepEqual(of(effects, 'detach')[0], { type: 'detach', attempt: id, bye: true });
    assert.deepEqual(of(effects, 'switch')[0]?.event, { from: 'websocket', to: 'websocket', reason: 'the server asked to move' });
  });

  test('when it dies while others are at it, they go on, and what is left of the race begins', () => {
    const b = serving('websocket');
    const { id } = b.at('websocket');
    b.do({ type: 'doubt', attempt: id, reason: 'x' }, 10_000);
    b.begun();
    b.do({ type: 'ended', attempt: id, end: { kind: 'dropped', reason: 'reset' } }, 100);
    assert.deepEqual(names(b.effects), ['connecting']);
    assert.deepEqual(b.under, ['websocket']);
    const effects = b.prove('websocket');
    assert.deepEqual(names(effects), ['connected']);
  });

  test('when it dies while others are at it, what has failed is not tried again', () => {
    const b = serving('websocket');
    b.do({ type: 'doubt', attempt: 1, reason: 'x' }, 10_000);
    b.pass(300);
    b.fail('websocket', 'server');
    b.begun();
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'reset' } });
    assert.deepEqual(b.begun(), []);
  });

  test('when it dies while one climbs, the rest of the ladder joins that one at once', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(defaults.climbs[0] ?? 0);
    b.begun();
    b.now += 50;
    const at = b.now;
    assert.deepEqual(names(b.fail('sse', 'dropped')), ['connecting', 'attach']);
    b.pass(3_000);
    assert.deepEqual(b.begun(), [['sse', at], ['poll', at + 1_000], ['stream', at + 2_000]], 'no second WebSocket');
  });

  test('when nothing is to be had, the one that serves goes on', () => {
    const b = serving('websocket');
    b.lively = true;
    const { id } = b.at('websocket');
    b.do({ type: 'goaway', attempt: id, after: 1_000 }, 10_000);
    b.pass(1_000);
    assert.deepEqual(b.under, ['websocket', 'websocket']);
    for (const t of ['websocket', 'sse', 'poll', 'stream'] as const) b.fail(t, 'server');
    assert.deepEqual(b.under, ['websocket']);
    assert.equal(b.main, 'websocket');
    const at = b.now;
    b.begun();
    b.pass(defaults.cap);
    assert.deepEqual(b.begun()[0], ['websocket', at + defaults.cap], 'and is to be left again later');
  });
});

describe('silence', () => {
  test('past the beat and the grace, others are tried beside it; past one and a half beats it is dead', () => {
    const b = serving('websocket');
    const proven = b.now;
    b.pass(25_000 + defaults.grace - 1);
    assert.deepEqual(b.begun(), []);
    b.pass(1);
    assert.deepEqual(b.begun(), [['websocket', proven + 25_400]]);
    assert.ok(watched(b.link, 1));
    b.pass(37_500 - 25_400 - 1);
    assert.equal(b.main, 'websocket');
    const effects = b.pass(1);
    assert.equal(b.main, undefined);
    assert.deepEqual(of(effects, 'detach')[0], { type: 'detach', attempt: 1, bye: false });
  });

  test('a short beat has a second grace', () => {
    const b = serving('websocket', { ladder: ['websocket'] });
    b.link = { ...b.link, attempts: b.link.attempts.map((a) => ({ ...a, beat: 500 })) };
    b.pass(500 + defaults.grace);
    assert.ok(mainOf(b.link)?.doubted);
    b.pass(defaults.grace - 1);
    assert.ok(b.under.length === 2 && b.main);
    b.pass(1);
    assert.equal(b.main, undefined);
  });

  test('a long round trip is grace as well', () => {
    const b = started({ ladder: ['websocket'] });
    b.now += 4_000;
    b.prove('websocket');
    b.pass(25_000 + 1_999);
    assert.equal(mainOf(b.link)?.doubted, false);
    b.pass(1);
    assert.equal(mainOf(b.link)?.doubted, true);
  });

  test('is counted from what was heard last', () => {
    const b = serving('websocket');
    b.heard[1] = b.now + 20_000;
    b.pass(20_000 + 25_399);
    assert.equal(mainOf(b.link)?.doubted, false);
    b.pass(1);
    assert.equal(mainOf(b.link)?.doubted, true);
    assert.equal(b.link.reason, 'websocket: silent for 25400 ms');
  });

  test('of beats, while other things come, is a stream whose end is held back: another is tried, and this one is the last', () => {
    const b = serving('websocket');
    const { since } = b.at('websocket');
    b.lively = true;
    b.told = { 1: since };
    b.pass(37_900 - 1);
    assert.deepEqual(b.begun(), []);
    b.pass(1);
    assert.deepEqual(b.begun(), [['sse', since + 37_900]]);
    assert.deepEqual([b.main, b.link.suspects, b.link.reason], ['websocket', ['websocket'], 'websocket: held back']);
    assert.equal(carrier(b.link)?.transport, 'websocket', 'for want of another');
    b.welcome('sse');
    assert.equal(carrier(b.link)?.transport, 'sse');
    b.now += 250;
    const effects = b.proof('sse');
    assert.deepEqual(names(effects), ['detach', 'transport', 'switch']);
    assert.equal(b.link.rungs.websocket.bad, true);
  });

  test('of beats, where nothing else is to be had, is borne, and tried again later', () => {
    const b = serving('websocket', { ladder: ['websocket', 'sse'] });
    b.lively = true;
    b.told = { 1: b.now };
    b.pass(37_900);
    b.fail('sse', 'blocked');
    b.do({ type: 'ended', attempt: b.at('websocket').id, end: silent });
    assert.deepEqual([b.under, b.link.suspects], [['websocket'], []]);
    const at = b.now;
    b.begun();
    b.pass(37_900);
    assert.deepEqual(b.begun(), [['sse', at + 37_900]]);
  });

  test('that ends calls off the race: what is no better is detached, and nothing is held against it', () => {
    const b = serving('websocket');
    b.pass(25_400 + 1_300);
    assert.deepEqual(b.under, ['websocket', 'websocket', 'sse', 'poll']);
    b.fail('poll', 'blocked');
    b.welcome('sse');
    const effects = b.do({ type: 'spoke', attempt: 1 });
    assert.deepEqual(of(effects, 'detach').map((e) => e.bye), [false, true, false]);
    assert.deepEqual([b.under, b.link.queue, b.link.suspects], [['websocket'], [], []]);
    assert.equal(watched(b.link, 1), false);
    b.lively = true;
    b.begun();
    b.pass(20_000);
    assert.deepEqual(b.begun(), []);
  });

  test('that ends leaves better ones to go on', () => {
    const b = serving('sse');
    b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'x' }, 10_000);
    b.pass(100);
    // The WebSocket was bad, and so the last.
    for (const t of ['sse', 'poll', 'stream'] as const) {
      b.pass(1_000);
      b.do({ type: 'ended', attempt: b.link.attempts.findLast((a) => a.transport === t && a.stage !== 'main')?.id ?? -1, end: silent });
    }
    assert.deepEqual(b.under, ['sse', 'websocket']);
    b.do({ type: 'spoke', attempt: b.at('sse').id });
    assert.deepEqual(b.under, ['sse', 'websocket']);
    assert.equal(b.main, 'sse');
  });

  test('a climb that was under way in a doubt is repeated later, if it failed then', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(defaults.climbs[0] ?? 0);
    assert.deepEqual(b.under, ['sse', 'websocket']);
    const { id } = b.at('sse');
    b.do({ type: 'doubt', attempt: id, reason: 'x' });
    b.fail('websocket', 'blocked');
    b.do({ type: 'spoke', attempt: id });
    b.begun();
    b.pass(7_200_000);
    assert.ok(b.begun().some(([t]) => t === 'websocket'), 'it never climbs again');
  });

  test('a question has its own time to be answered', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = serving('websocket');
      assert.deepEqual(b.do({ type }, 10_000), [{ type: 'ask', attempt: 1 }]);
      assert.ok(watched(b.link, 1));
      b.pass(defaults.answer - 1);
      assert.equal(mainOf(b.link)?.doubted, false);
      b.pass(1);
      assert.equal(mainOf(b.link)?.doubted, true, 'no answer');
      const c = serving('websocket');
      c.do({ type }, 10_000);
      c.do({ type: 'spoke', attempt: 1 }, 100);
      c.pass(5_000);
      assert.equal(mainOf(c.link)?.doubted, false);
    }
  });

  test('a question over a slow network has two round trips', () => {
    const b = started({ ladder: ['websocket'] });
    b.now += 2_000;
    b.prove('websocket');
    b.do({ type: 'visible' }, 5_000);
    b.pass(1_999);
    assert.equal(mainOf(b.link)?.doubted, false);
    b.pass(1);
    assert.equal(mainOf(b.link)?.doubted, true);
  });

  test('a question to one that is in doubt already does not shorten its life', () => {
    const b = serving('websocket');
    b.pass(25_400 + 2_000);
    b.do({ type: 'visible' });
    b.pass(1_000);
    assert.equal(b.main, 'websocket', 'it has one and a half beats');
  });

  test('a doubt about another than the main one, or a second doubt, changes nothing', () => {
    const b = started();
    b.do({ type: 'doubt', attempt: b.at('websocket').id, reason: 'x' });
    assert.equal(b.link.attempts[0]?.doubted, false);
    const c = serving('websocket');
    c.do({ type: 'doubt', attempt: 1, reason: 'x' });
    c.begun();
    c.do({ type: 'doubt', attempt: 1, reason: 'y' });
    assert.deepEqual([c.begun(), c.link.reason], [[], 'websocket: x']);
  });
});

describe('an unclean death', () => {
  /** The main one dies, is taken up again, and proves itself. */
  function die(b: Bench, t: Transport, ms: number): void {
    b.now += ms;
    b.heard[b.at(t).id] = b.now;
    b.do({ type: 'ended', attempt: b.at(t).id, end: { kind: 'dropped', reason: 'reset' }, heard: b.now });
    b.expire();
  }

  test('twice within two beats, in five minutes: last in line, and bad once another is proven', () => {
    const b = serving('websocket');
    die(b, 'websocket', 20_000);
    assert.equal(b.under[0], 'websocket', 'once is nothing');
    b.prove('websocket');
    die(b, 'websocket', 20_000);
    assert.deepEqual(b.under, ['sse']);
    assert.deepEqual(b.link.suspects, ['websocket']);
    assert.equal(b.link.rungs.websocket.bad, false);
    b.prove('sse');
    assert.equal(b.link.rungs.websocket.bad, true);
    assert.deepEqual(line(b.link).map((s) => s.transport), ['sse', 'poll', 'stream', 'websocket']);
    assert.equal(line(b.link)[3]?.at, Infinity);
  });

  test('after two beats is none', () => {
    const b = serving('websocket');
    for (let i = 0; i < 3; i++) {
      const { began } = b.at('websocket');
      die(b, 'websocket', began + 50_000 - b.now);
      b.prove('websocket');
    }
    assert.deepEqual(b.link.rungs.websocket.strikes, []);
    die(b, 'websocket', b.at('websocket').began + 49_999 - b.now);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
  });

  test('counts for five minutes', () => {
    const b = serving('websocket');
    die(b, 'websocket', 20_000);
    b.prove('websocket');
    const first = b.link.rungs.websocket.strikes[0] ?? 0;
    b.lively = true;
    b.pass(first + 290_000 - b.now);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
    b.do({ type: 'reconnect' });
    b.prove('websocket');
    die(b, 'websocket', first + defaults.strikeWindow - b.now);
    assert.deepEqual(b.link.suspects, []);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
    b.prove('websocket');
    die(b, 'websocket', 20_000);
    assert.deepEqual(b.link.suspects, ['websocket']);
  });

  test('is no clean end, and no word of the server', () => {
    for (const kind of ['server', 'refused', 'blocked'] as const) {
      const b = serving('websocket');
      b.fail('websocket', kind);
      assert.deepEqual(b.link.rungs.websocket.strikes, []);
    }
  });

  test('is not held against the last of the ladder: there is nothing below it', () => {
    const b = serving('poll', { ladder: ['websocket', 'poll'] });
    for (let i = 0; i < 3; i++) {
      die(b, 'poll', 2_000);
      b.prove('poll');
    }
    assert.deepEqual(b.link.rungs.poll.strikes, []);
  });

  test('of an idle connection makes the beat half of what it lived, and never less than 5 s', () => {
    const b = serving('websocket');
    assert.equal(b.link.beat, null);
    b.fail('websocket', 'dropped');
    assert.equal(b.link.beat, null, 'it was not idle');
    b.expire();
    b.prove('websocket');
    b.do({ type: 'ended', attempt: b.at('websocket').id, end: { kind: 'dropped', reason: 'x' }, heard: b.now }, 20_000);
    assert.equal(b.link.beat, 10_000);
    b.expire();
    assert.equal(of(b.effects, 'attach')[0]?.beat, 10_000, 'and is asked for');
    const c = serving('websocket');
    c.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: c.now }, 2_500);
    assert.equal(c.link.beat, 5_000);
    const d = serving('websocket');
    d.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: d.now }, 2_499);
    assert.equal(d.link.beat, null);
    const e = serving('websocket');
    e.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: e.now }, 25_000);
    assert.equal(e.link.beat, null, 'a beat was due: that is another matter');
  });

  test('never makes the beat longer', () => {
    const b = serving('websocket');
    b.link = { ...b.link, beat: 6_000 };
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: b.now }, 20_000);
    assert.equal(b.link.beat, 6_000);
  });

  test('what was heard last is known to the end as well', () => {
    const b = serving('websocket');
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' }, heard: b.now + 19_000 }, 20_000);
    assert.equal(b.link.beat, null);
  });
});

describe('what is held against a transport', () => {
  test('failures, once another is proven', () => {
    for (const kind of ['refused', 'blocked', 'dropped'] as const) {
      const b = started({}, { net: 'n' });
      b.fail('websocket', kind);
      assert.equal(b.link.rungs.websocket.bad, false, 'not yet');
      assert.deepEqual(b.link.suspects, ['websocket']);
      const effects = b.prove('sse');
      assert.deepEqual(of(effects, 'remember'), [{ type: 'remember', net: 'n', good: 'sse', bad: ['websocket'] }]);
      assert.deepEqual([b.link.rungs.websocket.bad, b.link.suspects], [true, []]);
    }
  });

  test('never what the server says', () => {
    const b = started();
    b.fail('websocket', 'server', { retryAfter: 1_000 });
    b.prove('sse');
    assert.equal(b.link.rungs.websocket.bad, false);
  });

  test('not a refusal of what has carried us before', () => {
    const b = serving('websocket');
    b.fail('websocket', 'dropped');
    b.expire();
    b.fail('websocket', 'refused');
    assert.deepEqual(b.link.suspects, []);
    const c = serving('websocket');
    c.fail('websocket', 'dropped');
    c.expire();
    c.fail('websocket', 'blocked');
    assert.deepEqual(c.link.suspects, ['websocket']);
  });

  test('a refusal of it beside the one in doubt is', () => {
    const b = serving('websocket');
    b.do({ type: 'doubt', attempt: 1, reason: 'x' });
    b.fail('websocket', 'refused');
    assert.deepEqual(b.link.suspects, ['websocket']);
  });

  test('a climb that failed, unless the server said so', () => {
    for (const [kind, bad] of [['blocked', true], ['refused', true], ['server', false]] as const) {
      const b = started();
      b.pass(300);
      b.prove('sse');
      b.fail('websocket', kind);
      assert.equal(b.link.rungs.websocket.bad, bad, kind);
      b.do({ type: 'reconnect' });
      assert.equal(b.link.rungs.websocket.bad, bad, kind);
    }
    const b = serving('sse');
    b.lively = true;
    b.pass(30_000);
    b.fail('websocket', 'server');
    assert.equal(b.link.rungs.websocket.bad, true, 'nor does it say that it is good');
  });

  test('what serves is not bad any more', () => {
    const b = started({}, { net: 'n', remembered: { bad: ['websocket'] } });
    b.failAll('blocked');
    assert.equal(b.link.phase, 'probing');
    const c = serving('sse');
    c.lively = true;
    c.pass(30_000);
    c.prove('websocket');
    assert.equal(c.link.rungs.websocket.bad, false);
    assert.equal(c.link.rungs.websocket.next, Infinity);
  });

  test('nothing, when all fail: the next race is staggered again', () => {
    const b = started();
    b.failAll('blocked');
    b.pong();
    b.expire();
    b.begun();
    const at = b.now;
    b.pass(3_000);
    assert.deepEqual(b.begun().map(([, when]) => when - at), [250, 1_250], 'one at a time, each for its whole budget, is too slow');
  });

  test('what is tried last and hangs does not keep the rest from being tried again', () => {
    const b = serving('sse');
    b.fail('sse', 'dropped');
    b.expire();
    for (const t of ['sse', 'poll', 'stream'] as const) b.fail(t, 'refused');
    b.begun();
    const effects = b.pass(5_000);
    assert.ok(names(effects).includes('ping') || b.begun().some(([t]) => t === 'sse'), `only ${b.under} is being tried`);
  });

  test('where all are bad none is', () => {
    const b = started({}, { remembered: { bad: ['websocket', 'sse', 'stream', 'poll'] } });
    b.pass(2_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket', 'poll', 'sse', 'stream']);
  });

  test('what is tried last begins when nothing else is under way', () => {
    const b = started({}, { remembered: { bad: ['websocket', 'stream'] } });
    b.pass(5_000);
    assert.deepEqual(b.under, ['sse', 'poll']);
    b.fail('sse', 'blocked');
    assert.deepEqual(b.under, ['poll']);
    assert.deepEqual(names(b.fail('poll', 'blocked')), ['ping'], 'but not where nothing answers at all');
    b.pong();
    assert.deepEqual(b.under, ['websocket']);
    b.pass(defaults.stagger);
    assert.deepEqual(b.under, ['websocket', 'stream']);
    b.fail('websocket', 'blocked');
    assert.deepEqual(names(b.fail('stream', 'blocked')), ['ping']);
  });
});

describe('offline', () => {
  test('when all have failed a ping asks whether anything answers', () => {
    const b = started();
    b.failAll('refused');
    assert.deepEqual(b.effects, [{ type: 'ping', limit: 1_000 }]);
    assert.equal(b.link.phase, 'probing');
    assert.equal(deadline(b.link), b.now + 1_000);
  });

  test('the ping has four round trips, but no more than 5 s', () => {
    for (const [trip, limit] of [[200, 1_000], [400, 1_600], [2_000, 5_000]] as const) {
      const b = started();
      b.link = { ...b.link, trip };
      b.failAll('refused');
      assert.deepEqual(b.effects, [{ type: 'ping', limit }]);
    }
  });

  test('nothing answers: everything is forgiven, and the application is told once', () => {
    const b = serving('websocket');
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'x' } }, 500);
    assert.equal(b.link.rungs.websocket.strikes.length, 1);
    b.expire();
    b.failAll('blocked');
    const effects = b.pong(refused);
    assert.deepEqual(names(effects), ['offline', 'offline']);
    assert.deepEqual(of(effects, 'offline'), [{ type: 'offline', event: { reason: 'no route' } }]);
    assert.deepEqual([b.link.suspects, b.link.rungs.websocket.strikes], [[], []]);
    assert.deepEqual(names(b.expire()), ['ping'], 'and asks again, without a race');
    assert.deepEqual(names(b.pong(refused)), ['offline'], 'the state, not the event');
  });

  test('a ping that is not answered is a failed one', () => {
    const b = started();
    b.failAll('refused');
    const effects = b.pass(1_000);
    assert.deepEqual(of(effects, 'offline')[0]?.event, { reason: 'nothing answers' });
    assert.ok(b.link.offline);
  });

  test('an answer brings a race at once', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.expire();
    b.begun();
    assert.deepEqual(names(b.pong()), ['connecting', 'attach', 'attach']);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket', 'poll']);
    assert.equal(b.link.offline, false);
  });

  test('a ping that is answered means that only the transports fail: the next race is not hurried', () => {
    const b = started();
    b.failAll('server');
    assert.deepEqual(names(b.pong()), ['waiting']);
    assert.equal(b.wait, 250);
    assert.deepEqual(names(b.expire()), ['connecting', 'attach', 'attach']);
  });

  test('a race that fails while offline needs no ping', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.do({ type: 'reconnect' });
    b.failAll('refused');
    assert.equal(b.link.phase, 'waiting');
    assert.deepEqual(names(b.effects), ['offline']);
  });

  test('what is proven ends it, and the next time is told again', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.do({ type: 'reconnect' });
    b.prove('websocket');
    assert.equal(b.link.offline, false);
    b.fail('websocket', 'dropped');
    b.expire();
    b.failAll('refused');
    assert.deepEqual(names(b.pong(refused)), ['offline', 'offline']);
  });

  test('pings have more patience after failures', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    assert.equal(of(b.expire(), 'ping')[0]?.limit, 1_000);
    b.link = { ...b.link, failures: 5 };
    b.pong(refused);
    assert.equal(of(b.expire(), 'ping')[0]?.limit, 4_000);
  });

  test('what stops only pings does not stop the races for ever', () => {
    const b = started();
    b.failAll('refused');
    b.pong(refused);
    b.now += defaults.soon;
    assert.ok(of(b.expire(), 'attach').length > 0);
  });

  test('a pong that nobody waits for changes nothing', () => {
    const b = started();
    assert.deepEqual(b.pong(), []);
    assert.deepEqual(b.pong(refused), []);
    assert.deepEqual([b.link.phase, b.link.offline], ['open', false]);
  });
});

describe('climbing', () => {
  test('after 30 s, 2 min, 10 min, then hourly', () => {
    const b = serving('sse');
    b.lively = true;
    const waits: number[] = [];
    for (let i = 0, from = b.now; i < 6; i++, from = b.now) {
      while (b.begun().length === 0) b.expire();
      assert.deepEqual(b.under, ['sse', 'websocket']);
      waits.push(b.now - from);
      b.fail('websocket', 'blocked');
    }
    assert.deepEqual(waits, [30_000, 120_000, 600_000, 3_600_000, 3_600_000, 3_600_000]);
  });

  test('one at a time each: what is under way does not begin again', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(30_000 + defaults.budget - 1);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket']);
  });

  test('begins anew once it has served for five minutes', () => {
    for (const [ms, climbs] of [[defaults.settled, 0], [defaults.settled - 1, 1]] as const) {
      const b = serving('sse');
      b.lively = true;
      b.pass(30_000);
      b.prove('websocket');
      b.now += ms;
      b.do({ type: 'ended', attempt: b.at('websocket').id, end: { kind: 'server', reason: 'x' }, heard: b.now });
      assert.equal(b.link.rungs.websocket.climbs, climbs);
    }
  });

  test('never to what is worse, nor while others are tried in its place', () => {
    const b = serving('websocket');
    b.lively = true;
    b.pass(10_000_000);
    assert.deepEqual(b.begun(), []);
    const c = serving('sse');
    c.do({ type: 'goaway', attempt: c.at('sse').id, after: 29_000 });
    c.lively = true;
    c.pass(29_000);
    c.pass(3_000);
    assert.ok(!c.under.includes('websocket'));
  });

  test('never while others are tried in its place', () => {
    const b = started();
    b.fail('websocket', 'server');
    b.prove('sse');
    b.lively = true;
    b.pass(29_000);
    b.do({ type: 'goaway', attempt: b.at('sse').id, after: 0 });
    b.pass(500);
    b.fail('websocket', 'server');
    b.begun();
    b.pass(5_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['stream']);
  });

  test('at once on another network, and when the page is looked at again', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = serving('sse');
      const began = b.now;
      b.do({ type }, 10 * defaults.calm);
      b.pass(0);
      assert.deepEqual(b.begun(), [['websocket', began + 10_000]]);
      assert.equal(b.main, 'sse');
    }
  });

  test('not each time that somebody looks', () => {
    const b = serving('sse');
    b.do({ type: 'visible' }, 10 * defaults.calm - 251);
    b.do({ type: 'spoke', attempt: b.at('sse').id });
    b.pass(0);
    assert.deepEqual(b.begun(), []);
  });

  test('what failed in the race a moment ago is not climbed to at once', () => {
    const b = started({ ladder: ['websocket', 'sse', 'poll'] });
    b.fail('websocket', 'server');
    b.prove('sse');
    b.lively = true;
    b.pass(29_000);
    b.fail('sse', 'dropped');
    b.expire();
    b.fail('sse', 'blocked');
    b.fail('websocket', 'blocked');
    b.prove('poll');
    b.begun();
    b.pass(10_000);
    assert.deepEqual(b.begun(), []);
  });

  test('an attempt that is the better one of two replaces, the other goes on', () => {
    const b = serving('poll', { ladder: ['websocket', 'sse', 'poll'] });
    b.lively = true;
    b.pass(30_000);
    assert.deepEqual(b.under, ['poll', 'websocket', 'sse']);
    b.prove('sse');
    assert.deepEqual(b.under, ['websocket', 'sse']);
    b.prove('websocket');
    assert.deepEqual(b.under, ['websocket']);
  });
});

describe('online and visible', () => {
  test('in a wait: a race at once, but not in a hot loop', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = started({ ladder: ['poll'] });
      b.random = 0.999;
      b.failAll('refused');
      b.pong();
      b.do({ type }, 500);
      if (b.link.phase === 'waiting') b.do({ type: 'reconnect' });
      b.failAll('refused');
      b.pong();
      b.link = { ...b.link, until: b.now + 30_000 };
      b.begun();
      b.do({ type }, defaults.calm - 1);
      assert.deepEqual(b.begun(), [], 'too close to the last one');
      b.do({ type }, 1);
      assert.deepEqual(b.begun().map(([t]) => t), ['poll']);
      b.do({ type }, 1);
      assert.deepEqual(b.begun(), []);
    }
  });

  test('never against the word of the server', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = started();
      b.failAll('server', { retryAfter: 10_000 });
      assert.equal(b.link.phase, 'waiting');
      b.do({ type }, 5_000);
      assert.equal(b.link.phase, 'waiting');
      b.do({ type }, 4_999);
      assert.equal(b.link.phase, 'waiting');
      b.do({ type }, 1);
      assert.equal(b.link.phase, 'open');
    }
  });

  test('online in the middle of a race begins it anew: what hangs on the old network would hang for long', () => {
    const b = started();
    b.pass(2_500);
    b.begun();
    const effects = b.do({ type: 'online' });
    assert.deepEqual(names(effects), ['detach', 'detach', 'detach', 'detach', 'connecting', 'attach', 'attach']);
    const c = started();
    c.pass(2_500);
    assert.deepEqual(c.do({ type: 'visible' }), [], 'looking changes nothing');
  });

  test('online forgets what is known of the network', () => {
    const b = serving('sse');
    b.link = { ...b.link, beat: 6_000, trip: 300, suspects: ['poll'] };
    b.do({ type: 'online' }, 2_000);
    const { rungs, suspects, beat, trip } = b.link;
    assert.deepEqual([rungs.websocket.bad, suspects, beat, trip], [false, [], null, 0]);
    const c = serving('sse');
    c.do({ type: 'visible' }, 2_000);
    assert.equal(c.link.rungs.websocket.bad, true, 'visible does not');
  });

  test('a burst of them is one', () => {
    const b = serving('sse');
    b.pass(20_000);
    for (let i = 0; i < 10; i++) {
      b.do({ type: 'online' });
      b.pass(0);
      if (b.under.includes('websocket')) b.fail('websocket', 'refused');
      b.do({ type: 'spoke', attempt: b.at('sse').id }, 50);
    }
    const begun = b.begun();
    assert.ok(begun.length <= 1, `${begun.length} attempts in half a second`);
  });

  test('before the start they change nothing', () => {
    const b = new Bench();
    assert.deepEqual(b.do({ type: 'online' }), []);
    assert.deepEqual(b.do({ type: 'visible' }), []);
    assert.equal(b.link.phase, 'idle');
  });
});

describe('memory', () => {
  test('what is remembered to be bad comes last, what is good first and with time to prove it', () => {
    const b = started({}, { net: 'n', remembered: { good: 'sse', bad: ['websocket'] } });
    b.pass(5_000);
    assert.deepEqual(b.begun(), [['sse', 1_000], ['poll', 2_000], ['stream', 3_000]]);
    const c = started({}, { net: 'n', remembered: { good: 'poll', bad: [] } });
    c.pass(5_000);
    assert.deepEqual(c.begun(), [['poll', 1_000], ['websocket', 2_000], ['sse', 3_000], ['stream', 4_000]]);
  });

  test('what carried us last is first in the next race, at the usual pace', () => {
    const b = started();
    b.pass(300);
    b.prove('sse');
    b.fail('websocket', 'server');
    b.now += 5_000;
    b.fail('sse', 'dropped');
    b.expire();
    b.begun();
    const at = b.now;
    b.pass(2_500);
    assert.deepEqual(b.begun(), [['websocket', at + 250], ['poll', at + 1_250], ['stream', at + 2_250]]);
  });

  test('the beat is remembered', () => {
    const b = started({}, { net: 'n', remembered: { bad: [], beat: 7_000 } });
    assert.equal(of(b.effects, 'attach')[0]?.beat, 7_000);
    const effects = b.prove('websocket');
    assert.deepEqual(of(effects, 'remember'), [{ type: 'remember', net: 'n', good: 'websocket', bad: [], beat: 7_000 }]);
  });

  test('another network: what was known is forgotten, and what is remembered of it is taken up', () => {
    const b = started({}, { net: 'n', remembered: { good: 'sse', bad: ['websocket'], beat: 7_000 } });
    b.welcome('sse', { net: 'm', remembered: { good: 'poll', bad: ['stream'] } });
    assert.deepEqual([b.link.net, b.link.beat], ['m', null]);
    assert.deepEqual([b.link.rungs.websocket.bad, b.link.rungs.stream.bad], [false, true]);
    b.now += 250;
    const effects = b.proof('sse');
    assert.deepEqual(of(effects, 'remember'), [{ type: 'remember', net: 'm', good: 'sse', bad: ['stream'] }]);
  });

  test('the first hint of a network is no change of it', () => {
    const b = started();
    b.fail('websocket', 'blocked');
    b.welcome('sse', { net: 'n' });
    assert.deepEqual(b.link.suspects, ['websocket']);
    assert.equal(b.link.net, 'n');
  });

  test('the same hint, or none, changes nothing', () => {
    for (const more of [{ net: 'n' }, {}]) {
      const b = started({}, { net: 'n', remembered: { bad: ['websocket'] } });
      b.welcome('sse', { ...more, remembered: { bad: ['poll'] } });
      assert.deepEqual([b.link.rungs.websocket.bad, b.link.rungs.poll.bad], [true, false]);
    }
  });

  test('better ones are tried at once where the network turns out to be another', () => {
    const b = started({}, { net: 'n', remembered: { good: 'poll', bad: ['websocket', 'sse', 'stream'] } });
    b.prove('poll', { net: 'm' });
    b.begun();
    b.pass(100);
    assert.ok(b.begun().length > 0 || b.link.rungs.websocket.next <= b.now + 30_000);
  });

  test('nothing is remembered of a network without a name', () => {
    const b = started();
    b.fail('websocket', 'blocked');
    assert.deepEqual(of(b.prove('sse'), 'remember'), []);
  });

  test('a failed climb is remembered', () => {
    const b = started({}, { net: 'n' });
    b.pass(300);
    b.prove('sse');
    assert.deepEqual(of(b.fail('websocket', 'blocked'), 'remember'), [{ type: 'remember', net: 'n', good: 'sse', bad: ['websocket'] }]);
  });

  test('names of transports that nobody knows are ignored', () => {
    const b = started({}, { net: 'n', remembered: { good: 'telex' as Transport, bad: ['fax' as Transport] } });
    assert.deepEqual(b.under, ['websocket']);
    assert.deepEqual(Object.keys(b.link.rungs).sort(), ['poll', 'sse', 'stream', 'websocket']);
  });
});

describe('backoff', () => {
  /** All fail, and something answers the ping. */
  function round(b: Bench, kind: End['kind'] = 'refused', more: Partial<End> = {}): number {
    b.failAll(kind, more);
    if (b.link.phase === 'probing') b.pong();
    const { wait } = b;
    b.expire();
    return wait;
  }

  test('does not bound the attempts alone: no more than so many begin in a time', () => {
    const b = started();
    for (let i = 0; i < 200; i++) {
      b.failAll('refused');
      if (b.link.phase === 'probing') b.pong();
      b.expire();
    }
    const times = b.begun().map(([, at]) => at);
    assert.ok(times.length > 2 * defaults.most);
    for (let i = defaults.most; i < times.length; i++) assert.ok((times[i] ?? 0) - (times[i - defaults.most] ?? 0) >= defaults.span, `attempt ${i}`);
  });

  test('is random up to a bound that doubles up to a cap, and at first is brief', () => {
    const b = started({ most: 1_000 });
    b.random = 0.999999;
    const waits: number[] = [];
    for (let i = 0; i < 40; i++) waits.push(Math.round(round(b)));
    assert.deepEqual([waits[0], waits[1]], [500, 700]);
    const long = waits.findIndex((w) => w > 700);
    assert.ok(waits.slice(1, long).every((w) => w === 700));
    assert.ok(waits.slice(0, long).reduce((a, w) => a + w, 0) >= defaults.soon, 'brief for the first 15 s');
    assert.ok(waits.slice(long).every((w) => w === 30_000));
    b.random = 0;
    assert.equal(round(b), 0);
    b.random = 0.5;
    assert.equal(Math.round(round(b)), 15_000);
  });

  test('doubles', () => {
    const b = started();
    b.random = 0.999999;
    b.now += defaults.soon;
    assert.deepEqual(Array.from({ length: 8 }, () => Math.round(round(b))), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  test('is brief for 15 s after something worked, not longer', () => {
    for (const [ms, most] of [[defaults.soon - 1, 700], [defaults.soon, 30_000]] as const) {
      const b = started();
      b.random = 0.999999;
      b.link = { ...b.link, failures: 10 };
      b.now += ms;
      b.failAll('refused');
      b.pong();
      assert.equal(Math.round(b.wait), most);
    }
  });

  test('while offline in that time it does not grow', () => {
    const b = started();
    b.random = 0.999999;
    b.failAll('refused');
    for (let i = 0; i < 10; i++) {
      b.pong(refused);
      assert.equal(Math.round(b.wait), 500);
      b.expire();
    }
    assert.equal(b.link.failures, 0);
    b.now += defaults.soon;
    b.pong(refused);
    assert.equal(b.link.failures, 1);
  });

  test('the first wait after a loss is 300 ms at most; of what lived for less than a second it is a failure', () => {
    for (const [lived, most, failures] of [[defaults.lived, 300, 0], [defaults.lived - 1, 500, 1]] as const) {
      const b = serving('websocket');
      b.random = 0.999999;
      b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, lived);
      assert.deepEqual([Math.round(b.wait), b.link.failures], [most, failures]);
      assert.deepEqual(of(b.effects, 'state')[0]?.event, { state: 'waiting', reason: 'websocket: cut', retryInMs: most });
    }
  });

  test('failures are forgotten after 30 s of health', () => {
    for (const [lived, failures] of [[defaults.healthy, 0], [defaults.healthy - 1, 3]] as const) {
      const b = serving('websocket');
      b.link = { ...b.link, failures: 3 };
      b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, lived);
      assert.equal(b.link.failures, failures);
    }
  });

  test('what lived for a second is something that worked', () => {
    const b = serving('websocket');
    b.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, defaults.lived);
    assert.equal(b.link.alive, b.now);
    const c = serving('websocket');
    const { alive } = c.link;
    c.do({ type: 'ended', attempt: 1, end: { kind: 'dropped', reason: 'cut' } }, defaults.lived - 1);
    assert.equal(c.link.alive, alive);
  });

  test('Retry-After is waited out, with a tenth of jitter, and is never brief', () => {
    for (const [random, least, most] of [[0, 7_000, 7_000], [0.999999, 8_199, 8_200]] as const) {
      const b = started({ ladder: ['poll'] });
      b.random = random;
      b.fail('poll', 'server', { retryAfter: 7_000 });
      assert.ok(b.wait >= least && b.wait <= most, String(b.wait));
      assert.deepEqual(names(b.effects), ['waiting']);
    }
  });

  test('no server sends a client away for more than five minutes', () => {
    const b = started({ ladder: ['poll'] });
    b.random = 0;
    b.fail('poll', 'server', { retryAfter: 1e9 });
    assert.equal(b.wait, longest);
  });

  test('a server that asks for no time at all is not asked in a hot loop', () => {
    const b = started({ ladder: ['poll'] });
    for (let i = 0; i < 100; i++) round(b, 'server', { retryAfter: 0 });
    assert.ok(b.now > 300_000, String(b.now));
  });

  test('an error of the server needs no ping, a server that says nothing of it does', () => {
    const b = started({ ladder: ['poll'] });
    b.fail('poll', 'server', { error: new FairleadError('forbidden', 'no') });
    assert.equal(b.link.phase, 'waiting');
    const c = started({ ladder: ['poll'] });
    c.fail('poll', 'server');
    assert.equal(c.link.phase, 'probing');
  });
});

describe('goaway', () => {
  test('moves after the time it names, beside the one that still serves, without a penalty', () => {
    const b = serving('websocket');
    b.now += 5_000;
    assert.deepEqual(b.do({ type: 'goaway', attempt: 1, after: 1_500 }), []);
    assert.equal(deadline(b.link), b.now + 1_500);
    b.lively = true;
    b.pass(1_499);
    assert.deepEqual(b.begun(), []);
    b.pass(1);
    assert.deepEqual(b.begun().map(([t]) => t), ['websocket']);
    assert.equal(b.link.reason, 'the server asked to move');
    b.prove('websocket');
    assert.deepEqual([b.under, b.link.failures, b.link.suspects], [['websocket'], 0, []]);
  });

  test('that ends before its time waits it out, with jitter', () => {
    for (const [random, least, most] of [[0, 600, 600], [0.999999, 900, 960]] as const) {
      const b = serving('websocket');
      b.random = random;
      b.do({ type: 'goaway', attempt: 1, after: 1_000 }, 5_000);
      b.do({ type: 'ended', attempt: 1, end: { kind: 'server', reason: '1012' } }, 400);
      assert.ok(b.wait >= least && b.wait <= most, String(b.wait));
      assert.equal(b.link.failures, 0);
    }
  });

  test('that ends after its time goes on with the race', () => {
    const b = serving('websocket');
    b.do({ type: 'goaway', attempt: 1, after: 100 }, 5_000);
    b.pass(100);
    b.begun();
    b.do({ type: 'ended', attempt: 1, end: { kind: 'server', reason: '1012' } });
    assert.deepEqual(names(b.effects), ['connecting']);
    assert.deepEqual([b.under, b.begun()], [['websocket'], []]);
  });

  test('is waited out even if a better one was being tried', () => {
    const b = serving('sse');
    b.lively = true;
    b.pass(30_000);
    b.do({ type: 'goaway', attempt: b.at('sse').id, after: 5_000 });
    b.begun();
    b.fail('sse', 'server');
    b.pass(4_000);
    assert.deepEqual(b.begun(), [], 'no new attempt within the time');
    b.fail('websocket', 'blocked');
    assert.deepEqual(b.begun(), [], 'nor when the better one fails');
    b.pass(1_000);
    assert.ok(b.begun().length > 0, 'and then there is');
  });

  test('for a time before now is at once, for a year is five minutes', () => {
    for (const [after, at] of [[-5, 0], [1e12, longest]] as const) {
      const b = serving('websocket');
      b.do({ type: 'goaway', attempt: 1, after });
      assert.equal(b.link.attempts[0]?.leave, b.now + at);
    }
  });

  test('silence while it is being left does not make a second race', () => {
    const b = serving('websocket');
    b.do({ type: 'goaway', attempt: 1, after: 20_000 });
    b.pass(20_000);
    b.begun();
    b.pass(5_500);
    assert.deepEqual([mainOf(b.link)?.doubted, mainOf(b.link)?.leaving], [true, true]);
    assert.deepEqual(b.begun().filter(([t]) => t === 'websocket'), []);
    b.do({ type: 'spoke', attempt: 1 });
    assert.deepEqual([mainOf(b.link)?.doubted, mainOf(b.link)?.leaving], [false, true]);
    assert.ok(b.under.length > 1, 'it is left all the same');
  });

  test('silence while it is being left does not try again what has failed', () => {
    const b = serving('websocket');
    b.do({ type: 'goaway', attempt: 1, after: 20_000 });
    b.pass(22_000);
    b.fail('websocket', 'server');
    b.begun();
    b.pass(3_500);
    assert.equal(mainOf(b.link)?.doubted, true);
    assert.deepEqual(b.begun().filter(([t]) => t === 'websocket'), []);
  });

  test('a server that sends everybody away at once is not asked in a hot loop', () => {
    const b = started();
    for (let i = 0; i < 50; i++) {
      b.prove('websocket');
      b.do({ type: 'goaway', attempt: b.at('websocket').id, after: 0 });
      b.fail('websocket', 'server');
      b.expire();
    }
    assert.ok(b.now > 300_000, String(b.now));
  });
});

describe('frozen timers', () => {
  test('an attempt that slept with its page had no chance: nothing is held against it', () => {
    for (const [late, bad] of [[defaults.frozen + 1, false], [defaults.frozen, true]] as const) {
      const b = started();
      b.fail('websocket', 'server');
      b.prove('sse');
      b.lively = true;
      b.pass(defaults.climbs[0] ?? 0);
      assert.deepEqual(b.under, ['sse', 'websocket']);
      b.late = late;
      b.expire();
      assert.deepEqual([b.under, b.link.rungs.websocket.bad], [['sse'], bad]);
    }
  });

  test('the main one is asked about before it is given up, however long it slept', () => {
    for (const late of [3_001, 12_000, 12_200, 14_000, 20_000, 3_600_000]) {
      const b = serving('websocket');
      b.late = late;
      b.expire();
      b.tick();
      assert.equal(b.main, 'websocket', `after ${late} ms`);
      assert.equal(mainOf(b.link)?.doubted, true, 'others are tried');
      b.late = 0;
      b.do({ type: 'spoke', attempt: 1 }, 50);
      assert.deepEqual(b.under, ['websocket']);
    }
  });

  test('one in doubt gets another half a beat', () => {
    const b = serving('websocket', { ladder: ['websocket'] });
    b.pass(25_400);
    b.fail('websocket', 'server');
    b.late = 60_000;
    b.expire();
    assert.equal(b.main, 'websocket');
    b.late = 0;
    b.pass(12_499);
    assert.equal(b.main, 'websocket');
    b.pass(1);
    assert.equal(b.main, undefined);
  });

  test('with a question open they do not spin', () => {
    const b = serving('websocket', { ladder: ['websocket'] });
    b.pass(25_400 + 2_000);
    b.do({ type: 'visible' });
    b.now += 60_000;
    for (let i = 0; i < 5; i++) b.tick();
    assert.ok(deadline(b.link) > b.now, 'the next tick is in the past');
  });
});

describe('errors, states', () => {
  const error = new FairleadError('bad_answer', 'this is a captive portal');

  test('an error is told once, until something works', () => {
    const b = started();
    let told = 0;
    for (let pass = 0; pass < 3; pass++) {
      while (b.link.attempts[0]) told += of(b.fail(b.link.attempts[0].transport, 'blocked', { error }), 'error').length;
      told += of(b.pong({ kind: 'blocked', reason: 'portal', error }), 'error').length;
      b.expire();
      b.pong();
    }
    assert.equal(told, 1);
    b.prove('websocket');
    assert.equal(of(b.fail('websocket', 'dropped', { error }), 'error').length, 1);
  });

  test('the same code in other words is told once, another code again', () => {
    const b = started({ ladder: ['poll'] });
    const told: string[] = [];
    for (let i = 0; i < 30; i++) {
      b.fail('poll', 'server', { error: new FairleadError(i < 20 ? 'x' : 'y', `error ${i}`) });
      told.push(...of(b.effects, 'error').map((e) => e.event.message));
      b.expire();
    }
    assert.deepEqual(told, ['error 0', 'error 20']);
  });

  test('an error of one transport is not told while another works', () => {
    const b = started();
    const effects = [...b.fail('websocket', 'blocked', { error }), ...b.fail('poll', 'server', { error }), ...b.prove('sse')];
    b.lively = true;
    effects.push(...b.pass(29_000), ...b.fail('sse', 'server'));
    assert.deepEqual(of(effects, 'error'), []);
  });

  test('a state has its reason', () => {
    const b = started({ ladder: ['poll'] });
    assert.deepEqual(b.effects[0], { type: 'state', event: { state: 'connecting', reason: '' } });
    b.fail('poll', 'refused');
    b.pong();
    assert.deepEqual(b.effects, [{ type: 'state', event: { state: 'waiting', reason: 'poll: refused', retryInMs: 250 } }]);
    b.expire();
    assert.deepEqual(b.effects[0], { type: 'state', event: { state: 'connecting', reason: 'poll: refused' } });
    b.prove('poll');
    assert.deepEqual(of(b.effects, 'state'), [{ type: 'state', event: { state: 'connected', reason: 'poll: refused' } }]);
    assert.equal(b.link.reason, '');
  });
});

describe('the application', () => {
  test('reconnects: what there is is dropped in every phase, and a race begins at once', () => {
    const b = started({ ladder: ['websocket', 'sse'] });
    assert.deepEqual(names(b.do({ type: 'reconnect' })), ['detach', 'connecting', 'attach']);
    b.prove('websocket');
    const effects = b.do({ type: 'reconnect' });
    assert.deepEqual(of(effects, 'detach').map((e) => e.bye), [true]);
    b.failAll('server', { retryAfter: 60_000 });
    assert.equal(b.link.phase, 'waiting');
    b.do({ type: 'reconnect' });
    assert.deepEqual([b.link.phase, b.under, b.link.reason], ['open', ['websocket'], 'reconnect']);
    b.failAll('refused');
    b.failAll('refused');
    b.do({ type: 'reconnect' });
    assert.deepEqual(b.under, ['websocket']);
  });

  test('closes, for good', () => {
    const b = started();
    b.pass(300);
    b.welcome('sse');
    assert.deepEqual(names(b.do({ type: 'close' })), ['detach', 'detach', 'detach', 'closed']);
    for (const type of ['start', 'online', 'visible', 'reconnect', 'close'] as const) assert.deepEqual(b.do({ type }), []);
    assert.deepEqual(b.tick(), []);
    assert.equal(deadline(b.link), Infinity);
  });
});

describe('a stop', () => {
  test('drops everything, and a start goes on', () => {
    const b = serving('sse');
    b.do({ type: 'doubt', attempt: b.at('sse').id, reason: 'x' });
    assert.deepEqual(names(b.do({ type: 'stop' })), ['detach', 'detach']);
    assert.deepEqual([b.link.phase, b.under, deadline(b.link)], ['idle', [], Infinity]);
    for (const type of ['online', 'visible', 'reconnect'] as const) assert.deepEqual(b.do({ type }, 60_000), [], type);
    b.begun();
    b.do({ type: 'start' });
    assert.deepEqual(b.begun().map(([t]) => t), ['sse'], 'what served is the first');
    assert.deepEqual(b.do({ type: 'start' }), [], 'one start is enough');
  });

  test('ends a wait and a probe', () => {
    const b = started();
    b.failAll('refused');
    b.do({ type: 'stop' });
    assert.equal(deadline(b.link), Infinity);
    assert.deepEqual(b.pong(), []);
    assert.equal(b.link.phase, 'idle');
  });

  test('leaves close to work', () => {
    const b = serving('sse');
    b.do({ type: 'stop' });
    assert.deepEqual(names(b.do({ type: 'close' })), ['closed']);
    assert.deepEqual(b.do({ type: 'start' }), []);
  });
});

describe('what is stale', () => {
  test('events of an attempt that is gone change nothing', () => {
    const b = started();
    b.fail('websocket', 'refused');
    const before = b.link;
    for (const attempt of [1, 0, 99]) {
      for (const type of ['proof', 'welcome', 'goaway', 'ended', 'spoke', 'doubt'] as const) {
        const event = { type, attempt, now: b.now, random: b.random, beat: 1, after: 1, reason: '', end: silent } as Event;
        const [after, effects] = step(before, event);
        assert.deepEqual([after, effects], [before, []]);
      }
    }
  });

  test('a tick that comes early changes nothing', () => {
    const b = started();
    const { now: _, ...before } = b.link;
    b.do({ type: 'tick', heard: {}, told: {} }, 249);
    const { now: __, ...after } = b.link;
    assert.deepEqual([after, b.effects], [before, []]);
    b.failAll('server', { retryAfter: 10_000 });
    assert.deepEqual(b.do({ type: 'tick', heard: {}, told: {} }, 9_000), [], 'in a wait');
  });

  test('nobody changes a link that was given out', () => {
    const freeze = <T>(value: T): T => {
      if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
      return value;
    };
    const b = started();
    const run = (act: () => void): void => {
      freeze(b.link);
      act();
    };
    run(() => void b.fail('websocket', 'blocked'));
    run(() => void b.welcome('sse', { net: 'n' }));
    run(() => void b.proof('sse'));
    run(() => void b.do({ type: 'goaway', attempt: b.at('sse').id, after: 0 }));
    run(() => void b.expire());
    run(() => void b.fail('sse', 'dropped'));
    run(() => b.failAll('refused'));
    run(() => void b.pong(refused));
    run(() => void b.do({ type: 'online' }, 5_000));
    run(() => void b.do({ type: 'close' }));
  });
});

describe('what the server offers', () => {
  test('and nothing else is tried, in the order of the policy', () => {
    const b = started();
    b.prove('websocket', { offered: ['poll', 'websocket'] });
    assert.deepEqual(ladder(b.link), ['websocket', 'poll']);
    b.do({ type: 'reconnect' });
    b.begun();
    b.pass(5_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['poll']);
  });

  test('is believed until it says otherwise', () => {
    const b = started();
    b.welcome('websocket', { offered: ['poll'] });
    b.welcome('poll');
    assert.deepEqual(ladder(b.link), ['poll']);
  });

  test('nonsense is not believed', () => {
    const b = started({ ladder: ['sse', 'poll'] });
    for (const offered of [[], ['websocket'], ['telex' as Transport]] as Transport[][]) {
      b.welcome('sse', { offered });
      assert.deepEqual(ladder(b.link), ['sse', 'poll']);
    }
  });

  test('what it does not offer is not climbed to', () => {
    const b = serving('poll', { ladder: ['websocket', 'sse', 'poll'] });
    b.lively = true;
    b.link = { ...b.link, offered: ['sse', 'poll'] };
    b.pass(30_000);
    assert.deepEqual(b.begun().map(([t]) => t), ['sse']);
  });
});
