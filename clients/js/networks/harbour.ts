import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { launch } from '../stand/chromium.ts';
import { build, Gateway } from '../stand/gateway.ts';
import { scratch } from '../stand/process.ts';
import { Path, type Start } from './path.ts';

/** What all voyages share: a gateway from this checkout, and a Chromium. */
export class Harbour {
  readonly dir: string;
  readonly browser: Browser;
  readonly #gateway: Gateway;

  private constructor(dir: string, gateway: Gateway, browser: Browser) {
    this.dir = dir;
    this.#gateway = gateway;
    this.browser = browser;
  }

  static async open(): Promise<Harbour> {
    const dir = scratch();
    const gateway = new Gateway(build(dir), dir);
    await gateway.start();
    return new Harbour(dir, gateway, await launch());
  }

  /** Where the gateway itself listens. */
  get url(): string {
    return this.#gateway.url;
  }

  /** A new way to the gateway; whoever asks closes it. */
  path(stages: readonly Start[]): Promise<Path> {
    return Path.open(this.url, stages, () => mkdtempSync(join(this.dir, 'stage-')));
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.#gateway.stop();
  }
}
