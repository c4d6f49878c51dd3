import assert from 'node:assert/strict';
import type { Client } from '../../src/client.ts';
import type { Gap, Start } from '../../src/frame.ts';
import { matches } from '../../src/pattern.ts';
import type { Subscription } from '../../src/subscription.ts';
import type { Page } from './page.ts';
import type { World } from './world.ts';

const seq = (id: string): number => Number(id.split('-')[1]);

/** Somebody who wants a pattern's messages, over all the pages that they look at. */
export class Watcher {
  readonly pattern: string;
  readonly got: string[] = [];
  /** Everything after this place must come: it was asked for, or the subscription was ready. */
  from = Infinity;
  /** Nothing before this may. */
  readonly notBefore: number;
  readonly #world: World;
  readonly #start: Start;
  readonly #iterates: boolean;
  #sub: Subscription | undefined;
  #ended = false;

  constructor(world: World, pattern: string, start: Start) {
    this.#world = world;
    this.pattern = pattern;
    this.#start = start;
    this.#iterates = world.dice(0.3);
    this.notBefore = start.after !== undefined ? seq(start.after) : start.last === undefined ? world.log.messages.length : 0;
    if (start.after !== undefined) this.from = this.notBefore;
  }

  /** Subscribes, on another page from where the last one was. */
  subscribe(client: Client, page: Page): void {
    if (this.#ended) return;
    const after = this.#sub?.cursor ?? undefined;
    const start = after === undefined ? this.#start : { after };
    const channel = client.channel(this.pattern);
    if (this.#iterates) {
      const messages = channel.subscribe(start);
      this.#sub = messages;
      void this.#iterate(messages, page);
    } else this.#sub = channel.subscribe(({ id }) => void this.got.push(id), start);
    this.#sub.ready.then(
      () => (this.from = Math.min(this.from, this.#world.log.messages.length)),
      () => {},
    );
  }

  unsubscribe(): void {
    this.#ended = true;
    this.#sub?.unsubscribe();
  }

  /** Everything in order, once, and nothing left out but what the log has lost and a gap has told of. */
  check(gaps: readonly Gap[]): void {
    const { pattern, got, from, notBefore } = this;
    const name = `${pattern} from ${from}, not before ${notBefore}`;
    const mine = this.#world.log.messages.filter((m) => matches(pattern, m.channel)).map((m) => seq(m.id));
    const numbers = got.map(seq);
    assert.ok(numbers.every((n, i) => n > (numbers[i - 1] ?? notBefore)), `${name}: in order, once, and nothing from before its start: ${numbers}`);
    assert.ok(numbers.every((n) => mine.includes(n)), `${name}: nothing else`);
    const first = Math.min(numbers[0] ?? Infinity, from + 1);
    const last = this.#ended ? (numbers.at(-1) ?? 0) : Infinity;
    const had = new Set(numbers);
    const told = (n: number): boolean => gaps.some((g) => g.channel === pattern && seq(g.from) < n && n <= seq(g.to));
    const holes = mine.filter((n) => n >= first && n <= last && !had.has(n) && !told(n));
    assert.deepEqual(holes, [], `${name}: without a hole`);
  }

  async #iterate(messages: AsyncIterable<{ id: string }>, page: Page): Promise<void> {
    for await (const { id } of messages) {
      this.got.push(id);
      // A consumer with something else to do.
      if (this.#world.dice(0.2)) await new Promise<void>((resolve) => page.clock.after(this.#world.clock.random() * 2_000, resolve));
    }
  }
}
