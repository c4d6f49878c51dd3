import { maxLine } from './sse.ts';

/** Splits application/x-ndjson into its lines, however it is cut into chunks. Blank lines are padding. */
export class LineParser {
  #rest = '';

  /** The lines that chunk completes. Throws a RangeError when a line grows past maxLine. */
  push(chunk: string): string[] {
    const lines = chunk.split('\n');
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > maxLine) throw new RangeError('a line of the stream is too long');
    return lines.filter((line) => line.trim() !== '');
  }
}
