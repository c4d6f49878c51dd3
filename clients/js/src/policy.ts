import type { Transport } from './frame.ts';

/** The longest that a server may send a client away for. */
export const longest = 300_000;

/** What the link machine goes by. Times are milliseconds. */
export interface Policy {
  /** Best first. */
  ladder: readonly Transport[];
  /** In a race, from one attempt to the next: at least so long, and at least two round trips. */
  stagger: number;
  /** The same before a poll or a stream, and for all but the first where the first is known to work. */
  pause: number;
  /** From the start of an attempt to its welcome. It costs nobody anything: the others do not wait for it. */
  budget: number;
  /** The same where round trips are known to be short: 20 of them, and at least this. */
  hurried: number;
  /** From the welcome, or from whatever came after it, to the proof. */
  proof: number;
  /** How much later than its beat an attachment may be heard before others are tried in its place. */
  grace: number;
  /** The same after a question, unless two round trips take longer. */
  answer: number;
  /** Full jitter: a wait is random up to base * 2^failures, and never more than cap. */
  base: number;
  cap: number;
  /** For so long after something worked, waits are short: at most `brief`. */
  soon: number;
  brief: number;
  /** The first wait after a loss: spreads the clients of a node that died. */
  jitter: number;
  /** An attachment that lived this long after its proof may be followed at once, and its loss is no failure. */
  lived: number;
  /** One that lived this long was healthy: failures are forgotten. */
  healthy: number;
  /** So many unclean deaths of a transport, each within two beats (at least `young`) of its start, in this time: others are better. */
  strikes: number;
  young: number;
  strikeWindow: number;
  /** When a better transport is tried again; the last one repeats. Begun anew once it has served for `settled`. */
  climbs: readonly number[];
  settled: number;
  /** The least beat that is asked for where idle connections are cut. */
  leastBeat: number;
  /** A timer that is so late was frozen with its page. */
  frozen: number;
  /** No more than so many attempts in so long a time, whatever happens. */
  most: number;
  span: number;
  /** A token is renewed after this share of its life, and at least so long ahead of its end where it lives twice as long. */
  share: number;
  ahead: number;
  /**
   * One that is to be renewed sooner than this is of little use. After so many of no use within strikeWindow, the next is asked for
   * after base * 2^(so many) at most, and half of it at least; after the first at once.
   */
  least: number;
  /** After a revocation the next one is asked for so much later: a token tells the second of its issue. */
  revoked: number;
  /** Online and visible events closer than this to the last attempt change nothing. */
  calm: number;
}

export const defaults: Policy = {
  ladder: ['websocket', 'sse', 'stream', 'poll'],
  stagger: 250,
  pause: 1_000,
  budget: 10_000,
  hurried: 4_000,
  proof: 1_500,
  grace: 400,
  answer: 300,
  base: 500,
  cap: 30_000,
  soon: 15_000,
  brief: 700,
  jitter: 300,
  lived: 1_000,
  healthy: 30_000,
  strikes: 2,
  young: 30_000,
  strikeWindow: 300_000,
  climbs: [30_000, 120_000, 600_000, 3_600_000],
  settled: 300_000,
  leastBeat: 5_000,
  frozen: 3_000,
  most: 60,
  span: 30_000,
  share: 0.8,
  ahead: 5_000,
  least: 2_000,
  revoked: 1_100,
  calm: 1_000,
};
