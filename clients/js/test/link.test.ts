import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../src/error.ts';
import type { Transport } from '../src/frame.ts';
import { deadline, defaults, initial, order, step, type Effect, type End, type Event, type Link, type Policy } from '../src/link.ts';

type Occurrence = Event extends infer E ? (E extends Event ? Omit<E, 'now' | 'random' | 'attempt'> : never) : never;

/** The event for an occurrence: those of an attachment carry the number of its attempt. */
function eventOf(occurrence: Occurrence, attempt: number, now: number, random: number): Event {
  const attached = ['welcome', 'proof', 'goaway', 'ended'].includes(occurrence.type);
  return { ...(attached && { attempt }), ...occurrence, now, random } as Event;
}

/** A machine with a clock that the test turns. */
class Bench {
  link: Link = initial();
  now = 0;
  random = 0.5;
  effects: Effect[] = [];
  readonly policy: Policy;

  constructor(policy: Partial<Policy> = {}) {
    this.policy = { ...defaults, ...policy };
  }

  do(occurrence: Occurrence, ms = 0): Effect[] {
    this.now += ms;
    const event = eventOf(occurrence, this.link.attempt, this.now, this.random);
    [this.link, this.effects] = step(this.policy, this.link, event);
    return this.effects;
  }

  /** Lets time pass to the deadline, with nothing heard since `heard`. */
  expire(heard = -Infinity): Effect[] {
    const at = deadline(this.link);
    assert.ok(at !== null && at < Infinity, `no deadline in ${this.link.phase}`);
    this.now = Math.max(this.now, at);
    return this.do({ type: 'tick', heard });
  }

  prove(beat = 1000): Effect[] {
    this.do({ type: 'welcome', beat });
    return this.do({ type: 'proof' }, 250);
  }

  fail(kind: End['kind'], more: Partial<End> = {}): Effect[] {
    return this.do({ type: 'ended', end: { kind, reason: kind, ...more } });
  }

  get attached(): Transport | undefined {
    return this.effects.find((e) => e.type === 'attach')?.transport;
  }

  get wait(): number {
    assert.equal(this.link.phase, 'waiting');
    return (deadline(this.link) ?? NaN) - this.now;
  }
}

function started(policy: Partial<Policy> = {}): Bench {
  const bench = new Bench(policy);
  bench.do({ type: 'start' });
  return bench;
}

const types = (effects: Effect[]): string[] => effects.map((e) => (e.type === 'state' ? e.event.state : e.type));

describe('a pass down the ladder', () => {
  test('a transport is trusted after welcome and proof, not before', () => {
    const b = started();
    assert.equal(b.attached, 'websocket');
    assert.deepEqual(types(b.do({ type: 'welcome', beat: 1000 })), []);
    assert.equal(b.link.phase, 'attaching');
    assert.deepEqual(types(b.do({ type: 'proof' }, 250)), ['transport', 'connected']);
    assert.equal(b.link.phase, 'live');
  });

  test('a WebSocket that opens and says nothing is given up for SSE, and that for polling', () => {
    const b = started();
    assert.deepEqual(types(b.expire()), ['detach', 'attach']);
    assert.equal(b.now, defaults.welcome);
    assert.equal(b.attached, 'sse');
    b.do({ type: 'welcome', beat: 1000 });
    b.expire();
    assert.equal(b.now, defaults.welcome + defaults.proof, 'a welcome without a proof is a stream that is held back');
    assert.equal(b.attached, 'poll');
    const [transport] = b.prove();
    assert.deepEqual(transport, { type: 'transport', event: { transport: 'poll', from: null, reason: 'sse: no proof in time' } });
    assert.equal(deadline(b.link), Infinity, 'a poll has its own limits');
  });

  test('what fails at once costs no time', () => {
    const b = started();
    b.fail('refused');
    b.fail('blocked');
    assert.equal(b.attached, 'poll');
    assert.equal(b.now, 0);
  });

  test('when all fail there is a pause of full jitter that grows to a cap, and then the top again', () => {
    const b = started();
    for (let round = 0; round < 12; round++) {
      assert.equal(b.attached, 'websocket');
      b.random = 0.999999;
      for (let i = 0; i < 3; i++) b.fail('refused');
      const most = Math.min(defaults.cap, defaults.base * 2 ** round);
      assert.ok(b.wait > most * 0.99 && b.wait <= most, `${b.wait} of ${most}`);
      assert.deepEqual(types(b.effects), ['waiting']);
      b.expire();
    }
  });

  test('the next transport is not tried when the server asks to be left alone', () => {
    const b = started();
    b.fail('refused');
    b.fail('server', { retryAfter: 7_000 });
    assert.ok(b.wait >= 7_000 && b.wait < 9_000, String(b.wait));
    b.do({ type: 'online' }, 2_000);
    b.do({ type: 'visible' }, 2_000);
    assert.equal(b.link.phase, 'waiting', 'it means it');
    b.expire();
    assert.equal(b.attached, 'websocket', 'a 503 says nothing against a transport');
  });

  test('a server that asks for no time at all is not asked in a hot loop', () => {
    const b = started({ ladder: ['poll'] });
    const began: number[] = [];
    for (let i = 0; i < 50; i++) {
      began.push(b.now);
      b.fail('server', { retryAfter: 0 });
      b.expire();
    }
    assert.ok(b.now > 300_000, String(b.now));
  });

  test('events of an earlier attempt change nothing', () => {
    const b = started();
    const stale = b.link.attempt;
    b.fail('refused');
    for (const type of ['proof', 'welcome', 'goaway', 'ended'] as const) {
      const before = b.link;
      const [after, effects] = step(b.policy, before, { type, attempt: stale, now: 1, random: 0, beat: 1, after: 1, end: { kind: 'dropped', reason: '' } } as Event);
      assert.deepEqual([after, effects], [before, []]);
    }
  });

  test('a transport that the server does not offer is not tried again', () => {
    const b = started({ ladder: ['stream', 'poll'] });
    b.do({ type: 'welcome', beat: 1000, offered: ['poll', 'websocket'] });
    assert.deepEqual(order(b.policy, b.link, 0), ['poll']);
    b.do({ type: 'welcome', beat: 1000, offered: [] });
    assert.deepEqual(order(b.policy, b.link, 0), ['stream', 'poll'], 'nonsense is not believed');
  });
});

