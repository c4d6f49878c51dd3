import type { Attachment } from './attachment.ts';
import type { Clock } from './clock.ts';
import { FairleadError } from './error.ts';
import type { Reply } from './frame.ts';
import type { Ledger } from './ledger.ts';
import type { Policy } from './link.ts';
import type { Outbox } from './outbox.ts';

/** The most that one batch of publishes takes, in characters, unless one alone takes more. */
const batch = 256 << 10;

/** Commands that nobody answers for so long were lost on the way, though the way down is well. Milliseconds. */
const unanswered = 15_000;

/** So many failed requests in a row are told to the application. */
const worrying = 3;

export interface UplinkOptions {
  clock: Clock;
  policy: Pick<Policy, 'base' | 'cap'>;
  ledger: Ledger;
  outbox: Outbox;
  nextCid(): number;
  report(error: FairleadError): void;
  /** The attachment does not answer. */
  stuck(reason: string): void;
}

/** Moves commands from the ledger and the outbox to the attachment, and again when they may not have arrived. */
export class Uplink {
  #attachment: Attachment | undefined;
  #scheduled = false;
  #failures = 0;
  #hold = 0; // nothing goes up before
  #forced = true; // the server wants it so; otherwise another attachment may do better
  #cancelHold = (): void => {};
  #cancelAnswer = (): void => {};
  readonly #options: UplinkOptions;

  constructor(options: UplinkOptions) {
    this.#options = options;
  }

  /** The attachment is welcomed: it takes commands. */
  attached(attachment: Attachment): void {
    this.#attachment = attachment;
    if (!this.#forced) this.#hold = this.#failures = 0;
    this.schedule();
  }

  detached(): void {
    this.#attachment = undefined;
    this.#cancelHold();
    this.#cancelAnswer();
    this.#options.outbox.lost();
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
    const { ledger, outbox } = this.#options;
    if (ledger.reply(reply)) {
      if (reply.error) this.#refused();
    } else {
      const outcome = outbox.reply(reply);
      if (outcome === 'retry') this.#refused();
      if (outcome === 'settled') this.#failures = 0;
    }
    this.answered();
  }

  sent(): void {
    if (this.#options.outbox.sent > 0) this.unsent(new FairleadError('bad_answer', 'not every command has a reply'), false);
    else this.schedule();
  }

  /** `smaller`: they were too many, and will be fewer. */
  unsent(error: FairleadError, smaller: boolean): void {
    const { ledger, outbox, report } = this.#options;
    ledger.unasked();
    outbox.lost();
    if (!smaller) {
      if (this.#failures === worrying - 1) report(error);
      this.#forced = error.retryAfter !== undefined;
      this.#back(error.retryAfter);
    }
    this.#expect();
    this.schedule();
  }

  #pump(): void {
    const { clock, ledger, outbox, nextCid } = this.#options;
    const attachment = this.#attachment;
    if (!attachment) return;
    if (!attachment.lasting && ledger.changed) attachment.changed();
    const wait = this.#hold - clock.now();
    if (wait > 0) {
      this.#cancelHold();
      this.#cancelHold = clock.after(wait, () => this.#pump());
      return;
    }
    const room = attachment.room();
    if (room === 0) return;
    const controls = attachment.lasting ? ledger.commands(nextCid, room) : [];
    const publishes = outbox.take(room - controls.length - (attachment.duplex ? outbox.sent : 0), batch);
    if (controls.length + publishes.length === 0) return;
    attachment.send([...controls, ...publishes]);
    this.#expect();
  }

  #refused(): void {
    this.#forced = true;
    this.#back();
  }

  #back(least = 0): void {
    const { clock, policy } = this.#options;
    const most = Math.min(policy.cap, policy.base * 2 ** Math.min(this.#failures++, 20));
    this.#hold = clock.now() + Math.max(least, clock.random() * most);
  }

  /** Watches for answers that come in the stream, while there are any to come. */
  #expect(): void {
    const { clock, ledger, outbox, stuck } = this.#options;
    this.#cancelAnswer();
    const due = ledger.asking || (this.#attachment?.duplex && outbox.sent > 0);
    if (due) this.#cancelAnswer = clock.after(unanswered, () => stuck('commands are not answered'));
  }
}
