// Who makes a voyage: a client in this process, or one in a page of Chromium.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { fetch as proxied, ProxyAgent, WebSocket as ProxiedWebSocket } from 'undici';
import { connect, type ConnectOptions } from '../src/index.ts';
import { root } from '../stand/process.ts';
import type { Path } from './path.ts';
import { voyage, type Log, type Plan, type Voyage } from './voyage.ts';

/** A voyage, as seen from the test's process. */
export interface Traveller {
  log(): Promise<Log>;
  whole(limit: number): Promise<boolean>;
  next(sent: number, limit: number): Promise<number | null>;
  last(n: number): Promise<void>;
  close(): Promise<void>;
}

/** Makes whatever a voyage over the path needs, and gives what sets off. What is made lasts until the traveller's close(). */
export type Runtime<T extends Traveller = Traveller> = (path: Path) => Promise<(plan: Plan) => Promise<T>>;

export const inNode: Runtime = async (path) => {
  const own = path.proxy === undefined ? {} : throughProxy(path.proxy);
  return async (plan) => {
    const v = voyage(connect, plan, own);
    return { ...v, log: async () => v.log, last: async (n) => v.last(n) };
  };
};

/** As a browser does: requests go to the proxy, which forwards them, and a WebSocket asks it for a tunnel. */
function throughProxy(uri: string): Pick<ConnectOptions, 'fetch' | 'WebSocket'> {
  const forward = new ProxyAgent({ uri, proxyTunnel: false });
  const tunnel = new ProxyAgent({ uri, proxyTunnel: true });
  class Tunnelled extends ProxiedWebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, { protocols: protocols ?? [], dispatcher: tunnel });
    }
  }
  const forwarded = (input: string | URL, init?: object): ReturnType<typeof proxied> => proxied(input, { ...init, dispatcher: forward });
  // undici declares the platform's interfaces anew.
  return { fetch: forwarded as unknown as typeof fetch, WebSocket: Tunnelled as unknown as typeof WebSocket };
}

declare global {
  /** What the page's own script leaves. */
  var embark: typeof voyage;
  var connect: typeof import('../src/index.ts').connect;
}

/** A page that has the client at hand. */
const html = `<!doctype html><title>Voyage</title><script type="module">
import { connect } from '/v1/client.js';
globalThis.connect = connect;
globalThis.embark = ${voyage.toString()};
</script>`;
const bundle = readFileSync(join(root, 'clients/js/bundle/client.js'), 'utf8');

export interface PageTraveller extends Traveller {
  page: Page;
}

/** In a page of a context of its own, so that nothing is remembered or pooled from another voyage. */
export function inChromium(browser: Browser): Runtime<PageTraveller> {
  return async (path) => {
    const context = await browser.newContext(path.proxy === undefined ? {} : { proxy: { server: path.proxy, bypass: '<-loopback>' } });
    return inPage(context)(path);
  };
}

/** In a page of the context, which is closed with the traveller. */
export function inPage(context: BrowserContext): Runtime<PageTraveller> {
  return async (path) => {
    // A page that came from nowhere is taken for a public one, which has to ask before it may reach this machine.
    await context.grantPermissions(['local-network-access'], { origin: path.url });
    const page = await context.newPage();
    // The page comes by hand, so that the network carries nothing but the client.
    await page.route('**', (route) => {
      const script = route.request().url().endsWith('.js');
      return route.fulfill({ contentType: script ? 'text/javascript' : 'text/html', body: script ? bundle : html });
    });
    await page.goto(path.url);
    await page.unroute('**');
    return async (plan) => {
      const v = await page.evaluateHandle((given) => embark(connect, given), plan);
      return {
        page,
        log: () => v.evaluate((each: Voyage) => each.log),
        whole: (limit) => v.evaluate((each: Voyage, ms) => each.whole(ms), limit),
        next: (sent, limit) => v.evaluate((each: Voyage, [at, ms]) => each.next(at, ms), [sent, limit] as const),
        last: (n) => v.evaluate((each: Voyage, number) => each.last(number), n),
        close: () => context.close(),
      };
    };
  };
}
