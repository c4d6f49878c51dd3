// The demo page as its visitor sees it: everything is read from the page itself, nothing from inside its scripts.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { BrowserContext, Page } from 'playwright-core';

export type Transport = 'websocket' | 'sse' | 'stream' | 'poll';

interface Stored {
  id: string;
  data: { n?: number } | string;
}

export class Room {
  readonly page: Page;
  readonly #errors: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on('pageerror', (error) => this.#errors.push(String(error)));
    page.on('console', (message) => {
      if (/Content.Security.Policy/i.test(message.text())) this.#errors.push(message.text());
    });
  }

  /** open lets a visitor in for as long as the test lasts; what the page's console complains of fails the test. */
  static async open(t: TestContext, context: BrowserContext, base: string, room: string, name: string): Promise<Room> {
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const visitor = new Room(page);
    t.after(async () => {
      await page.close();
      assert.deepEqual(visitor.#errors, []);
    });
    await page.goto(`${base}/?room=${room}`);
    await page.fill('#nick', name);
    await page.locator('#state', { hasText: /^connected$/ }).waitFor();
    return visitor;
  }

  /** on waits until the session is carried by the transport. */
  async on(transport: Transport): Promise<void> {
    await this.#shows('#transport', transport);
    await this.#shows('#state', 'connected');
  }

  async say(text: string): Promise<void> {
    await this.page.fill('#text', text);
    await this.page.press('#text', 'Enter');
  }

  async hears(text: string): Promise<void> {
    await this.page.locator('.message:not(.pending)', { hasText: text }).waitFor();
  }

  /**
   * midway clicks the button as soon as so many of a burst's messages are there, for each of the counts. The page itself
   * watches: from out here, a busy machine would see the burst's end only. Call it before the burst.
   */
  async midway(counts: readonly number[], button: string): Promise<void> {
    await this.page.evaluate(
      ({ counts, button }) =>
        new Promise<void>((resolve) => {
          const left = [...counts];
          const list = document.querySelector('#messages')!;
          const watcher = new MutationObserver(() => {
            if (list.querySelectorAll('.burst [data-by]').length < (left[0] ?? 0)) return;
            left.shift();
            document.querySelector<HTMLElement>(button)!.click();
            if (left.length > 0) return;
            watcher.disconnect();
            resolve();
          });
          watcher.observe(list, { subtree: true, childList: true, attributes: true });
        }),
      { counts, button },
    );
  }

  /** whole waits until all of a burst is there. */
  async whole(): Promise<void> {
    await this.page.locator('.burst span', { hasText: /^50 of 50$/ }).waitFor();
  }

  /** survived waits for the page's account of a broken line, and returns all there are. */
  async survived(): Promise<string[]> {
    const accounts = this.page.locator('.survived');
    await accounts.first().waitFor();
    return accounts.allTextContents();
  }

  /** balances compares the page's ledger with the log on the server: each message once, none missing, in order. */
  async balances(gateway: string, room: string): Promise<void> {
    const response = await fetch(`${gateway}/v1/channels/demo.${room}/messages?limit=1000`);
    const { messages } = (await response.json()) as { messages: Stored[] };
    await this.#shows('#awaited', '0');
    await this.#shows('#received', String(messages.length));
    for (const wrong of ['#missing', '#repeated', '#disordered']) assert.equal(await this.page.textContent(wrong), '0', wrong);
    const rows = await this.page.locator('#rows td:first-child').allTextContents();
    const newest = messages.slice(-rows.length).reverse();
    assert.deepEqual(rows, newest.map((message) => message.id));
    const numbers = messages.flatMap(({ data }) => (typeof data === 'string' ? [] : (data.n ?? [])));
    assert.deepEqual(numbers, Array.from(numbers, (_, i) => (i % 50) + 1), 'the log has each number once, in order');
  }

  async #shows(selector: string, text: string): Promise<void> {
    await this.page.locator(selector, { hasText: new RegExp(`^${text}$`) }).waitFor();
  }
}