describe('a proven transport', () => {
  function live(): Bench {
    const b = started();
    b.prove();
    return b;
  }

  test('is dead after 1.5 beats of silence, not before', () => {
    const b = live();
    const proven = b.now;
    b.expire(proven + 900);
    assert.equal(b.link.phase, 'live', 'it was heard');
    assert.equal(deadline(b.link), proven + 2400);
    assert.deepEqual(types(b.expire(proven + 900)), ['detach', 'waiting']);
  });

  test('is taken up again at once when it drops, then after growing waits until it has been healthy', () => {
    const b = live();
    b.random = 0.999999;
    const waits = [];
    for (let i = 0; i < 6; i++) {
      b.do({ type: 'ended', end: { kind: 'dropped', reason: 'cut' } }, 100);
      waits.push(Math.round(b.wait));
      b.expire();
      assert.equal(b.attached, 'websocket');
      b.prove();
    }
    assert.deepEqual(waits, [100, 1000, 2000, 4000, 5000, 5000]);
    b.do({ type: 'ended', end: { kind: 'dropped', reason: 'cut' } }, defaults.healthy);
    assert.equal(Math.round(b.wait), 100);
  });

  test('is tried first after a drop while the better ones are known to be blocked, and the top again later', () => {
    const b = started();
    b.fail('refused');
    b.expire();
    b.prove();
    assert.equal(b.link.phase === 'live' && b.link.transport, 'poll');
    assert.deepEqual(order(b.policy, b.link, b.now), ['poll', 'websocket', 'sse']);
    b.do({ type: 'ended', end: { kind: 'dropped', reason: 'cut' } }, 40_000);
    b.expire();
    assert.equal(b.attached, 'poll');
    b.prove();
    assert.deepEqual(order(b.policy, b.link, b.now + defaults.blocked), ['websocket', 'sse', 'poll'], 'blocked for a time');
    b.do({ type: 'online' });
    assert.deepEqual(order(b.policy, b.link, b.now), ['websocket', 'sse', 'poll'], 'another network');
  });

  test('nothing is called blocked when nothing works', () => {
    const b = started();
    for (let i = 0; i < 3; i++) b.fail('blocked');
    b.expire();
    assert.deepEqual(order(b.policy, b.link, b.now), ['websocket', 'sse', 'poll']);
  });

  test('a server error, or a refusal of what has worked before, is not held against a transport', () => {
    const b = live();
    b.do({ type: 'ended', end: { kind: 'dropped', reason: 'cut' } }, 40_000);
    b.expire();
    b.fail('refused');
    assert.equal(b.attached, 'sse');
    b.prove();
    assert.deepEqual(order(b.policy, b.link, b.now), ['websocket', 'sse', 'poll']);
    const c = started();
    c.fail('server');
    c.prove();
    assert.deepEqual(order(c.policy, c.link, c.now), ['websocket', 'sse', 'poll']);
  });

  test('goaway moves after the time it names, without a penalty', () => {
    const b = live();
    b.now += 5_000;
    b.do({ type: 'goaway', after: 1_500 });
    assert.equal(b.link.phase, 'live', 'it still delivers');
    assert.equal(deadline(b.link), Math.min(b.now + 1_500, b.link.phase === 'live' ? b.link.until : 0));
    b.now += 1_500;
    assert.deepEqual(types(b.do({ type: 'tick', heard: b.now })), ['detach', 'connecting', 'attach']);
    assert.equal(b.attached, 'websocket');
    assert.equal(b.link.failures, 0);
  });

  test('goaway followed by the end waits out the time', () => {
    const b = live();
    b.do({ type: 'goaway', after: 1_000 }, 5_000);
    b.do({ type: 'ended', end: { kind: 'server', reason: '1012' } }, 400);
    assert.ok(b.wait >= 600 && b.wait <= 660, String(b.wait));
    assert.equal(b.link.failures, 0);
  });

  test('a server that sends everybody away at once is not asked in a hot loop', () => {
    for (const how of ['tick', 'ended'] as const) {
      const b = started();
      for (let i = 0; i < 50; i++) {
        b.do({ type: 'welcome', beat: 1000 });
        b.do({ type: 'goaway', after: 0 });
        if (how === 'tick') b.expire();
        else b.fail('dropped');
        b.expire();
      }
      assert.ok(b.now > 300_000, `${how}: ${b.now}`);
    }
  });
});

