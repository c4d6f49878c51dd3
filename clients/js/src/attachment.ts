import { FairleadError, isPassing, isToken } from './error.ts';
import type { Command, Frame, Hello } from './frame.ts';
import type { End } from './link.ts';
import type { Net } from './net.ts';
import type { View } from './view.ts';

/** What an attachment tells its session. After ended(), and after close(), nothing more. */
export interface Sink {
  /** Something arrived, be it one byte. */
  heard(): void;
  frame(frame: Frame): void;
  /** The whole answer of a poll. */
  polled(frames: Frame[], id: string): void;
  /** send() has carried out its commands, and their replies have been given to frame(). */
  sent(): void;
  /** The commands of send() may not have arrived. `smaller`: next time, room() is for fewer. */
  unsent(error: FairleadError, smaller: boolean): void;
  ended(end: End): void;
}

/** What an attachment needs to know of its session. */
export interface Context {
  net: Net;
  sink: Sink;
  readonly session: string;
  /** The server's name for this attachment, once it is welcomed; and the token that it was attached with, or has been given since: for commands. */
  readonly live: { readonly name?: string | undefined; readonly token: string | undefined };
  /** The hello of a lasting attachment. */
  hello(): Hello;
  /** The newest that there is. */
  token(): string | undefined;
  /** What the next poll asks for, and whether it is to be answered at once. */
  poll(): ReturnType<View['poll']>;
  /** The longest that a poll may wait, in seconds. */
  wait(): number;
}

/** One live transport. */
export interface Attachment {
  /** Whether replies come in the stream of frames, and send() need not wait for the last one. */
  readonly duplex: boolean;
  /** Whether subscriptions are made by commands; otherwise changed() tells of them. */
  readonly lasting: boolean;
  /** How many commands send() takes now. */
  room(): number;
  send(commands: readonly Command[]): void;
  changed(): void;
  /** Sends the command `auth`, which has the token; or, where it is not `lasting`, polls with the newest, and has itself welcomed again. */
  auth(command: Command, token: string | undefined): void;
  /** Makes the server say something on it, if it is alive. */
  ask(): void;
  /** Ends it. `bye`: the server is told; the promise settles when that was tried. */
  close(bye: boolean): Promise<void>;
}

/** How a failure ends an attachment that had been welcomed, or had not. */
export function endOf(error: unknown, welcomed: boolean): End {
  if (!(error instanceof FairleadError)) {
    return { kind: 'dropped', reason: 'a fault in the client', error: new FairleadError('internal', 'a fault in the client', { cause: error }) };
  }
  const { code, message: reason, retryAfter } = error;
  if (code === 'network') {
    // With a cause something answered that it cannot be reached; without, nothing came in time.
    return { kind: welcomed ? 'dropped' : error.cause === undefined ? 'blocked' : 'refused', reason };
  }
  const passes = (isPassing(code) && !isToken(code)) || code === 'gone';
  return { kind: code === 'bad_answer' ? 'blocked' : 'server', reason, error: passes ? undefined : error, retryAfter };
}
