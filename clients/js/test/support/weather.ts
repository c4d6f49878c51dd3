import type { Transport } from '../../src/frame.ts';

/** What a network can tell apart. */
export type Kind = Transport | 'commands' | 'ping';

export const kinds: readonly Kind[] = ['websocket', 'sse', 'stream', 'poll', 'commands', 'ping'];

/** How the network treats one kind of traffic. It may change at any time, and strikes what is under way. */
export interface Weather {
  /**
   * What becomes of a new request. `swallow`: nothing, until it changes. `redirect`, `page`: a captive portal. A number: a status
   * that something on the way answers with.
   */
  open: 'pass' | 'refuse' | 'swallow' | 'redirect' | 'page' | number;
  /** Seconds, with the status. */
  retryAfter?: number;
  /** What becomes of what comes down. `mute`: nothing arrives. `hold`: it arrives when the response ends. `lump`: by 4 KiB. */
  down: 'pass' | 'mute' | 'hold' | 'lump';
  /** A connection is cut after so many bytes down, after so many ms, or when it was idle for so many. */
  cutBytes: number;
  cutAfter: number;
  cutIdle: number;
  /** Nobody is told when it is cut. */
  rude: boolean;
  /** The chance that a request, or its answer, is lost. */
  loss: number;
  /** One way, ms at most. */
  delay: number;
}

export const fine: Weather = { open: 'pass', down: 'pass', cutBytes: Infinity, cutAfter: Infinity, cutIdle: Infinity, rude: false, loss: 0, delay: 40 };

type Pick = <T>(list: readonly T[]) => T;

/** Weather in which nothing of that kind ever works. */
export function hopeless(kind: Kind, pick: Pick): Weather {
  const open = pick(['refuse', 'swallow', 'redirect', 'page', 403, 502, 503] as const);
  const down = kind === 'sse' || kind === 'stream' ? pick(['mute', 'hold', 'lump'] as const) : 'mute';
  return pick([{ ...fine, open }, { ...fine, down }]);
}

/** Any weather. */
export function storm(kind: Kind, pick: Pick): Weather {
  const long = pick([500, 2_000, 8_000, 20_000, 60_000]);
  const rude = pick([true, false]);
  return pick<() => Weather>([
    () => fine,
    () => fine,
    () => fine,
    () => hopeless(kind, pick),
    () => hopeless(kind, pick),
    () => ({ ...fine, open: pick([502, 503]), retryAfter: pick([0, 1, 3, 8]) }),
    () => ({ ...fine, cutBytes: pick([10, 300, 900, 2_000, 10_000]), rude }),
    () => ({ ...fine, cutAfter: long, rude }),
    () => ({ ...fine, cutIdle: long, rude }),
    () => ({ ...fine, loss: pick([0.1, 0.3, 0.6]) }),
    () => ({ ...fine, delay: pick([100, 400, 1_500, 4_000]) }),
  ])();
}
