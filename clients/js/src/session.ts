import { endOf, type Attachment, type Context, type Sink } from './attachment.ts';
import { closedError, FairleadError } from './error.ts';
import { bare, type Command, type Frame, type Gap, type Message, type Transport, type Welcome } from './frame.ts';
import { Ledger } from './ledger.ts';
import { deadline, initial, step, type Effect, type Event, type Link, type Policy, type State, type StateEvent, type TransportEvent } from './link.ts';
import type { Net } from './net.ts';
import { Outbox } from './outbox.ts';
import { Uplink } from './uplink.ts';

/** What a session tells of itself. */
export interface Events {
  state: StateEvent;
  transport: TransportEvent;
  gap: Gap;
  error: FairleadError;
  message: Message;
}

export interface SessionOptions {
  net: Net;
  policy: Policy;
  open(transport: Transport, context: Context): Attachment;
  emit<K extends keyof Events>(type: K, event: Events[K]): void;
  session: string | undefined;
  beat: number | undefined;
  outbox: number;
}

const defaultBeat = 25_000;
const leastBeat = 50; // a broken welcome must not make every attachment look dead
const defaultWait = 25;

type Occurrence = Event extends infer E ? (E extends Event ? Omit<E, 'now' | 'random'> : never) : never;

/**
 * The driver: runs the effects of the link machine, feeds it what happens, and passes frames to the ledger and the outbox.
 * Everything here is synchronous and on one thread; what a listener does in the middle of it is queued.
 */
