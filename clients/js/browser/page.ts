// A page that a test writes itself: a module of pages/ with what it imports, at the gateway's own address.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { root } from '../stand/process.ts';

/** bundle makes one script of a module of pages/. */
export function bundle(name: string): string {
  const entry = join(import.meta.dirname, 'pages', name);
  // React is itself only in development: StrictMode does nothing elsewhere.
  const options = ['--bundle', '--format=iife', '--target=es2022', '--log-level=warning', '--define:process.env.NODE_ENV="development"'];
  return execFileSync('go', ['tool', '-modfile=tools.mod', 'esbuild', entry, ...options], { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 });
}

/**
 * visit opens a page that runs the script; its search parameters are the script's. The document is one that the gateway itself
 * serves: to one that a test makes up, Chromium forbids WebSockets to this machine.
 */
export async function visit(context: BrowserContext, base: string, script: string, search: Record<string, string> = {}): Promise<Page> {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(`${base}/healthz?${new URLSearchParams(search)}`);
  await page.evaluate(() => (document.body.innerHTML = '<div id="root"></div>'));
  await page.addScriptTag({ content: script });
  return page;
}
