import type { Gap, Message, Reply, Start, Transport } from '../frame.ts';
import type { State } from '../link.ts';
import type { Events } from '../session.ts';

/** What a tab may not have taken before it is served no more until it catches up, and how often it tells what it has taken. */
export const backlog = 2_000;
export const receipt = 500;

/**
 * Up: from a tab to its leader, on the channel that all tabs hear. A term is one tab's time as the leader: each is higher than
 * those that it knew of, so that nobody heeds a leader that was frozen and does not know yet that it leads no more. 0: none is
 * known. When a leader finds its term taken away it says so, and who heeds it asks anew.
 */
export type Up = { term: number } & (
  | { op: 'lead' }
  | { op: 'over' }
  | { op: 'ask'; tab: string; got: number; newest: number }
  | { op: 'subscribe'; tab: string; key: number; pattern: string; start: Start; at: string | null }
  | { op: 'unsubscribe'; tab: string; key: number }
  | { op: 'publish'; tab: string; commands: { cid: number; text: string }[] }
  | Nudge
);

/** Down: from the leader to one tab, on that tab's channel. `at` is where the leader's subscription has come. */
export type Down = { term: number } & (
  | { op: 'lead' }
  | ({ op: 'here'; session: string; position: string | null } & Shown & Served)
  | { op: 'message'; key: number; message: Message }
  | { op: 'served'; key: number; at: string | null }
  | { op: 'gap'; key: number; gap: Gap; at: string | null }
  | { op: 'fail'; key: number; code: string; message: string }
  | { op: 'reply'; reply: Reply }
  /** What became of the nudge with that number. */
  | { op: 'renewed'; to: number | undefined; error?: { code: string; message: string } }
  | ({ op: 'event'; type: Told; event: Events[Told] } & Shown)
);

/** How the leader is connected. That it has closed is its own affair: another leads on. */
export interface Shown {
  state: Exclude<State, 'closed'>;
  transport: Transport | null;
}

/** The leader is to try again; with the token, if there is one, which every tab that hears of it leads with if it comes to lead next. */
export interface Nudge {
  op: 'nudge';
  tab: string;
  why: Why;
  token?: string | undefined;
  /** Of a refresh. */
  count?: number;
}

/** Why the leader is to try again. */
export type Why = 'reconnect' | 'refresh' | 'online' | 'visible';

/** What the leader serves, and up to which key it had been asked then. */
export interface Served {
  served: Record<number, string | null>;
  newest: number;
}

/** The events of the leader that are those of the others as well. */
export type Told = (typeof told)[number];
export const told = ['state', 'transport', 'switch', 'offline'] as const;

/** Its term is the writer's. */
export type Letter<T> = T extends unknown ? Omit<T, 'term'> : never;
