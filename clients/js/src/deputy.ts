import type { Transport } from './frame.ts';
import type { State } from './link.ts';
import type { TokenSource } from './token.ts';

/** What serves a session that is not attached itself. */
export interface Deputy {
  readonly state: State;
  readonly transport: Transport | null;
  /** There is something to publish. */
  schedule(): void;
  /** The application wants to reconnect, or has another token (of the source, if there is one), or the network or the page is back. */
  nudge(why: 'reconnect' | 'refresh' | 'online' | 'visible', source?: TokenSource): void;
}
