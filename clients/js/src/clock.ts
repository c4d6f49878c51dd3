/** Time, so that tests can bring their own. `now` is monotonic milliseconds; the wall clock may jump, this may not. */
export interface Clock {
  now(): number;
  /** Milliseconds since the Unix epoch; may jump. */
  wall(): number;
  random(): number;
  /** Calls fn after ms, unless the returned function is called before. */
  after(ms: number, fn: () => void): () => void;
}

export const realClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  random: () => Math.random(),
  after(ms, fn) {
    // Timers hold 31 bits: a longer wait would fire at once.
    const timer = setTimeout(fn, Math.min(ms, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  },
};
