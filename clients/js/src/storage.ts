import { FairleadError } from './error.ts';
import type { Shelf } from './outbox.ts';

/** What the client keeps things in: localStorage, sessionStorage, or anything of that shape. */
export interface KeyValue {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** One JSON value under one key. Storage that throws or is full is reported once, and used no more. */
export class Stored<T> {
  #storage: KeyValue | undefined;
  readonly #key: string;
  readonly #report: (error: FairleadError) => void;

  constructor(storage: KeyValue | undefined, key: string, report: (error: FairleadError) => void) {
    this.#storage = storage;
    this.#key = `fairlead:${key}`;
    this.#report = report;
  }

  /** Undefined if there is none, or if it is damaged. */
  load(): T | undefined {
    const text = this.#try((storage) => storage.getItem(this.#key));
    try {
      return text ? (JSON.parse(text) as T) : undefined;
    } catch {
      return undefined;
    }
  }

  save(value: T | undefined): void {
    this.#try((storage) => (value === undefined ? storage.removeItem(this.#key) : storage.setItem(this.#key, JSON.stringify(value))));
  }

  #try<R>(use: (storage: KeyValue) => R): R | undefined {
    try {
      return this.#storage && use(this.#storage);
    } catch (cause) {
      this.#storage = undefined;
      this.#report(new FairleadError('storage', 'the storage cannot be used', { cause }));
      return undefined;
    }
  }
}

/** The outbox's shelf. */
export function shelf(stored: Stored<string[]>): Shelf {
  return {
    load() {
      const texts = stored.load();
      return Array.isArray(texts) ? texts.filter(isCommand) : [];
    },
    save: (texts) => stored.save(texts.length > 0 ? [...texts] : undefined),
  };
}

function isCommand(text: string): boolean {
  try {
    return 'op' in (JSON.parse(text) as object);
  } catch {
    return false;
  }
}
