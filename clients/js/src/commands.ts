import type { Context } from './attachment.ts';
import { FairleadError, isPassing } from './error.ts';
import { toFrame, type Command, type Frame } from './frame.ts';
import { ask, Watchdog } from './net.ts';

/** PROTOCOL.md section 4.1. */
const mostCommands = 100;

/** A pooled connection may be dead: the answer to a POST must begin within this. Milliseconds. */
const firstByte = 5_000;

/** A goodbye that takes longer is not worth the wait. */
const farewell = 1_000;

export interface Poster {
  room(): number;
  send(commands: readonly Command[]): void;
  /** Does not wait for what send() has under way. */
  auth(command: Command): void;
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

  /** The replies, in order: all are checked before any is used. */
  const post = async (commands: readonly Command[], watchdog: Watchdog, bye = false): Promise<Frame[]> => {
    const head = JSON.stringify({ session: session(), attachment: attachment(), token: bye ? net.token.current : await net.token.get() });
    const body = `${head.slice(0, -1)},"commands":[${commands.map((c) => c.text).join(',')}]}`;
    const read = ({ replies }: { replies: object[] }): Frame[] => {
      if (replies.length !== commands.length) throw new TypeError('not every command has a reply');
      return replies.map((reply) => toFrame({ op: 'reply', ...reply }) as Frame);
    };
    return ask(net, { path: 'v1/commands', body, keepalive: bye }, read, bye ? farewell : firstByte, watchdog);
  };

  const take = (frames: readonly Frame[]): void => {
    for (const frame of frames) if (!over) sink.frame(frame);
  };

  const refused = (cid: number, { code, message }: FairleadError): void => take([{ op: 'reply', to: cid, error: { code, message } }]);

  const failed = (commands: readonly Command[], error: FairleadError): void => {
    const [only] = commands;
    if (only && isFinal(error)) {
      // The request was refused as a whole: halve it until the one that is to blame stands alone.
      if (commands.length === 1) {
        refused(only.cid, error);
        if (!over) sink.sent();
        return;
      }
      most = commands.length >> 1;
    }
    sink.unsent(error, isFinal(error));
  };

  return {
    room: () => (busy ? 0 : most),
    send(commands) {
      post(commands, (busy = new Watchdog(net.clock)))
        .finally(() => (busy = undefined))
        .then((frames) => {
          most = Math.min(most * 2, mostCommands);
          take(frames);
          if (!over) sink.sent();
        })
        .catch((error: unknown) => {
          if (!over) failed(commands, error as FairleadError);
        });
    },
    auth(command) {
      post([command], new Watchdog(net.clock)).then(take, (error: unknown) => refused(command.cid, error as FairleadError));
    },
    ask() {
      // Whether it went is heard in the stream.
      post([{ cid: 0, text: '{"op":"beat"}' }], new Watchdog(net.clock)).catch(() => {});
    },
    async close(bye) {
      if (over) return;
      over = true;
      busy?.abort();
      if (!bye || attachment() === undefined) return;
      // A courtesy: the server would find out by itself.
      await post([{ cid: 0, text: '{"op":"bye"}' }], new Watchdog(net.clock), true).catch(() => {});
    },
  };
}

/** Whether the same request would be refused again. */
function isFinal({ code }: FairleadError): boolean {
  return !isPassing(code) && !['network', 'bad_answer', 'gone'].includes(code);
}
