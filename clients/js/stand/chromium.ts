import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Browser, type BrowserContext, chromium } from 'playwright-core';
import { end, run } from './process.ts';

const executable = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const flags = [
  '--no-sandbox', // a container's root has no other way
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: executable, args: flags });
}

/**
 * A Chromium in a directory of its own whose pages can be hidden, and so frozen: those of launch() are kept visible, whatever
 * becomes of their window.
 */
export class PlainChromium {
  readonly context: BrowserContext;
  readonly #stop: () => Promise<void>;

  private constructor(context: BrowserContext, stop: () => Promise<void>) {
    this.context = context;
    this.#stop = stop;
  }

  static async start(dir: string): Promise<PlainChromium> {
    const args = ['--headless', ...flags, '--remote-debugging-port=0', `--user-data-dir=${join(dir, 'profile')}`, 'about:blank'];
    const child = run(executable, args, ['ignore', 'ignore', 'pipe']);
    const { stderr } = child;
    if (stderr === null) throw new Error('Chromium has no output');
    for await (const line of createInterface(stderr)) {
      const address = /^DevTools listening on (ws:\S+)$/.exec(line)?.[1];
      if (address === undefined) continue;
      stderr.resume(); // or the rest of what it says would stop it once the pipe is full
      const browser = await chromium.connectOverCDP(address, { noDefaults: true });
      const context = browser.contexts()[0];
      if (context === undefined) throw new Error('Chromium has no context of its own');
      const stop = async (): Promise<void> => {
        await browser.close();
        await end(child, 'SIGTERM');
      };
      return new PlainChromium(context, stop);
    }
    throw new Error('Chromium ended before it could be driven');
  }

  stop(): Promise<void> {
    return this.#stop();
  }
}
