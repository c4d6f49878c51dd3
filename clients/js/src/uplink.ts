import type { Attachment } from './attachment.ts';
import type { Clock } from './clock.ts';
import { FairleadError, isPassing, isToken } from './error.ts';
import type { Reply } from './frame.ts';
import { batch, late, lost, worrying } from './limits.ts';
import type { Outbox } from './outbox.ts';
import type { Pace } from './pace.ts';
import type { View } from './view.ts';

export interface UplinkOptions {
  clock: Clock;
  pace: Pace;
  attachment: Attachment;
  view: View;
  outbox: Outbox;
  nextCid(): number;
  report(error: FairleadError): void;
  /** A command was refused because of the token: granted() is to be called when there is another. */
  stale(): void;
  /** The attachment does not answer: `lost` for so long that it counts as dead. */
  silent(reason: string, lost: boolean): void;
}

/** Moves commands to one attachment, and again when they may not have arrived: its view's, and the outbox's while it is the carrier. */
export class Uplink {
  #welcomed = false;
  #stale = false; // until there is another token
  #carries = false;
  #over = false;
  #scheduled = false;
  #cancelHold = (): void => {};
  #cancelAnswer: (() => void) | undefined;
  readonly #options: UplinkOptions;

  constructor(options: UplinkOptions) {
    this.#options = options;
  }

  /** The attachment takes commands. */
  welcomed(): void {
    this.#welcomed = true;
    this.schedule();
  }

  /** Whether the outbox goes this way. One uplink at a time carries it. */
  carry(on: boolean): void {
    if (this.#carries === on) return;
    this.#carries = on;
    const { outbox, pace } = this.#options;
    // On another way all of it goes again, in order: its keys make that harmless.
    outbox.lost();
    if (on) pace.anew();
    this.schedule();
  }

  /** The server has another token. */
  granted(): void {
    this.#stale = false;
    this.schedule();
  }

  close(): void {
    this.#over = true;
    this.#cancelHold();
    this.#cancelAnswer?.();
    if (this.#carries) this.#options.outbox.lost();
  }

  /** Sends what there is at the end of this turn of the event loop. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  /** A `subscribed` came in the stream. */
  answered(): void {
    this.#expect();
    this.schedule();
  }

  reply(reply: Reply): void {
    const { view, outbox, pace } = this.#options;
    const code = reply.error?.code ?? '';
    const outcome = view.reply(reply) ? isPassing(code) && 'retry' : outbox.reply(reply);
    if (outcome === 'retry' && !this.#refused(code)) pace.back(true);
    if (outcome === 'settled') pace.settled();
    this.answered();
  }

  /** Whether it is because of the token that something was. */
  #refused(code: string): boolean {
    if (!isToken(code)) return false;
    if (!this.#stale) this.#options.stale();
    return (this.#stale = true);
  }

  sent(): void {
    if (this.#carries && this.#options.outbox.sent > 0) this.unsent(new FairleadError('bad_answer', 'not every command has a reply'), false);
    else this.schedule();
  }

  /** `smaller`: they were too many, and will be fewer. */
  unsent(error: FairleadError, smaller: boolean): void {
    const { view, outbox, pace, report } = this.#options;
    view.unasked();
    if (this.#carries) outbox.lost();
    if (!this.#refused(error.code) && !smaller) {
      if (pace.failures === worrying - 1) report(error);
      pace.back(error.retryAfter !== undefined, error.retryAfter);
    }
    this.#expect();
    this.schedule();
  }

  #pump(): void {
    const { attachment, clock, pace, view, outbox, nextCid } = this.#options;
    if (this.#over || !this.#welcomed) return;
    if (!attachment.lasting && view.changed) attachment.changed();
    if (this.#stale) return;
    this.#cancelHold();
    if (pace.wait > 0) {
      this.#cancelHold = clock.after(pace.wait, () => this.#pump());
      return;
    }
    const room = attachment.room();
    if (room === 0) return;
    const controls = attachment.lasting ? view.commands(nextCid, room) : [];
    const publishes = this.#carries ? outbox.take(room - controls.length - (attachment.duplex ? outbox.sent : 0), batch) : [];
    if (controls.length + publishes.length === 0) return;
    attachment.send([...controls, ...publishes]);
    // What was sent before is what an answer is due to.
    if (!this.#cancelAnswer) this.#expect();
  }

  /** Watches for answers that come in the stream, while there are any to come. */
  #expect(): void {
    const { attachment, clock, view, outbox, silent } = this.#options;
    const reason = 'commands are not answered';
    this.#cancelAnswer?.();
    this.#cancelAnswer = undefined;
    if (this.#over || !(view.unanswered || (attachment.duplex && this.#carries && outbox.sent > 0))) return;
    this.#cancelAnswer = clock.after(late, () => {
      this.#cancelAnswer = clock.after(lost, () => silent(reason, true));
      silent(reason, false);
    });
  }
}
