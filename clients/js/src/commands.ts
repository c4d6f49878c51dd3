import type { Context } from './attachment.ts';
import { FairleadError, isPassing } from './error.ts';
import { toFrame, type Command, type Frame } from './frame.ts';
import { farewell, firstByte, mostCommands } from './limits.ts';
import { ask, Watchdog } from './net.ts';

export interface Poster {
  room(): number;
  send(commands: readonly Command[]): void;
  /** Does not wait for what send() has under way. */
  auth(command: Command, token: string | undefined): void;
  /** Makes the server say something on the attachment. */
  ask(): void;
  /** Stops; with bye, tells the server. */
  close(bye: boolean): Promise<void>;
}

/** Sends commands as POST /v1/commands, one request at a time, for the transports that only go down. */
export function poster({ net, sink, session, live, token }: Context): Poster {
  let busy: Watchdog | undefined;
  let over = false;
  let most = mostCommands;

  /** The replies, in order: all are checked before any is used. */
  const post = async (commands: readonly Command[], watchdog: Watchdog, shown = live.token, bye = false): Promise<Frame[]> => {
    const head = JSON.stringify({ session, attachment: live.name, token: shown });
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
    auth(command, fresh) {
      post([command], new Watchdog(net.clock), fresh).then(take, (error: unknown) => refused(command.cid, error as FairleadError));
    },
    ask() {
      // Whether it went is heard in the stream.
      post([{ cid: 0, text: '{"op":"beat"}' }], new Watchdog(net.clock)).catch(() => {});
    },
    async close(bye) {
      if (over) return;
      over = true;
      busy?.abort();
      if (!bye || live.name === undefined) return;
      // A courtesy: the server would find out by itself. What it has been given may have expired.
      await post([{ cid: 0, text: '{"op":"bye"}' }], new Watchdog(net.clock), token(), true).catch(() => {});
    },
  };
}

/** Whether the same request would be refused again. */
function isFinal({ code }: FairleadError): boolean {
  return !isPassing(code) && !['network', 'bad_answer', 'gone'].includes(code);
}
