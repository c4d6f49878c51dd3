import { endOf, tokenOf, type Attachment, type Context } from './attachment.ts';
import { poster } from './commands.ts';
import { isCursor } from './cursor.ts';
import { FairleadError } from './error.ts';
import { toFrame, type Frame } from './frame.ts';
import { request, text, Watchdog } from './net.ts';

/** Beyond a poll's wait: for its answer to begin, and between two pieces of it. Milliseconds. */
const slack = 5_000;

/** An answer that is empty sooner than this, though it was to wait, counts as hurried. */
const hurried = 1_000;

/** Polls one after the other, PROTOCOL.md section 3.4. */
export function poll(context: Context): Attachment {
  const { net, sink, session } = context;
  const { clock } = net;
  const up = poster(context);
  let over = false;
  let polled = false; // one answer was whole
  let watchdog: Watchdog | undefined; // of the poll under way
  let waiting = false; // it waits for news
  let again = false; // it was given up for another
  let hasty = false; // the next one is to be answered at once
  let wake = (): void => {};

  const ask = async (wait: number, channels: object, dog: Watchdog): Promise<{ frames: Frame[]; id: string }> => {
    const body = JSON.stringify({ op: 'hello', session: session(), ...(await tokenOf(net)), channels, wait, ...(!polled && { welcome: true }) });
    dog.arm(wait * 1000 + slack);
    const response = await request(net, { method: 'POST', path: 'v1/attach', accept: 'application/json', body }, dog);
    return whole(await text(response, dog, slack));
  };

  const run = async (): Promise<void> => {
    let last = '';
    let idle = 0;
    while (!over) {
      const { channels, fresh } = context.poll();
      const quick = !polled || fresh || hasty;
      const wait = quick ? 0 : context.wait();
      hasty = false;
      const began = clock.now();
      const dog = (watchdog = new Watchdog(clock));
      waiting = wait > 0;
      again = false;
      let answer;
      try {
        answer = await ask(wait, channels, dog);
      } catch (error) {
        // Nothing is lost by giving it up: the cursors have not moved.
        if (again) continue;
        throw error;
      } finally {
        dog.disarm();
        waiting = false;
      }
      if (over) return;
      polled = true;
      sink.heard();
      sink.polled(answer.frames, answer.id);
      // A cache, or a broken server, may answer the same at once and for ever.
      idle = !quick && answer.id === last && clock.now() - began < hurried ? idle + 1 : 0;
      last = answer.id;
      if (idle > 0 && !over) await pause(Math.min(100 * 2 ** idle, slack));
    }
  };

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const cancel = clock.after(ms, resolve);
      wake = () => {
        cancel();
        resolve();
      };
    });

  // No goodbye: there is no lasting attachment to leave.
  const close = async (): Promise<void> => {
    if (over) return;
    over = true;
    watchdog?.abort(undefined);
    wake();
    await up.close(false);
  };

  run().catch((error: unknown) => {
    if (over) return;
    void close();
    sink.ended(endOf(error, polled));
  });

  const changed = (): void => {
    wake();
    if (!waiting) return;
    again = true;
    watchdog?.abort(undefined);
  };

  const hurry = (): void => {
    hasty = true;
    changed();
  };

  return { duplex: false, lasting: false, room: up.room, send: up.send, changed, ask: hurry, close };
}

/** The answer of a poll. Throws unless it is one, to the last byte: an empty 200 is what a broken connection looks like. */
function whole(body: string): { frames: Frame[]; id: string } {
  try {
    const { frames, id } = JSON.parse(body) as { frames: unknown[]; id: unknown };
    if (!isCursor(id)) throw new TypeError('it has no id');
    return { frames: frames.map(toFrame).filter((f) => f !== undefined), id };
  } catch (cause) {
    throw new FairleadError('bad_answer', 'the answer to a poll is not whole', { cause });
  }
}
