import { FairleadError } from './error.ts';
import { isCursor, isId } from './cursor.ts';

/** The four ways to be served, best first. */
export type Transport = 'websocket' | 'sse' | 'stream' | 'poll';

/** One record of a channel, PROTOCOL.md section 1.3. Bytes (`encoding: "base64"`) arrive decoded. */
export interface Message {
  id: string;
  channel: string;
  type?: string;
  // The payload is the application's: it knows its shape, the client does not.
  data: unknown;
  encoding?: string;
  /** When the log stored it, milliseconds since the Unix epoch. */
  time: number;
  from?: string;
  key?: string;
}

/** Where a subscription starts: after a cursor, with the last messages, or (neither) from now. */
export interface Start {
  after?: string;
  last?: number;
}

/** What is not in the log any more, PROTOCOL.md section 2.1. */
export interface Gap {
  channel: string;
  from: string;
  to: string;
  reason: string;
}

export interface Limits {
  frame?: number;
  wait?: number;
}

export interface Welcome {
  op: 'welcome';
  session: string;
  attachment?: string;
  id: string;
  beat?: number;
  transports?: Transport[];
  /** A hint of the network that the client is on. */
  net?: string;
  limits?: Limits;
  /** Milliseconds until the token expires. */
  expires_in?: number;
  channels?: Record<string, { after?: string }>;
}

export interface Reply {
  op: 'reply';
  to: string | number | null;
  ok?: boolean;
  error?: { code: string; message: string };
  id?: string;
  duplicate?: boolean;
  after?: string;
  expires_in?: number;
}

/** A frame from the server, PROTOCOL.md section 2.1. */
export type Frame =
  | Welcome
  | Reply
  | { op: 'proof' }
  | ({ op: 'message' } & Message)
  | ({ op: 'gap' } & Gap)
  | { op: 'subscribed'; channel: string; after: string }
  | { op: 'unsubscribed'; channel: string; code: string; message: string }
  | { op: 'beat'; id: string }
  | { op: 'goaway'; after_ms: number; reason: string }
  | { op: 'error'; code: string; message: string };

export interface Hello {
  op: 'hello';
  session?: string;
  token: string | undefined;
  channels: Record<string, Start>;
  beat?: number;
  wait?: number;
}

/** A command: its JSON text, and the cid by which its reply is known. */
export interface Command {
  cid: number;
  text: string;
}

type Fields = Record<string, unknown>;

const isText = (value: unknown): value is string => typeof value === 'string';

const areStarts = (channels: unknown): boolean =>
  Object.values((channels ?? {}) as Record<string, Start | null>).every((start) => start?.after === undefined || isCursor(start.after));

/** What a frame must hold for the client to act on it. An op that is not here is ignored. */
const complete: Record<string, (f: Fields) => boolean> = {
  welcome: (f) => isCursor(f['id']) && areStarts(f['channels']),
  proof: () => true,
  message: (f) => isId(f['id']) && isText(f['channel']),
  gap: (f) => isText(f['channel']) && isCursor(f['from']) && isCursor(f['to']),
  subscribed: (f) => isText(f['channel']) && isCursor(f['after']),
  unsubscribed: (f) => isText(f['channel']) && isText(f['code']),
  reply: (f) => 'to' in f,
  beat: (f) => isCursor(f['id']),
  goaway: (f) => typeof f['after_ms'] === 'number',
  error: (f) => isText(f['code']),
};

/** The frame in a parsed JSON value; undefined for an op that this version does not know. Throws. */
export function toFrame(value: unknown): Frame | undefined {
  const fields = value as Fields;
  const op = (fields as Fields | null)?.['op'];
  if (!isText(op)) throw new TypeError('it has no op');
  if (!Object.hasOwn(complete, op)) return undefined;
  if (!complete[op]?.(fields)) throw new TypeError(`the ${op} is not complete`);
  if (op === 'message') decode(fields);
  return value as Frame;
}

/** As toFrame, from text. Throws a FairleadError. */
export function parseFrame(text: string): Frame | undefined {
  try {
    return toFrame(JSON.parse(text));
  } catch (cause) {
    throw new FairleadError('bad_answer', 'a frame from the server is damaged', { cause });
  }
}

/** Turns the base64 of a message into bytes, in place. Throws when it is damaged. */
export function decode(message: { data?: unknown; encoding?: unknown }): void {
  if (message.encoding !== 'base64' || !isText(message.data)) return;
  message.data = Uint8Array.from(atob(message.data), (c) => c.charCodeAt(0));
}

/** The message or gap in a frame, without the frame's op. */
export function bare<F extends { op: string }>({ op: _, ...rest }: F): Omit<F, 'op'> {
  return rest;
}

/** The `data` and `encoding` fields of a payload. Throws a FairleadError for what JSON cannot hold. */
export function encode(data: unknown): { data: unknown; encoding?: 'base64' } {
  const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
  if (!ArrayBuffer.isView(bytes)) return { data: data === undefined ? null : data };
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { data: btoa(Array.from(view, (byte) => String.fromCharCode(byte)).join('')), encoding: 'base64' };
}
