import type { Transport } from './frame.ts';
import { leastAsked } from './limits.ts';
import type { Remembered } from './link.ts';
import type { Stored } from './storage.ts';

/** For so long a transport that was found good, or bad, on a network is taken to be so. Milliseconds. */
const goodFor = 7 * 24 * 3_600_000;
const badFor = 30 * 60_000;

/** The networks that were seen last are kept. */
const most = 20;

interface Entry {
  at: number; // when it was learned, by the wall clock
  good: Transport;
  bad: Transport[];
  beat?: number;
}

export interface Networks {
  /** The one that was seen last. */
  last?: string;
  nets: Record<string, Entry>;
}

/** What works on which network, by the server's hint of it. */
export class Memory {
  readonly #stored: Stored<Networks>;
  readonly #wall: () => number;
  #networks: Networks;

  constructor(stored: Stored<Networks>, wall: () => number) {
    this.#stored = stored;
    this.#wall = wall;
    const loaded = stored.load();
    this.#networks = typeof loaded?.nets === 'object' && loaded.nets !== null ? loaded : { nets: {} };
  }

  /** The network that the client was on last. */
  get last(): string | undefined {
    return this.#networks.last;
  }

  recall(net: string | undefined): Remembered | undefined {
    const entry = net === undefined ? undefined : this.#networks.nets[net];
    if (!entry || !Array.isArray(entry.bad)) return undefined;
    // A clock that was set back makes an age negative.
    const age = this.#wall() - entry.at;
    if (!(age >= 0 && age < goodFor)) return undefined;
    const { good, bad, beat } = entry;
    return { good, bad: age < badFor ? bad : [], ...(typeof beat === 'number' && beat >= leastAsked && { beat }) };
  }

  /** Only where something was found bad there is something to remember: otherwise the ladder does as well. */
  learn(net: string, { good, bad, beat }: Remembered & { good: Transport }): void {
    const { [net]: before, ...nets } = this.#networks.nets;
    const worth = bad.length > 0 || beat !== undefined;
    if (!worth && !before && this.#networks.last === net) return;
    const entry: Entry = { at: this.#wall(), good, bad: [...bad], ...(beat !== undefined && { beat }) };
    const kept = Object.entries(nets).slice(worth ? 1 - most : -most);
    this.#networks = { last: net, nets: Object.fromEntries(worth ? [...kept, [net, entry]] : kept) };
    this.#stored.save(this.#networks);
  }
}
