import type { Share } from './share.ts';
import { means } from './tab/means.ts';
import { Tab } from './tab/tab.ts';

/**
 * Many tabs of one browser, one attachment: the tab that holds a Web Lock leads, and serves the others over BroadcastChannels,
 * each from its own cursors. When it goes, the browser gives the lock to another, which attaches and serves from where each
 * had come. Where a page has no Web Locks (they need a secure context), or may not use them, each tab attaches by itself.
 */

export interface TabsOptions {
  /** Tabs share with those of the same gateway, origin and name: give each user of a shared browser another. */
  name?: string;
}

/** For connect's `share`. */
export function tabs({ name = '' }: TabsOptions = {}): Share {
  return (shared) => {
    const found = means(`fairlead:${shared.net.base.href}:${name}`);
    if (found) return new Tab(shared, found);
    shared.session.start();
    return { leave: () => {} };
  };
}
