import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FairleadError } from '../src/error.ts';
import { shelf, Stored, type KeyValue } from '../src/storage.ts';
import { Shelf as LocalStorage } from './support/page.ts';

function kept<T>(storage: KeyValue | undefined = new LocalStorage()): { stored: Stored<T>; storage: KeyValue | undefined; errors: FairleadError[] } {
  const errors: FairleadError[] = [];
  return { stored: new Stored<T>(storage, 'x', (e) => errors.push(e)), storage, errors };
}

test('a value is kept under its own key, and can be taken away', () => {
  const storage = new LocalStorage();
  const { stored, errors } = kept<{ a: number }>(storage);
  assert.equal(stored.load(), undefined);
  stored.save({ a: 1 });
  assert.deepEqual(kept(storage).stored.load(), { a: 1 });
  assert.deepEqual([...storage.values.keys()], ['fairlead:x']);
  stored.save(undefined);
  assert.equal(storage.values.size, 0);
  assert.deepEqual(errors, []);
});

test('what is damaged counts as nothing', () => {
  const storage = new LocalStorage();
  storage.setItem('fairlead:x', '{"a":');
  const { stored, errors } = kept(storage);
  assert.equal(stored.load(), undefined);
  assert.deepEqual(errors, []);
});

test('storage that throws is reported once and used no more, whichever call it was', () => {
  const fail = (): never => {
    throw new Error('SecurityError');
  };
  const uses: [keyof KeyValue, (stored: Stored<number>) => void][] = [['getItem', (s) => s.load()], ['setItem', (s) => s.save(1)], ['removeItem', (s) => s.save(undefined)]];
  for (const [method, use] of uses) {
    const { stored, errors, storage } = kept<number>(Object.assign(new LocalStorage(), { [method]: fail }));
    for (let i = 0; i < 3; i++) use(stored);
    assert.deepEqual(errors.map((e) => [e.code, (e.cause as Error).message]), [['storage', 'SecurityError']], method);
    Object.assign(storage as KeyValue, { setItem: () => assert.fail('it was used again'), getItem: () => assert.fail('it was used again') });
    stored.save(2);
    assert.equal(stored.load(), undefined);
  }
});

test('without storage nothing is kept, and nothing is said', () => {
  const errors: FairleadError[] = [];
  const stored = new Stored<number>(undefined, 'x', (e) => errors.push(e));
  stored.save(1);
  assert.equal(stored.load(), undefined);
  assert.deepEqual(errors, []);
});

test('a shelf keeps texts in order, is empty when nothing waits, and leaves out what is no command', () => {
  const storage = new LocalStorage();
  const { stored } = kept<string[]>(storage);
  shelf(stored).save(['{"op":"publish","n":1}', '{"op":"publish","n":2}']);
  assert.deepEqual(shelf(stored).load(), ['{"op":"publish","n":1}', '{"op":"publish","n":2}']);
  shelf(stored).save([]);
  assert.equal(storage.values.size, 0);
  for (const [value, want] of [['{}', []], ['null', []], ['"text"', []], ['[1,null,"{","7","null","{}","{\\"op\\":\\"publish\\"}"]', ['{"op":"publish"}']]] as const) {
    storage.setItem('fairlead:x', value);
    assert.deepEqual(shelf(stored).load(), want, value);
  }
});
