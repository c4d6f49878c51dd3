import { FairleadError } from './error.ts';

/** One event of a text/event-stream. `type` and `id` are empty when the event does not set them: no id is carried over. */
export interface StreamEvent {
  type: string;
  data: string;
  id: string;
}

/** A line that never ends is an attack or a broken server: it must not fill the memory. */
export const maxLine = 16 << 20;
export const tooLong = 'a line of the stream is too long';

/**
 * Parses text/event-stream (WHATWG HTML section 9.2.6), however it is cut into chunks. Decode the bytes with
 * `new TextDecoder('utf-8', {ignoreBOM: true, fatal: true})` and `{stream: true}`: the byte order mark is dropped here.
 */
export class EventStreamParser {
  #rest = '';
  #started = false;
  #afterCR = false; // the last chunk ended in CR: an LF that follows belongs to it
  #type = '';
  #data: string[] = [];
  #id = '';

  /** The events that chunk completes. Throws a FairleadError when a line grows past maxLine. */
  push(chunk: string): StreamEvent[] {
    const events: StreamEvent[] = [];
    if (chunk === '') return events;
    if (!this.#started) {
      this.#started = true;
      if (chunk.startsWith('\uFEFF')) chunk = chunk.slice(1);
    }
    const cr = chunk.endsWith('\r');
    if (this.#afterCR && chunk.startsWith('\n')) chunk = chunk.slice(1);
    this.#afterCR = cr;
    const text = this.#rest + chunk;
    let from = 0;
    // Resume the search where the last chunk ended, so that a long line costs its length once.
    const ends = /\r\n|\r|\n/g;
    ends.lastIndex = this.#rest.length;
    for (let end = ends.exec(text); end; end = ends.exec(text)) {
      const event = this.#line(text.slice(from, end.index));
      if (event) events.push(event);
      from = ends.lastIndex;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length > maxLine) throw new FairleadError('bad_answer', tooLong);
    return events;
  }

  #line(line: string): StreamEvent | undefined {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#type = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    return undefined;
  }

  #dispatch(): StreamEvent | undefined {
    const event = this.#data.length > 0 ? { type: this.#type, data: this.#data.join('\n'), id: this.#id } : undefined;
    this.#type = this.#id = '';
    this.#data = [];
    return event;
  }
}
