/**
 * Cursors and ids, PROTOCOL.md section 1.2. A cursor is "0" (before everything) or one id per stream, joined by commas.
 * Sequences of one epoch are ordered; those of different epochs are not, and no function here pretends that they are.
 */

const idShape = /^[a-z0-9]{1,13}-(?:0|[1-9][0-9]{0,15})$/;

/** Before the earliest message. */
export const start = '0';

/** Whether text is the id of a message or stream position. */
export function isId(text: unknown): text is string {
  return typeof text === 'string' && idShape.test(text) && Number.isSafeInteger(sequence(text));
}

/** Whether text is a cursor; each stream may occur in it once. */
export function isCursor(text: unknown): text is string {
  if (text === start) return true;
  if (typeof text !== 'string') return false;
  const ids = text.split(',');
  return ids.every(isId) && new Set(ids.map(epoch)).size === ids.length;
}

export function epoch(id: string): string {
  return id.slice(0, id.indexOf('-'));
}

export function sequence(id: string): number {
  return Number(id.slice(id.indexOf('-') + 1));
}

/** The sequence that cursor holds for an epoch; undefined when it knows nothing of that epoch. */
function position(cursor: string, of: string): number | undefined {
  for (const id of cursor.split(',')) if (id.startsWith(of) && id[of.length] === '-') return sequence(id);
  return undefined;
}

/**
 * Whether the message id lies after the cursor. Undefined when it cannot be said, because the cursor is of other epochs:
 * the log was replaced.
 */
export function isAfter(id: string, cursor: string): boolean | undefined {
  if (cursor === start) return true;
  const at = position(cursor, epoch(id));
  return at === undefined ? undefined : sequence(id) > at;
}

/**
 * The order of two cursors: negative, zero or positive; undefined when they are of different epochs, or when one is ahead in
 * one stream and behind in another.
 */
export function compare(a: string, b: string): number | undefined {
  const zero = (c: string): boolean => c === start || c.split(',').every((id) => sequence(id) === 0);
  if (a === start || b === start) return zero(a) ? (zero(b) ? 0 : -1) : 1;
  const left = a.split(',');
  if (left.length !== b.split(',').length) return undefined;
  let order = 0;
  for (const id of left) {
    const at = position(b, epoch(id));
    if (at === undefined) return undefined;
    const sign = Math.sign(sequence(id) - at);
    if (sign !== 0 && order === -sign) return undefined;
    order ||= sign;
  }
  return order;
}

/** A cursor that loses nothing for any of those given: the lowest, or "0" when they cannot be compared. */
export function lowest(cursors: readonly string[]): string {
  let [low = start] = cursors;
  for (const cursor of cursors) {
    const order = compare(cursor, low);
    if (order === undefined) return start;
    if (order < 0) low = cursor;
  }
  return low;
}

/** The cursor after the message or position id; a cursor of other epochs is replaced. */
export function advance(cursor: string, id: string): string {
  if (!cursor.includes(',')) return id;
  const of = epoch(id);
  if (position(cursor, of) === undefined) return id;
  return cursor.split(',').map((each) => (epoch(each) === of ? id : each)).join(',');
}
