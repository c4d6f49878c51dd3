import type { Clock } from './clock.ts';
import { isId } from './cursor.ts';
import { FairleadError } from './error.ts';

/** How the gateway is reached. */
export interface Net {
  fetch: typeof fetch;
  WebSocket: typeof WebSocket | undefined;
  /** Ends in a slash. */
  base: URL;
  token: () => Promise<string | undefined>;
  clock: Clock;
}

/**
 * Ends a request that stands still: a pooled connection may have died long ago, and nothing but a limit on the first byte
 * finds out. Each arm() starts the wait anew.
 */
export class Watchdog {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  #cancel = (): void => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  arm(ms: number): void {
    this.#cancel();
    this.#cancel = this.#clock.after(ms, () => this.#abort.abort(new FairleadError('network', `nothing came within ${ms} ms`)));
  }

  disarm(): void {
    this.#cancel();
  }

  abort(reason: unknown): void {
    this.#cancel();
    this.#abort.abort(reason);
  }
}

export interface Ask {
  method: 'GET' | 'POST';
  /** Below the base, without a slash. */
  path: string;
  accept: string;
  body?: string;
  keepalive?: boolean;
}

/** Sends a request and gives its response once its headers are in and it is what was asked for. Throws a FairleadError. */
export async function request(net: Net, { method, path, accept, body, keepalive }: Ask, watchdog: Watchdog): Promise<Response> {
  const init: RequestInit = {
    method,
    // A GET without a body needs no preflight.
    headers: body === undefined ? { accept } : { accept, 'content-type': 'application/json' },
    body: body ?? null,
    cache: 'no-store',
    // A redirect would carry the body, token and all, to wherever a captive portal points.
    redirect: 'manual',
    keepalive: keepalive ?? false,
    signal: watchdog.signal,
  };
  const response = await reached(net.fetch(new URL(path, net.base).href, init), watchdog);
  const type = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (response.ok && type === accept) return response;
  let problem: FairleadError;
  try {
    problem = await refusal(response, type, path, watchdog);
  } finally {
    watchdog.abort(undefined);
  }
  throw problem;
}

/** Asks whether the server answers at all. Throws a FairleadError unless it does, and is a Fairlead. */
export async function ping(net: Net, limit: number): Promise<{ id: string; time: number }> {
  const watchdog = new Watchdog(net.clock);
  watchdog.arm(limit);
  try {
    const response = await request(net, { method: 'GET', path: 'v1/ping', accept: 'application/json' }, watchdog);
    const pong = JSON.parse(await text(response, watchdog, limit)) as { id: string; time: number };
    if (!isId(pong.id)) throw new TypeError('it has no id');
    return pong;
  } catch (cause) {
    throw cause instanceof FairleadError ? cause : new FairleadError('bad_answer', 'the answer to v1/ping is not whole', { cause });
  } finally {
    watchdog.disarm();
  }
}

/** The body as text. Throws a FairleadError if it stops, is cut off or is not UTF-8. */
export async function text(response: Response, watchdog: Watchdog, stall: number): Promise<string> {
  const parts: string[] = [];
  await chunks(response, watchdog, (part) => {
    parts.push(part);
    watchdog.arm(stall);
  });
  watchdog.disarm();
  return parts.join('');
}

/** Feeds the body to each, decoded, as it arrives. */
export async function chunks(response: Response, watchdog: Watchdog, each: (part: string) => void): Promise<void> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const reader = (response.body ?? new Blob().stream()).getReader();
  for (;;) {
    const part = await reached(reader.read(), watchdog);
    let decoded: string;
    try {
      decoded = decoder.decode(part.value, { stream: !part.done });
    } catch (cause) {
      throw new FairleadError('bad_answer', 'the answer is not UTF-8', { cause });
    }
    each(decoded);
    if (part.done) return;
  }
}

/** What did not answer, in our words. Browsers and Node each have their own. */
async function reached<T>(promise: Promise<T>, watchdog: Watchdog): Promise<T> {
  try {
    return await promise;
  } catch (cause) {
    const reason: unknown = watchdog.signal.reason;
    if (reason instanceof FairleadError) throw reason;
    throw new FairleadError('network', 'the connection failed', { cause });
  }
}

async function refusal(response: Response, type: string, path: string, watchdog: Watchdog): Promise<FairleadError> {
  const retryAfter = delay(response.headers.get('retry-after'));
  if (type === 'application/problem+json') {
    try {
      const problem: unknown = JSON.parse(await text(response, watchdog, 5_000));
      const { code, detail } = problem as { code?: unknown; detail?: unknown };
      if (typeof code === 'string') return new FairleadError(code, typeof detail === 'string' ? detail : code, { retryAfter });
    } catch {
      // A problem that cannot be read is still one: its status says which.
    }
  }
  const said = response.type === 'opaqueredirect' ? 'a redirect' : `status ${response.status}${type && ` and ${type}`}`;
  const passing = response.status === 429 || response.status >= 500;
  return new FairleadError(passing ? 'unavailable' : 'bad_answer', `${path} answered with ${said}: is it a Fairlead server?`, { retryAfter });
}

/** Retry-After (RFC 9110 section 10.2.3) in milliseconds. */
export function delay(header: string | null): number | undefined {
  if (header === null) return undefined;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(seconds, 0) * 1000 : undefined;
}
