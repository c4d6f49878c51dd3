import assert from 'node:assert/strict';
import type { Transport } from '../../src/frame.ts';
import { deadline, initial, mainOf, type Attempt, type End, type Link, type Remembered } from '../../src/link.ts';
import { defaults, type Policy } from '../../src/policy.ts';
import type { Effect, Event } from '../../src/move.ts';
import { step } from '../../src/step.ts';

type Occurrence = Event extends infer E ? (E extends Event ? Omit<E, 'now' | 'random' | 'lacking'> : never) : never;

/** A machine with a clock that the test turns. Nothing is heard on an attempt but what the test says. */
export class Bench {
  link: Link;
  now = 1_000;
  random = 0.5;
  /** There is no token at hand. */
  lacking = false;
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
    [this.link, this.effects] = step(this.link, { ...occurrence, now: this.now, random: this.random, lacking: this.lacking } as Event);
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

/** A bench that was started: its first race has begun. */
export function started(policy: Partial<Policy> = {}, more: { net?: string; remembered?: Remembered } = {}): Bench {
  const bench = new Bench(policy);
  bench.do({ type: 'start', ...more });
  return bench;
}

/** A bench whose main one is the transport, while those before it in the ladder were blocked; nothing else is under way. */
export function serving(transport: Transport, policy: Partial<Policy> = {}): Bench {
  const b = started(policy);
  for (const t of b.link.policy.ladder) {
    if (t === transport) break;
    b.fail(t, 'blocked');
  }
  b.prove(transport);
  b.begun();
  return b;
}

/** The effects in order, by type; a change of state by the name of the state. */
export const names = (effects: Effect[]): string[] => effects.map((e) => (e.type === 'state' ? e.event.state : e.type));

/** The effects of one type. */
export const of = <T extends Effect['type']>(effects: Effect[], type: T): Extract<Effect, { type: T }>[] => effects.filter((e): e is Extract<Effect, { type: T }> => e.type === type);

/** The end of what has no way out. */
export const refused: End = { kind: 'refused', reason: 'no route' };

/** The end of what was never answered. */
export const silent: End = { kind: 'blocked', reason: 'swallowed' };
