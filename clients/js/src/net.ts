import type { Clock } from './clock.ts';
import { isId } from './cursor.ts';
import { FairleadError } from './error.ts';
import type { Token } from './token.ts';

/** How the gateway is reached. */
export interface Net {
  fetch: typeof fetch;
  WebSocket: typeof WebSocket | undefined;
  /** Ends in a slash. */
  base: URL;
  token: Token;
  /** Whether cookies go along. */
  credentials: RequestCredentials | undefined;
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

  abort(reason?: unknown): void {
    this.#cancel();
    this.#abort.abort(reason);
  }
}

export interface Ask {
  /** Below the base, without a slash. */
  path: string;
  accept?: string;
  /** Without one it is a GET. */
  body?: string;
  /** Where there is no body for it. */
  token?: string | undefined;
  keepalive?: boolean;
}

const json = 'application/json';

/** Whether every page may have it: who may not see it because of a cookie that goes along would take the network to be away. */
export function isPublic(path: string): boolean {
  return path.startsWith('v1/ping');
}

/** Sends a request and gives its response once its headers are in and it is what was asked for. Throws a FairleadError. */
export async function request(net: Net, { path, accept = json, token, body, keepalive = false }: Ask, watchdog: Watchdog): Promise<Response> {
  const init = {
    method: body === undefined ? 'GET' : 'POST',
    // A GET without a body and a token needs no preflight.
    headers: { accept, ...(body !== undefined && { 'content-type': json }), ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    body: body ?? null,
    cache: 'no-store',
    // A redirect would carry the body, token and all, to wherever a captive portal points.
    redirect: 'manual',
    credentials: isPublic(path) ? undefined : net.credentials,
    keepalive,
    signal: watchdog.signal,
  } as RequestInit;
  const response = await reached(net.fetch(new URL(path, net.base).href, init), watchdog);
  const type = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (response.ok && type === accept) return response;
  throw await refusal(response, type, path, watchdog);
}

/**
 * Sends a request and gives what `read` makes of the answer; that throws where it is not one. The answer is to begin within
 * `first` ms, and not to stand still for longer than `stall`. Throws a FairleadError.
 */
export async function ask<T>(net: Net, what: Ask, read: (answer: never) => T, first: number, watchdog = new Watchdog(net.clock), stall = first): Promise<T> {
  watchdog.arm(first);
  try {
    return read(JSON.parse(await text(await request(net, what, watchdog), watchdog, stall)) as never);
  } catch (cause) {
    throw cause instanceof FairleadError ? cause : new FairleadError('bad_answer', `the answer to ${what.path} is not whole`, { cause });
  } finally {
    watchdog.abort();
  }
}

/** Asks whether the server answers at all. Throws a FairleadError unless it does, and is a Fairlead. */
export function ping(net: Net, limit: number): Promise<void> {
  const read = ({ id }: { id: unknown }): void => {
    if (!isId(id)) throw new TypeError('it has no id');
  };
  return ask(net, { path: 'v1/ping' }, read, limit);
}

/** The body as text. Throws a FairleadError if it stops, is cut off or is not UTF-8. */
export async function text(response: Response, watchdog: Watchdog, stall: number): Promise<string> {
  let whole = '';
  await chunks(response, watchdog, (part) => {
    whole += part;
    watchdog.arm(stall);
  });
  return whole;
}

/** Feeds the body to each, decoded, as it arrives. */
export async function chunks(response: Response, watchdog: Watchdog, each: (part: string) => void): Promise<void> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
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
