import { FairleadError } from './error.ts';
import { maxLine, tooLong } from './sse.ts';

/** Splits application/x-ndjson into its lines, however it is cut into chunks. Blank lines are padding. */
export class LineParser {
  #rest = '';

  /** The lines that chunk completes. Throws a FairleadError when a line grows past maxLine. */
  push(chunk: string): string[] {
    const lines = chunk.split('\n');
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > maxLine) throw new FairleadError('bad_answer', tooLong);
    return lines.filter((line) => line.trim() !== '');
  }
}
