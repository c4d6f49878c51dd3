/**
 * Calls back when the page, or its network, is back: trying again is worth it then. Gives a function that ends it. Outside of
 * a browser nothing is watched.
 */
export function watchPage(back: (why: 'online' | 'visible') => void): () => void {
  if (typeof globalThis.addEventListener !== 'function') return () => {};
  const { document: page } = globalThis as { document?: Document };
  const online = (): void => back('online');
  const visible = (): void => {
    if (page?.visibilityState !== 'hidden') back('visible');
  };
  const watch = (target: EventTarget | undefined, type: string, fn: () => void): (() => void) => {
    target?.addEventListener(type, fn);
    return () => target?.removeEventListener(type, fn);
  };
  // `resume`: the page was frozen. `pageshow`: it comes out of the back/forward cache.
  const watches = [
    watch(globalThis, 'online', online), watch(globalThis, 'pageshow', visible), watch(page, 'visibilitychange', visible), watch(page, 'resume', visible),
  ];
  return () => watches.forEach((forget) => forget());
}