export class Session {
  readonly ledger: Ledger;
  readonly outbox: Outbox;
  id: string | undefined;
  /** The log's position, as last heard. */
  position: string | null = null;
  #link: Link = initial();
  #attachment: Attachment | undefined;
  #name: string | undefined; // the server's, for the attachment
  #wait = defaultWait;
  #heard = 0;
  #queue: Occurrence[] = [];
  #running = false;
  #cancel = (): void => {};
  #cid = 0;
  #leaving: Promise<void> = Promise.resolve();
  readonly #uplink: Uplink;
  readonly #options: SessionOptions;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.id = options.session;
    this.ledger = new Ledger((gap) => options.emit('gap', gap), () => this.#uplink.schedule());
    this.outbox = new Outbox(options.outbox);
    this.#uplink = new Uplink({
      clock: options.net.clock,
      policy: options.policy,
      ledger: this.ledger,
      outbox: this.outbox,
      nextCid: this.nextCid,
      report: (error) => options.emit('error', error),
      stuck: (reason) => this.#end(this.#link.attempt, { kind: 'dropped', reason }),
    });
  }

  get state(): State {
    const { phase } = this.#link;
    if (phase === 'live') return 'connected';
    return phase === 'waiting' || phase === 'closed' ? phase : 'connecting';
  }

  get transport(): Transport | null {
    return this.#link.phase === 'live' ? this.#link.transport : null;
  }

  readonly nextCid = (): number => ++this.#cid;

  start(): void {
    this.#dispatch({ type: 'start' });
  }

  /** The network, or the page, is back. */
  retry(type: 'online' | 'visible'): void {
    this.#dispatch({ type });
  }

  reconnect(): void {
    this.#dispatch({ type: 'reconnect' });
  }

  /** Ends everything; settles once the server was told. */
  async close(): Promise<void> {
    this.#dispatch({ type: 'close' });
    const error = closedError('the client');
    // Called by a listener, the event waits until that is done.
    await Promise.resolve();
    this.outbox.close(error);
    for (const sub of this.ledger.subs()) {
      this.ledger.remove(sub);
      sub.fail(error);
    }
    await this.#leaving;
  }

  publish(command: Command, done: (id: string, duplicate: boolean) => void, fail: (error: FairleadError) => void): () => void {
    const entry = this.outbox.add(
      command,
      (reply) => (reply.id === undefined ? fail(new FairleadError('bad_answer', 'the acknowledgement has no id')) : done(reply.id, reply.duplicate === true)),
      fail,
    );
    this.#uplink.schedule();
    return () => this.outbox.remove(entry);
  }

  #dispatch(occurrence: Occurrence): void {
    this.#queue.push(occurrence);
    if (this.#running) return;
    this.#running = true;
    const { clock } = this.#options.net;
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
        const event = { ...next, now: clock.now(), random: clock.random() } as Event;
        const [link, effects] = step(this.#options.policy, this.#link, event);
        this.#link = link;
        this.#arm();
        for (const effect of effects) this.#run(effect);
      }
    } finally {
      this.#running = false;
    }
  }

  #arm(): void {
    this.#cancel();
    const at = deadline(this.#link);
    if (at === null || at === Infinity) return;
    const { clock } = this.#options.net;
    // A timer may fire a little early: the tick is then early too, changes nothing, and is armed again.
    this.#cancel = clock.after(Math.max(at - clock.now(), 0), () => this.#dispatch({ type: 'tick', heard: this.#heard }));
  }

  #run(effect: Effect): void {
    const { emit } = this.#options;
    switch (effect.type) {
      case 'attach':
        return this.#attach(effect.attempt, effect.transport);
      case 'detach':
        return this.#detach(effect.bye);
      default:
        return emit(effect.type, effect.event as Events[typeof effect.type]);
    }
  }

  #attach(attempt: number, transport: Transport): void {
    const { net, beat } = this.#options;
    this.#heard = net.clock.now();
    this.#name = undefined;
    const current = (): boolean => attempt === this.#link.attempt && this.#attachment === attachment;
    const sink: Sink = {
      heard: () => {
        if (current()) this.#heard = net.clock.now();
      },
      frame: (frame) => {
        if (current()) this.#frame(attempt, frame);
      },
      polled: (frames, id) => {
        if (current()) this.#polled(attempt, frames, id);
      },
      sent: () => current() && this.#uplink.sent(),
      unsent: (error, smaller) => current() && this.#uplink.unsent(error, smaller),
      ended: (end) => current() && this.#end(attempt, end),
    };
    const attachment: Attachment = this.#options.open(transport, {
      net,
      sink,
      session: () => this.id,
      attachment: () => this.#name,
      hello: () => ({
        op: 'hello',
        ...(this.id !== undefined && { session: this.id }),
        channels: this.ledger.hello(),
        ...(beat !== undefined && { beat }),
      }),
      poll: () => this.ledger.poll(),
      wait: () => this.#wait,
    });
    this.#attachment = attachment;
  }

  #detach(bye: boolean): void {
    const attachment = this.#attachment;
    this.#attachment = undefined;
    this.#uplink.detached();
    if (attachment) this.#leaving = attachment.close(bye);
    this.ledger.detached();
  }

  #end(attempt: number, end: Extract<Occurrence, { type: 'ended' }>['end']): void {
    if (attempt !== this.#link.attempt) return;
    this.#detach(false);
    this.#dispatch({ type: 'ended', attempt, end });
  }

  #frame(attempt: number, frame: Frame): void {
    switch (frame.op) {
      case 'welcome':
        return this.#welcome(attempt, frame);
      case 'proof':
        return this.#dispatch({ type: 'proof', attempt });
      case 'message': {
        const message = bare(frame);
        if (this.ledger.message(message)) this.#options.emit('message', message);
        return;
      }
      case 'gap':
        return this.ledger.gap(bare(frame));
      case 'beat':
        this.position = frame.id;
        return this.ledger.beat(frame.id);
      case 'subscribed':
        this.ledger.subscribed(frame.channel, frame.after);
        return this.#uplink.answered();
      case 'reply':
        if (frame.error?.code === 'gone') return this.#end(attempt, { kind: 'dropped', reason: 'the attachment is gone' });
        return this.#uplink.reply(frame);
      case 'goaway':
        return this.#dispatch({ type: 'goaway', attempt, after: frame.after_ms });
      case 'error':
        return this.#end(attempt, endOf(new FairleadError(frame.code, frame.message), true));
    }
  }

  #welcome(attempt: number, frame: Welcome): void {
    const { session, attachment, id, limits, transports, beat } = frame;
    this.id = session;
    this.#name = attachment;
    this.position = id;
    if (limits?.frame !== undefined) this.outbox.restrict(limits.frame);
    if (limits?.wait !== undefined) this.#wait = Math.min(limits.wait, defaultWait);
    this.ledger.welcome(frame);
    this.#welcomed(attempt, beat, transports);
  }

  #welcomed(attempt: number, beat: unknown, offered?: unknown): void {
    this.#dispatch({
      type: 'welcome',
      attempt,
      beat: typeof beat === 'number' && beat >= leastBeat ? beat : defaultBeat,
      ...(Array.isArray(offered) && { offered: offered as Transport[] }),
    });
    if (this.#attachment) this.#uplink.attached(this.#attachment);
  }

  #polled(attempt: number, frames: Frame[], id: string): void {
    const current = (): boolean => attempt === this.#link.attempt && this.#attachment !== undefined;
    const first = this.#link.phase === 'attaching';
    // Only a session's first poll is welcomed by a frame: any other whole answer is as good.
    if (!frames.some((f) => f.op === 'welcome')) {
      this.ledger.welcome();
      if (first) this.#welcomed(attempt, undefined);
    }
    for (const frame of frames) if (current()) this.#frame(attempt, frame);
    if (!current()) return;
    this.position = id;
    this.ledger.beat(id);
    if (first) this.#dispatch({ type: 'proof', attempt });
  }
}
