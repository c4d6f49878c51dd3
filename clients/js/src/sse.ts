import { Lines } from './lines.ts';

/**
 * Gives the data of the events in a text/event-stream (WHATWG HTML section 9.2.6), however it is cut into chunks; their types and
 * ids tell nothing that the frames do not. Decode the bytes with `new TextDecoder('utf-8', {fatal: true})`, which drops the byte
 * order mark, and `{stream: true}`.
 */
export class EventStreamParser {
  readonly #lines = new Lines();
  #data: string[] = [];

  /** The data of the events that chunk completes. Throws a FairleadError when a line grows too long. */
  push(chunk: string): string[] {
    const events: string[] = [];
    for (const line of this.#lines.push(chunk)) {
      const data = /^data(?:$|: ?(.*))/s.exec(line);
      if (data) this.#data.push(data[1] ?? '');
      if (line !== '' || this.#data.length === 0) continue;
      events.push(this.#data.join('\n'));
      this.#data = [];
    }
    return events;
  }
}
