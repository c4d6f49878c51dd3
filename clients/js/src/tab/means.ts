import { randomKey } from '../random.ts';

/** By what the tabs of a scope find each other. */
export interface Means {
  readonly locks: LockManager;
  /** Names the lock and the channel that all share. */
  readonly scope: string;
  /** Names this tab's own. */
  readonly id: string;
  readonly all: BroadcastChannel;
  readonly own: BroadcastChannel;
}

/** Opens a new tab's channels. Nothing where a page has not what that takes, or may not use it. */
export function means(scope: string): Means | undefined {
  try {
    const locks = globalThis.navigator?.locks as LockManager | undefined;
    if (!locks) return undefined;
    const id = randomKey();
    return { locks, scope, id, all: new BroadcastChannel(scope), own: new BroadcastChannel(`${scope}:${id}`) };
  } catch {
    return undefined; // a frame of another site, which is denied storage
  }
}
