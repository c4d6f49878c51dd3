import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../src/error.ts';
import { Outbox, type Shelf } from '../src/outbox.ts';

function filled(count: number, limit = 1000): { box: Outbox; log: string[] } {
  const box = new Outbox(limit);
  const log: string[] = [];
  for (let cid = 1; cid <= count; cid++) {
    box.add({ cid, text: `"${cid}"` }, () => log.push(`done ${cid}`), (e) => log.push(`${e.code} ${cid}`));
  }
  return { box, log };
}

const cids = (entries: { cid: number }[]): number[] => entries.map((e) => e.cid);
const failing = (code: string): { code: string; message: string } => ({ code, message: '' });

test('publishes go out in order, each once, and again from the front after a loss', () => {
  const { box, log } = filled(5);
  assert.deepEqual(cids(box.take(2, 1e6)), [1, 2]);
  assert.deepEqual(cids(box.take(2, 1e6)), [3, 4]);
  box.reply({ op: 'reply', to: 2, ok: true, id: 'a-2' });
  box.lost();
  assert.deepEqual(cids(box.take(10, 1e6)), [1, 3, 4, 5]);
  assert.deepEqual(log, ['done 2']);
});

test('a refusal that passes is retried in its place, once nothing is under way', () => {
  const { box, log } = filled(4);
  box.take(3, 1e6);
  assert.equal(box.reply({ op: 'reply', to: 2, error: failing('unavailable') }), 'retry');
  assert.deepEqual(box.take(9, 1e6), []);
  box.reply({ op: 'reply', to: 1, ok: true });
  box.reply({ op: 'reply', to: 3, error: failing('forbidden') });
  assert.deepEqual(cids(box.take(9, 1e6)), [2, 4]);
  assert.deepEqual(log, ['done 1', 'forbidden 3']);
});

test('an acknowledgement counts, though it comes by the way that was left; a refusal for now does not', () => {
  const { box, log } = filled(2);
  box.take(2, 1e6);
  box.lost();
  assert.equal(box.reply({ op: 'reply', to: 2, error: failing('unavailable') }), 'unknown');
  assert.equal(box.reply({ op: 'reply', to: 1, ok: true }), 'settled');
  assert.equal(box.reply({ op: 'reply', to: 1, ok: true }), 'unknown', 'once');
  assert.equal(box.reply({ op: 'reply', to: null, error: failing('bad_request') }), 'unknown');
  assert.deepEqual(cids(box.take(9, 1e6)), [2]);
  assert.deepEqual(log, ['done 1']);
});

test('batches are bounded by size, but one always goes', () => {
  const { box } = filled(6);
  assert.deepEqual(cids(box.take(9, 7)), [1, 2]);
  assert.deepEqual(cids(box.take(9, 1)), [3]);
  assert.deepEqual(cids(box.take(0, 9)), []);
});

test('the outbox is bounded, and says so', () => {
  const { box } = filled(3, 3);
  assert.throws(() => box.add({ cid: 4, text: '' }, () => {}, () => {}), (e) => e instanceof FairleadError && e.code === 'outbox_full');
});

test('what is too large for the server is refused here: there it would end the connection', () => {
  const { box, log } = filled(0);
  box.add({ cid: 1, text: 'x'.repeat(100) }, () => {}, (e) => log.push(e.code));
  box.add({ cid: 2, text: 'é'.repeat(40) }, () => {}, (e) => log.push(e.code));
  box.restrict(80);
  assert.deepEqual(log, ['too_large']);
  assert.deepEqual(cids(box.take(9, 1e6)), [2]);
  assert.throws(() => box.add({ cid: 3, text: 'é'.repeat(41) }, () => {}, () => {}), (e) => e instanceof FairleadError && e.code === 'too_large');
});

test('closing rejects everything', () => {
  const { box, log } = filled(2);
  box.take(1, 9);
  box.close(new FairleadError('closed', ''));
  assert.deepEqual(log, ['closed 1', 'closed 2']);
  assert.equal(box.sent + box.size, 0);
});

/** A shelf, and what was saved on it, oldest first. */
function kept(texts: string[] = []): { shelf: Shelf; saves: (readonly string[])[] } {
  const saves: (readonly string[])[] = [];
  return { shelf: { load: () => texts, save: (now) => void saves.push(now) }, saves };
}

test('what waits is on the shelf, written once for each turn of the event loop', async () => {
  const { shelf, saves } = kept();
  const box = new Outbox(9, shelf);
  const [one, two] = [1, 2, 3].map((cid) => box.add({ cid, text: `"${cid}"` }, () => {}, () => {}));
  assert.deepEqual(saves, []);
  await Promise.resolve();
  assert.deepEqual(saves, [['"1"', '"2"', '"3"']]);
  box.take(9, 9);
  if (one) box.remove(one);
  box.reply({ op: 'reply', to: two?.cid ?? 0, ok: true });
  await Promise.resolve();
  assert.deepEqual(saves.slice(1), [['"3"']], 'what is under way waits still');
});

test('an earlier page left its publishes: they go first, as they were, under cids of now', async () => {
  const { shelf, saves } = kept(['{"op":"publish","cid":7,"data":1,"key":"a"}', '{"op":"publish","cid":9,"data":2,"key":"b"}']);
  const box = new Outbox(9, shelf);
  const refused: string[] = [];
  let cid = 100;
  box.restore(() => ++cid, (e) => refused.push(e.code));
  box.add({ cid: 103, text: '{"data":3}' }, () => {}, () => {});
  assert.deepEqual(box.take(9, 1e6).map(({ cid, text }) => [cid, JSON.parse(text)]), [
    [101, { op: 'publish', cid: 101, data: 1, key: 'a' }], [102, { op: 'publish', cid: 102, data: 2, key: 'b' }], [103, { data: 3 }],
  ]);
  box.reply({ op: 'reply', to: 101, error: failing('forbidden') });
  box.reply({ op: 'reply', to: 102, ok: true, id: 'a-1' });
  assert.deepEqual(refused, ['forbidden'], 'nobody else is there to be told');
  await Promise.resolve();
  assert.deepEqual(saves.at(-1), ['{"data":3}']);
});

test('closing leaves on the shelf what waits, for the next page', async () => {
  const { shelf, saves } = kept();
  const box = new Outbox(9, shelf);
  box.add({ cid: 1, text: '"1"' }, () => {}, () => {});
  await Promise.resolve();
  box.close(new FairleadError('closed', ''));
  await Promise.resolve();
  assert.deepEqual(saves, [['"1"']]);
});

test('a publish of the turn in which the client is closed is kept too', async () => {
  const { shelf, saves } = kept();
  const box = new Outbox(9, shelf);
  box.add({ cid: 1, text: '"1"' }, () => {}, () => {});
  box.close(new FairleadError('closed', ''));
  await Promise.resolve();
  assert.deepEqual(saves, [['"1"']]);
});
