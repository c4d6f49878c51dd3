import { useEffect, useMemo, useSyncExternalStore } from 'react';
import type { PublishOptions } from './channel.ts';
import type { Client } from './client.ts';
import { FairleadError } from './error.ts';
import type { Gap, Message, Start, Transport } from './frame.ts';
import type { State } from './link.ts';
import { matches } from './pattern.ts';

/** Hooks for React 18 and later. They read a client that the application owns: make it once, outside of components. */

export interface Connection {
  readonly state: State;
  readonly transport: Transport | null;
  /** What led to it, for people. */
  readonly reason: string;
}

export interface ChannelOptions extends Start {
  /** How many messages are kept, the newest: 100. */
  limit?: number;
  /** Called with each message once, in order, outside of rendering. It need not be the same function each time. */
  onMessage?: (message: Message) => void;
}

export interface ChannelState {
  /** The newest, oldest first. */
  readonly messages: readonly Message[];
  /** The server serves it: nothing published from then on is missed. */
  readonly ready: boolean;
  /** Why it will not be served, or no more. */
  readonly error: FairleadError | null;
  /** The last stretch that had gone from the log before it could be read. */
  readonly gap: Gap | null;
  /** As Channel.publish, and the same function until the channel is another. */
  readonly publish: (data: unknown, options?: PublishOptions) => Promise<{ id: string; duplicate: boolean }>;
}

const unknown: Connection = { state: 'connecting', transport: null, reason: '' };

/** How the client is connected. Renders anew only when that changes; on a server it is connecting. */
export function useConnection(client: Client): Connection {
  const { subscribe, get } = useMemo(() => connectionOf(client), [client]);
  return useSyncExternalStore(subscribe, get, () => unknown);
}

/**
 * Subscribes to a channel or pattern while the component is mounted, and keeps its newest messages. Messages that arrive together
 * are rendered together. Another client, name, `after` or `last` starts anew, with no messages; a null name subscribes to nothing.
 * A component that React hides and shows again goes on where it was. Nothing is thrown: see `error`.
 */
export function useChannel(client: Client, name: string | null | undefined, options: ChannelOptions = {}): ChannelState {
  const { after, last, limit = 100, onMessage } = options;
  const feed = useMemo(
    () => new ChannelFeed(client, name, { ...(after !== undefined && { after }), ...(last !== undefined && { last }) }),
    [client, name, after, last],
  );
  useEffect(() => feed.configure(limit, onMessage));
  return useSyncExternalStore(feed.subscribe, feed.get, feed.initial);
}

function connectionOf(client: Client): { subscribe: (changed: () => void) => () => void; get: () => Connection } {
  let now = unknown;
  let reason = '';
  const get = (): Connection => {
    const { state, transport } = client;
    if (state !== now.state || transport !== now.transport || reason !== now.reason) now = { state, transport, reason };
    return now;
  };
  const subscribe = (changed: () => void): (() => void) => {
    const note = (event: { reason: string }): void => {
      reason = event.reason;
      changed();
    };
    const offs = [client.on('state', note), client.on('transport', note)];
    return () => offs.forEach((off) => off());
  };
  return { subscribe, get };
}

type Set = (news: Partial<ChannelState>) => void;

/** One channel for one component. Making one does nothing: React may make several and use one. */
class ChannelFeed {
  readonly #client: Client;
  readonly #name: string | null | undefined;
  readonly #none: ChannelState;
  #start: Start;
  #state: ChannelState;
  #fresh: Message[] = []; // not in state yet
  #limit = 0;
  #onMessage: ((message: Message) => void) | undefined;

  constructor(client: Client, name: string | null | undefined, start: Start) {
    this.#client = client;
    this.#name = name;
    this.#start = start;
    const publish: ChannelState['publish'] = async (data, options) => {
      if (name == null) throw new FairleadError('bad_request', 'publish needs a channel, and useChannel was given none');
      return client.channel(name).publish(data, options);
    };
    this.#none = this.#state = { messages: [], ready: false, error: null, gap: null, publish };
  }

  readonly get = (): ChannelState => this.#state;
  readonly initial = (): ChannelState => this.#none;

  configure(limit: number, onMessage: ((message: Message) => void) | undefined): void {
    this.#limit = limit;
    this.#onMessage = onMessage;
  }

  /** One subscriber at a time. StrictMode subscribes, unsubscribes, and subscribes again: the second goes on where the first was. */
  readonly subscribe = (changed: () => void): (() => void) => {
    const set: Set = (news) => {
      this.#state = { ...this.#state, ...news };
      changed();
    };
    try {
      if (this.#name != null) return this.#follow(this.#name, set);
    } catch (cause) {
      set({ error: cause as FairleadError }); // a bad name or start, or the client is closed
    }
    return () => {};
  };

  #follow(name: string, set: Set): () => void {
    const sub = this.#client.channel(name).subscribe((message) => this.#take(message, set), this.#start);
    let over = false;
    const served = (): Promise<void> => {
      if (!over) set({ ready: true, error: null });
      return sub.ended;
    };
    sub.ready.then(served).catch((error: FairleadError) => over || set({ ready: false, error }));
    const offGap = this.#client.on('gap', (gap) => {
      // Other subscriptions may have come to another place, and lose what this one has had.
      if (matches(name, gap.channel) && sub.cursor === gap.to) set({ gap });
    });
    return () => {
      over = true;
      offGap();
      sub.unsubscribe();
      if (sub.cursor !== null) this.#start = { after: sub.cursor };
      if (this.#state.ready) this.#state = { ...this.#state, ready: false };
    };
  }

  #take(message: Message, set: Set): void {
    this.#fresh.push(message);
    if (this.#fresh.length === 1) queueMicrotask(() => this.#flush(set));
    this.#onMessage?.(message);
  }

  /** All that came in one task. */
  #flush(set: Set): void {
    const messages = [...this.#state.messages, ...this.#fresh.splice(0)];
    set({ messages: messages.slice(Math.max(messages.length - this.#limit, 0)) });
  }
}
