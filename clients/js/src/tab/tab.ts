import type { Shared } from '../share.ts';
import { Follower } from './follower.ts';
import { Leader } from './leader.ts';
import type { Down, Up } from './letter.ts';
import type { Means } from './means.ts';

/** This tab, as one of many: it follows, and may be called to lead. */
export class Tab {
  readonly #shared: Shared;
  readonly #means: Means;
  readonly #leaving = new AbortController();
  readonly #forget: () => void;
  #candidacy: AbortController | undefined;
  #part: Follower | Leader | undefined; // none before the tab's own lock is held

  /** It closes the channels that it is given. */
  constructor(shared: Shared, means: Means) {
    this.#shared = shared;
    this.#means = means;
    const { scope, id, all, own } = means;
    all.onmessage = ({ data }: MessageEvent<Up>) => this.#part?.up(data);
    own.onmessage = ({ data }: MessageEvent<Down>) => this.#part?.down(data);
    this.#forget = watchFreezing(() => this.#withdraw(), () => this.#candidate(false));
    // Held for as long as the tab lives: so its leader learns of its end, and would take it for gone before.
    this.#hold(`${scope}:${id}`, this.#leaving.signal, () => {
      this.#part = this.#follower();
      this.#candidate(false);
    });
  }

  /** Hands the lead over, if it is this tab's: call it before the session closes. */
  leave(): void {
    this.#forget();
    this.#leaving.abort();
    this.#candidacy?.abort();
    this.#part?.end();
    this.#means.all.close();
    this.#means.own.close();
  }

  /** Waits to lead; with steal, at once. */
  #candidate(steal: boolean): void {
    this.#candidacy?.abort();
    const { signal } = (this.#candidacy = new AbortController());
    this.#hold(`${this.#means.scope}:lead`, signal, () => this.#lead(), steal);
  }

  #lead(): void {
    const term = Math.max(this.#shared.net.clock.wall(), (this.#part?.term ?? 0) + 1) + Math.random();
    this.#become(() => new Leader(this.#shared, this.#means, term), 'this tab leads');
    this.#means.all.postMessage({ op: 'lead', term } satisfies Up);
  }

  /** Neither leads nor waits to: a frozen page would keep the others waiting. */
  #withdraw(): void {
    this.#candidacy?.abort();
    this.#follow();
  }

  #follow(): void {
    if (this.#part instanceof Leader) this.#become(() => this.#follower(), 'another tab leads');
  }

  /** Of several tabs that take the lead at once the last one has it, and its term need not be the highest. */
  #deposed(): void {
    if (this.#part instanceof Leader) this.#means.all.postMessage({ op: 'over', term: this.#part.term } satisfies Up);
    this.#follow();
  }

  #become(part: () => Follower | Leader, reason: string): void {
    const { session, emit } = this.#shared;
    const before = session.state;
    this.#part?.end();
    this.#part = part();
    if (session.state !== before) emit('state', { state: session.state, reason });
  }

  #follower(): Follower {
    return new Follower(this.#shared, this.#means.id, (up) => this.#means.all.postMessage(up), () => this.#candidate(true));
  }

  /** Holds a lock until the signal, or a thief, takes it away. */
  #hold(name: string, signal: AbortSignal, held: () => void, steal = false): void {
    const holding = (): Promise<void> | undefined => {
      if (signal.aborted) return undefined;
      held();
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
    };
    this.#means.locks.request(name, steal ? { steal } : { signal }, holding).catch((error: unknown) => {
      if (signal.aborted) return;
      // The page may not use locks, as in a sandbox.
      if (!(error instanceof DOMException && error.name === 'AbortError')) return this.#alone();
      // Another tab has taken the lead: this one had not answered.
      this.#deposed();
      this.#candidate(false);
    });
  }

  #alone(): void {
    this.leave();
    this.#shared.session.start();
  }
}

/** Calls back when the page is about to be frozen, and when it goes on. Gives a function that ends it. */
function watchFreezing(freeze: () => void, resume: () => void): () => void {
  if (typeof document === 'undefined') return () => {};
  document.addEventListener('freeze', freeze);
  document.addEventListener('resume', resume);
  return () => {
    document.removeEventListener('freeze', freeze);
    document.removeEventListener('resume', resume);
  };
}
