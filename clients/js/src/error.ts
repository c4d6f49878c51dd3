/**
 * Every failure that reaches an application is a FairleadError.
 *
 * `code` is one of the server's (PROTOCOL.md section 2.3), or one of the client's own:
 * `closed` (the client or subscription was closed), `outbox_full` (too many publishes wait for an acknowledgement),
 * `bad_answer` (what answered is not a Fairlead server), `network` (nothing answered), `token` (the
 * application's token function threw, or took too long), `storage` (it threw, or is full) and `listener` (a listener of its
 * threw; see `cause`).
 */
export class FairleadError extends Error {
  override readonly name = 'FairleadError';
  readonly code: string;
  /** The server asks to be left alone for so many milliseconds. */
  readonly retryAfter: number | undefined;

  constructor(code: string, message: string, options?: { cause?: unknown; retryAfter?: number | undefined }) {
    super(message, options);
    this.code = code;
    this.retryAfter = options?.retryAfter;
  }
}

/** What the server says of a failure that passes: the same command, later or with another token, with the same key. */
const passing = ['unavailable', 'rate_limited', 'timeout', 'internal'];

export function isPassing(code: string): boolean {
  return passing.includes(code) || isToken(code);
}

/** Whether it was the token, or that there was none, and another may be taken. */
export function isToken(code: string | undefined): boolean {
  return code === 'expired' || code === 'unauthorized' || code === 'token';
}

/** The reason of a thing given up by the application, as a promise's rejection. */
export function closedError(what: string): FairleadError {
  return new FairleadError('closed', `${what} was closed`);
}
