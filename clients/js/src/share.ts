import type { Net } from './net.ts';
import type { Events, Session } from './session.ts';

/** What a client lets a Share use. */
export interface Shared {
  session: Session;
  net: Net;
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): () => void;
  emit<K extends keyof Events>(type: K, event: Events[K]): void;
}

/** Lets several clients use one attachment: it decides when the session attaches, and what serves it otherwise. */
export type Share = (shared: Shared) => {
  /** The client closes, and its session right after this. */
  leave(): void;
};
