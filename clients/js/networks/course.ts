import type { Numbered } from './voyage.ts';

/** What an origin publishes at the gateway itself: numbers, one after the other, at a rate. */
export class Course {
  readonly channel: string;
  readonly #messages: string;
  #sent = 0; // the last number that is stored
  #ended = false;
  #waiters = new Set<() => void>();

  constructor(gateway: string, channel: string) {
    this.channel = channel;
    this.#messages = `${gateway}/v1/channels/${channel}/messages`;
  }

  /** begin stores the number 0, for whoever connects later. */
  begin(): Promise<void> {
    return this.#publish(0);
  }

  /** run publishes the numbers from 1 to count, `every` milliseconds apart, with a pause half-way; stop() ends it before. */
  async run(count: number, every: number, pause = 0): Promise<void> {
    let due = performance.now();
    for (let n = 1; n <= count && !this.#ended; n++) {
      await this.#publish(n);
      due += every + (2 * n === count ? pause : 0);
      await new Promise((resume) => setTimeout(resume, Math.max(due - performance.now(), 0)));
    }
  }

  /** stop ends run() and gives the last number. */
  stop(): number {
    this.#ended = true;
    return this.#sent;
  }

  /** more settles when so many more numbers are stored. */
  async more(count: number): Promise<void> {
    const goal = this.#sent + count;
    while (this.#sent < goal) await new Promise<void>((resolve) => this.#waiters.add(resolve));
  }

  async #publish(n: number): Promise<void> {
    const body = JSON.stringify({ data: { n, at: Date.now() } satisfies Numbered });
    const response = await fetch(this.#messages, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    if (response.status !== 201) throw new Error(`the gateway answered ${response.status} to the origin: ${await response.text()}`);
    await response.arrayBuffer();
    this.#sent = n;
    for (const waiter of this.#waiters) waiter();
    this.#waiters.clear();
  }
}

/** stored reads the numbers of a channel at the gateway itself, in the order of the log. */
export async function stored(gateway: string, channel: string, count: number): Promise<number[]> {
  // A page of history reaches as far as its node has followed the log, which may be a moment behind an acknowledgement.
  for (let seen = 0, at = '0'; seen < count; ) {
    const response = await fetch(`${gateway}/v1/attach?channel=${channel}&after=${at}&wait=5`);
    const { frames, id } = (await response.json()) as { frames: { op: string }[]; id: string };
    const came = frames.filter(({ op }) => op === 'message').length;
    if (came === 0) break; // what is missing does not come
    seen += came;
    at = id;
  }
  const numbers: number[] = [];
  let after = '0';
  for (;;) {
    const response = await fetch(`${gateway}/v1/channels/${channel}/messages?after=${after}`);
    const page = (await response.json()) as { messages: { data: Numbered }[]; next?: string };
    numbers.push(...page.messages.map(({ data }) => data.n));
    if (page.next === undefined) return numbers;
    after = page.next;
  }
}
