import { endOf, type Attachment, type Context } from './attachment.ts';
import { poster } from './commands.ts';
import { isCursor } from './cursor.ts';
import type { FairleadError } from './error.ts';
import { toFrame, type Frame } from './frame.ts';
import { hurried, pollStall } from './limits.ts';
import { ask, Watchdog } from './net.ts';

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
  let greeted = false; // it has been welcomed with the token of now
  let wake = (): void => {};

  const attach = async (wait: number, channels: object, dog: Watchdog): Promise<{ frames: Frame[]; id: string }> => {
    const body = JSON.stringify({ op: 'hello', session, token: context.token(), channels, wait, ...(!greeted && { welcome: true }) });
    greeted = true;
    return ask(net, { path: 'v1/attach', body }, whole, wait * 1000 + pollStall, dog, pollStall);
  };

  const run = async (): Promise<void> => {
    let last = '';
    let idle = 0;
    while (!over) {
      const { channels, fresh, all } = context.poll();
      const quick = !polled || fresh || hasty;
      const wait = quick ? 0 : context.wait();
      hasty = false;
      const began = clock.now();
      const dog = (watchdog = new Watchdog(clock));
      waiting = wait > 0;
      again = false;
      let answer;
      try {
        answer = await attach(wait, channels, dog);
      } catch (error) {
        // Nothing is lost by giving it up: the cursors have not moved.
        if (again) continue;
        // None of these is granted: that says nothing of the others.
        const { code, message } = error as FairleadError;
        const names = Object.keys(channels);
        if (code !== 'forbidden' || names.length === 0 || (all && !polled)) throw error;
        for (const channel of names) if (!over) sink.frame({ op: 'unsubscribed', channel, code, message });
        hasty = !(greeted = false);
        continue;
      } finally {
        waiting = false;
      }
      if (over) return;
      polled = true;
      sink.heard();
      sink.polled(answer.frames, answer.id);
      // A cache, or a broken server, may answer the same at once and for ever.
      idle = !quick && answer.id === last && clock.now() - began < hurried ? idle + 1 : 0;
      last = answer.id;
      if (idle > 0 && !over) await pause(Math.min(100 * 2 ** idle, pollStall));
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
    watchdog?.abort();
    wake();
    await up.close(false);
  };

  run().catch((error: unknown) => {
    if (over) return;
    void close();
    sink.ended(endOf(error, polled));
  });

  const redo = (): void => {
    again = true;
    watchdog?.abort();
  };

  const changed = (): void => {
    wake();
    if (waiting) redo();
  };

  const hurry = (): void => {
    hasty = true;
    changed();
  };

  // What the last token is good for is of no interest any more.
  const auth = (): void => {
    greeted = false;
    hurry();
    redo();
  };

  return { ...up, duplex: false, lasting: false, changed, auth, ask: hurry, close };
}

/** The answer of a poll. Throws unless it is one, to the last byte: an empty 200 is what a broken connection looks like. */
function whole({ frames, id }: { frames: unknown[]; id: unknown }): { frames: Frame[]; id: string } {
  if (!isCursor(id)) throw new TypeError('it has no id');
  return { frames: frames.map(toFrame).filter((f) => f !== undefined), id };
}
