import { readFileSync } from 'node:fs';

/** A file of the golden vectors that the Go tests read too. */
export function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../../testdata/${name}.json`, import.meta.url), 'utf8')) as T;
}
