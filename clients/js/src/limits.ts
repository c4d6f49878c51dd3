/** How long, how much and how often: what no option changes. Times are milliseconds. What the link machine goes by is in policy.ts. */

/** PROTOCOL.md sections 2.2 and 4.1. */
export const mostLast = 10_000;
export const mostCommands = 100;

/** Commands under way at most on a WebSocket: what the outbox holds beyond them is not copied into the socket's buffer. */
export const mostSent = 100;

/** The most that one batch of publishes takes, in characters, unless one alone takes more. */
export const batch = 262_144;

/** A pooled connection may be dead: an answer must begin within this. How often a request that changes nothing is tried. */
export const firstByte = 5_000;
export const tries = 3;

/** A goodbye that takes longer is not worth the wait. */
export const farewell = 1_000;

/** Commands that nobody answers for so long make one doubt the way, and so much later were lost on it. */
export const late = 2_000;
export const lost = 8_000;

/** So many failed requests in a row are told to the application. */
export const worrying = 3;

/** The beat and, in seconds, the longest wait of a poll where the server does not say; and the wait's steps up to there. */
export const defaultBeat = 25_000;
export const defaultWait = 25;
export const pollStep = 5;

/** A broken welcome must not make every attachment look dead. No beat shorter than the second is asked for. */
export const leastBeat = 50;
export const leastAsked = 1_000;

/** What a poll may take beyond its wait: before it is doubted, as it makes a new request each time, and before it is given up. */
export const pollSlack = 1_000;
export const pollStall = 5_000;

/** A poll that is answered without news sooner than this, though it was to wait, was hurried. */
export const hurried = 1_000;

/** No round trip is taken to be slower: what takes longer slept with its page. */
export const slowest = 2_000;

/** For the application's token function. */
export const tokenLimit = 8_000;

/** How much of the past is kept. */
export const notes = 50;
