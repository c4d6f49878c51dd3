import type { Client } from '../../src/client.ts';
import type { Message } from '../../src/frame.ts';
import type { Events } from '../../src/session.ts';

/** Settles with the next event that check accepts. */
export function next<K extends keyof Events>(client: Client, type: K, check: (event: Events[K]) => boolean = () => true): Promise<Events[K]> {
  return new Promise((resolve) => {
    const off = client.on(type, (event) => {
      if (!check(event)) return;
      off();
      resolve(event);
    });
  });
}

/** Collects messages, and settles when there are enough. */
export class Inbox {
  readonly messages: Message[] = [];
  #waiting: { count: number; resolve: () => void }[] = [];

  readonly take = (message: Message): void => {
    this.messages.push(message);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => {
      if (this.messages.length < count) return true;
      resolve();
      return false;
    });
  };

  get data(): unknown[] {
    return this.messages.map((m) => m.data);
  }

  async has(count: number): Promise<this> {
    if (this.messages.length < count) await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
    return this;
  }
}

/** [from, from+1, …, to]. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}