describe('events from outside', () => {
  test('online and visible end a pause, but not in a hot loop', () => {
    for (const type of ['online', 'visible'] as const) {
      const b = started({ ladder: ['poll'] });
      b.random = 0.999999;
      b.fail('refused');
      b.do({ type });
      assert.equal(b.link.phase, 'waiting', 'the last attempt began just now');
      b.expire();
      b.do({ type: 'ended', end: { kind: 'refused', reason: '' } }, defaults.calm - 1);
      b.do({ type }, 2);
      assert.equal(b.attached, 'poll');
      const before = b.link;
      b.do({ type });
      assert.equal(b.link.phase, before.phase);
    }
  });

  test('reconnect drops what there is, in every phase, and tries at once', () => {
    const b = started();
    b.do({ type: 'reconnect' });
    assert.deepEqual(types(b.effects), ['detach', 'connecting', 'attach']);
    b.prove();
    b.do({ type: 'reconnect' });
    assert.equal(b.attached, 'websocket');
    for (let i = 0; i < 3; i++) b.fail('refused');
    b.do({ type: 'reconnect' });
    assert.equal(b.attached, 'websocket');
  });

  test('closed is for good', () => {
    const b = started();
    assert.deepEqual(types(b.do({ type: 'close' })), ['detach', 'closed']);
    for (const type of ['start', 'online', 'visible', 'reconnect', 'close'] as const) assert.deepEqual(b.do({ type }), []);
    assert.equal(deadline(b.link), null);
  });

  test('an error is told once, until something works', () => {
    const error = new FairleadError('bad_answer', 'this is a captive portal');
    const b = started();
    const told: string[] = [];
    const note = (): void => void told.push(...types(b.effects).filter((t) => t === 'error'));
    for (let pass = 0; pass < 3; pass++) {
      for (let i = 0; i < 3; i++) {
        b.fail('blocked', { error });
        note();
      }
      b.expire();
    }
    assert.equal(told.length, 1);
    b.prove();
    b.fail('dropped', { error });
    note();
    assert.equal(told.length, 2);
  });

  test('a tick that comes early, or a clock that stands still, changes nothing', () => {
    const b = started();
    const before = b.link;
    b.do({ type: 'tick', heard: 0 }, defaults.welcome - 1);
    assert.equal(b.link, before);
  });
});

test('every event in every phase leaves a sound machine', () => {
  // Exhaustive to a depth: all sequences of five events.
  const occurrences: Occurrence[] = [
    { type: 'start' }, { type: 'welcome', beat: 1000 }, { type: 'proof' }, { type: 'goaway', after: 100 }, { type: 'tick', heard: 0 }, { type: 'online' }, { type: 'reconnect' },
    { type: 'ended', end: { kind: 'dropped', reason: '' } }, { type: 'ended', end: { kind: 'server', reason: '', retryAfter: 10 } }, { type: 'close' },
  ];
  let seen = 0;
  const walk = (link: Link, now: number, open: number, depth: number): void => {
    seen++;
    if (depth === 0) return;
    for (const occurrence of occurrences) {
      const at = deadline(link);
      const later = occurrence.type === 'tick' && at !== null && at < Infinity ? Math.max(at, now) : now + 10;
      const event = eventOf(occurrence, link.attempt, later, 0.5);
      const [next, effects] = step(defaults, link, event);
      let attached = event.type === 'ended' ? 0 : open;
      for (const effect of effects) {
        if (effect.type === 'detach') attached = 0;
        if (effect.type === 'attach') attached++;
        assert.ok(attached <= 1, 'one attachment at a time');
      }
      const wants = next.phase === 'attaching' || next.phase === 'live' ? 1 : 0;
      assert.equal(attached, wants, `${link.phase} ${occurrence.type} -> ${next.phase}`);
      const due = deadline(next);
      if (next.phase === 'waiting' || next.phase === 'attaching') assert.ok(due !== null && due < Infinity, 'it never waits for ever');
      if (wants && next.phase !== link.phase && link.phase === 'waiting') assert.ok(next.attempt > link.attempt);
      walk(next, later, attached, depth - 1);
    }
  };
  walk(initial(), 0, 0, 5);
  assert.ok(seen > 100_000);
});
