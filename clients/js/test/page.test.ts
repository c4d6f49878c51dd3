import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { watchPage } from '../src/page.ts';

// Node has none of what a page has: this is all that watchPage() looks at.
const page = globalThis as { addEventListener?: unknown; removeEventListener?: unknown; document?: unknown };

afterEach(() => {
  delete page.addEventListener;
  delete page.removeEventListener;
  delete page.document;
});

function open(visibilityState?: 'visible' | 'hidden'): { window: EventTarget; document: EventTarget & { visibilityState?: string }; heard: string[]; leave: () => void } {
  const window = new EventTarget();
  page.addEventListener = window.addEventListener.bind(window);
  page.removeEventListener = window.removeEventListener.bind(window);
  const document = Object.assign(new EventTarget(), visibilityState && { visibilityState });
  if (visibilityState) page.document = document;
  const heard: string[] = [];
  return { window, document, heard, leave: watchPage((why) => heard.push(why)) };
}

test('outside of a browser nothing is watched', () => {
  watchPage(() => assert.fail('nothing happens here'))();
});

test('a network that is back is told, and so is a page: shown, thawed, or out of the cache', () => {
  const { window, document, heard } = open('visible');
  for (const type of ['online', 'pageshow', 'offline', 'focus']) window.dispatchEvent(new Event(type));
  for (const type of ['visibilitychange', 'resume', 'freeze']) document.dispatchEvent(new Event(type));
  assert.deepEqual(heard, ['online', 'visible', 'visible', 'visible']);
});

test('a page that is hidden, or thawed behind another, is not back', () => {
  const { window, document, heard } = open('hidden');
  document.dispatchEvent(new Event('visibilitychange'));
  document.dispatchEvent(new Event('resume'));
  assert.deepEqual(heard, []);
  window.dispatchEvent(new Event('online'));
  assert.deepEqual(heard, ['online'], 'the network is another matter');
  document.visibilityState = 'visible';
  document.dispatchEvent(new Event('visibilitychange'));
  assert.deepEqual(heard, ['online', 'visible']);
});

test('a worker has no document, and hears of the network', () => {
  const { window, heard } = open();
  window.dispatchEvent(new Event('online'));
  assert.deepEqual(heard, ['online']);
});

test('once it is ended nothing more is told', () => {
  const { window, document, heard, leave } = open('visible');
  leave();
  for (const type of ['online', 'pageshow']) window.dispatchEvent(new Event(type));
  for (const type of ['visibilitychange', 'resume']) document.dispatchEvent(new Event(type));
  assert.deepEqual(heard, []);
});
