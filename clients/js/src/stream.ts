import { endOf, type Attachment, type Context } from './attachment.ts';
import { poster } from './commands.ts';
import { parseFrame } from './frame.ts';
import { Lines } from './lines.ts';
import { chunks, request, Watchdog } from './net.ts';
import { EventStreamParser } from './sse.ts';

/**
 * An SSE or NDJSON attachment over fetch, PROTOCOL.md sections 3.2 and 3.3. Not an EventSource: that can neither send a
 * body, nor show a status, nor be told from where to resume.
 */
export function stream(context: Context, kind: 'sse' | 'stream'): Attachment {
  const { net, sink } = context;
  const up = poster(context);
  const watchdog = new Watchdog(net.clock);
  let over = false;
  let welcomed = false;

  const run = async (): Promise<void> => {
    const accept = kind === 'sse' ? 'text/event-stream' : 'application/x-ndjson';
    const body = JSON.stringify(context.hello());
    const response = await request(net, { path: 'v1/attach', accept, body }, watchdog);
    const parser = kind === 'sse' ? new EventStreamParser() : new Lines();
    await chunks(response, watchdog, (part) => {
      if (over) return;
      if (part !== '') sink.heard();
      for (const each of parser.push(part)) {
        if (each.trim() === '') continue;
        const frame = parseFrame(each);
        welcomed ||= frame?.op === 'welcome';
        if (frame && !over) sink.frame(frame);
      }
    });
  };

  const end = (how: ReturnType<typeof endOf>): void => {
    if (over) return;
    void close(false);
    sink.ended(how);
  };

  const close = async (bye: boolean): Promise<void> => {
    if (over) return;
    over = true;
    watchdog.abort();
    await up.close(bye);
  };

  run().then(
    () => end({ kind: welcomed ? 'dropped' : 'blocked', reason: 'the stream ended' }),
    (error: unknown) => end(endOf(error, welcomed)),
  );

  return { ...up, duplex: false, lasting: true, changed: () => {}, close };
}
