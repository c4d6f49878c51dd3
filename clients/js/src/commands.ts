import { tokenOf, type Context } from './attachment.ts';
import { FairleadError, isPassing } from './error.ts';
import { toFrame, type Command } from './frame.ts';
import { request, text, Watchdog } from './net.ts';

/** PROTOCOL.md section 4.1. */
const mostCommands = 100;

/** A pooled connection may be dead: the answer to a POST must begin within this. Milliseconds. */
const firstByte = 5_000;

/** A goodbye that takes longer is not worth the wait. */
const farewell = 1_000;

export interface Poster {
  room(): number;
  send(commands: readonly Command[]): void;
  /** Makes the server say something on the attachment. */
  ask(): void;
  /** Stops; with bye, tells the server. */
  close(bye: boolean): Promise<void>;
}

/** Sends commands as POST /v1/commands, one request at a time, for the transports that only go down. */
export function poster({ net, sink, session, attachment }: Context): Poster {
  let busy: Watchdog | undefined;
  let over = false;
  let most = mostCommands;

  const post = async (commands: readonly Command[], watchdog: Watchdog, bye = false): Promise<unknown> => {
    const head = JSON.stringify({ session: session(), attachment: attachment(), ...(await tokenOf(net)) });
    const body = `${head.slice(0, -1)}${head === '{}' ? '' : ','}"commands":[${commands.map((c) => c.text).join(',')}]}`;
    watchdog.arm(bye ? farewell : firstByte);
    const response = await request(net, { method: 'POST', path: 'v1/commands', accept: 'application/json', body, keepalive: bye }, watchdog);
    return JSON.parse(await text(response, watchdog, firstByte)) as unknown;
  };

  const settle = (commands: readonly Command[], answer: unknown): void => {
    const replies = (answer as { replies?: unknown } | null)?.replies;
    if (!Array.isArray(replies) || replies.length !== commands.length) throw new FairleadError('bad_answer', 'not every command has a reply');
    // All are checked before any is used.
    const frames = replies.map((reply) => toFrame({ op: 'reply', ...(reply as object) }));
    most = Math.min(most * 2, mostCommands);
    for (const frame of frames) if (frame && !over) sink.frame(frame);
    if (!over) sink.sent();
  };

  const failed = (commands: readonly Command[], error: unknown): void => {
    const known = error instanceof FairleadError ? error : new FairleadError('bad_answer', 'the answer to v1/commands is not whole', { cause: error });
    const [only] = commands;
    if (only && isFinal(known)) {
      // The request was refused as a whole: halve it until the one that is to blame stands alone.
      if (commands.length === 1) {
        sink.frame({ op: 'reply', to: only.cid, error: { code: known.code, message: known.message } });
        if (!over) sink.sent();
        return;
      }
      most = commands.length >> 1;
    }
    sink.unsent(known, isFinal(known));
  };

  return {
    room: () => (busy ? 0 : most),
    send(commands) {
      const watchdog = (busy = new Watchdog(net.clock));
      post(commands, watchdog)
        .finally(() => {
          watchdog.disarm();
          busy = undefined;
        })
        .then((answer) => {
          if (!over) settle(commands, answer);
        })
        .catch((error: unknown) => {
          if (!over) failed(commands, error);
        });
    },
    ask() {
      // Whether it went is heard in the stream.
      post([{ cid: 0, text: '{"op":"beat"}' }], new Watchdog(net.clock)).catch(() => {});
    },
    async close(bye) {
      if (over) return;
      over = true;
      busy?.abort(undefined);
      if (!bye || attachment() === undefined) return;
      // A courtesy: the server would find out by itself.
      await post([{ cid: 0, text: '{"op":"bye"}' }], new Watchdog(net.clock), true).catch(() => {});
    },
  };
}

/** Whether the same request would be refused again. */
function isFinal({ code }: FairleadError): boolean {
  return !isPassing(code) && !['network', 'bad_answer', 'token', 'gone'].includes(code);
}
