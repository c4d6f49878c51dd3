import { FairleadError } from './error.ts';

/** A line that never ends is an attack or a broken server: it must not fill the memory. */
const longest = 16 << 20;

/** Cuts text into lines, which end in CRLF, LF or CR, however it is cut into chunks. */
export class Lines {
  #rest = '';
  #afterCR = false; // the last chunk ended in CR: an LF that follows belongs to it

  /** The lines that chunk completes, without their ends. Throws a FairleadError when one grows too long. */
  push(chunk: string): string[] {
    if (chunk === '') return [];
    if (this.#afterCR && chunk.startsWith('\n')) chunk = chunk.slice(1);
    this.#afterCR = chunk.endsWith('\r');
    // Only what is new is searched, so that a long line costs its length once.
    const [first = '', ...more] = chunk.split(/\r\n|\r|\n/);
    const lines = [this.#rest + first, ...more];
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > longest) throw new FairleadError('bad_answer', 'a line is too long');
    return lines;
  }
}
