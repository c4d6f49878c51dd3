import { endOf, type Attachment, type Context, type Sink } from './attachment.ts';
import { isAfter, start as beginning } from './cursor.ts';
import type { Deputy } from './deputy.ts';
import { closedError, FairleadError, isToken } from './error.ts';
import { bare, type Command, type Frame, type Gap, type Message, type Reply, type Transport, type Welcome } from './frame.ts';
import { Ledger } from './ledger.ts';
import { defaultBeat, defaultWait, leastAsked, leastBeat, notes, pollSlack, pollStep } from './limits.ts';
import { carrier, deadline, initial, mainOf, watched } from './link.ts';
import type { Attempt, End, Link, OfflineEvent, State, StateEvent, SwitchEvent, TransportEvent } from './link.ts';
import type { Memory } from './memory.ts';
import { ping, type Net } from './net.ts';
import { Outbox, type Shelf } from './outbox.ts';
import { Pace } from './pace.ts';
import { longest, type Policy } from './policy.ts';
import { randomKey } from './random.ts';
import type { Effect, Event } from './move.ts';
import { settled } from './settled.ts';
import { step } from './step.ts';
import type { TokenSource } from './token.ts';
import { Uplink } from './uplink.ts';
import { command, View } from './view.ts';

/** What a session tells of itself. */
export interface Events {
  state: StateEvent;
  transport: TransportEvent;
  switch: SwitchEvent;
  offline: OfflineEvent;
  gap: Gap;
  error: FairleadError;
  message: Message;
}

export interface SessionOptions {
  net: Net;
  policy: Policy;
  memory: Memory;
  open(transport: Transport, context: Context): Attachment;
  emit<K extends keyof Events>(type: K, event: Events[K]): void;
  session: string | undefined;
  beat: number | undefined;
  outbox: number;
  shelf: Shelf | undefined;
}

const isAmount = (value: unknown): value is number => typeof value === 'number' && value > 0;

/** A poll is heard when it is answered. */
const pollBeat = ({ wait }: Live): number => wait * 1000 + pollSlack;

export interface Note {
  readonly at: number;
}

type Occurrence = Event extends infer E ? (E extends Event ? Omit<E, 'now' | 'random' | 'lacking'> : never) : never;

/** An attachment of the session, and what is the session's of it. */
interface Live {
  readonly id: number;
  readonly transport: Transport;
  attachment: Attachment;
  readonly view: View;
  uplink: Uplink;
  name?: string | undefined; // the server's for it
  token: string | undefined; // that it was attached with, or has been given since
  offered?: { to: number; token: string | undefined } | undefined; // one that it is being given
  heard: number;
  told: number; // when a beat came
  /** The log's position when it was welcomed, and when anything from before that came. */
  head: string;
  past: number;
  wait: number; // of a poll, seconds
}

/**
 * The driver: runs the effects of the link machine, feeds it what happens, and passes frames to the views and the outbox.
 * Everything here is synchronous and on one thread; what a listener does in the middle of it is queued.
 */
export class Session {
  readonly ledger: Ledger;
  readonly outbox: Outbox;
  /** What happened lately, oldest first; `at` is milliseconds since the Unix epoch. */
  readonly log: Note[] = [];
  /** Made up here, so that attempts that begin together are of one session. */
  id: string;
  /** The log's position, as last heard. */
  position: string | null = null;
  link: Link;
  /** Those who wait for what becomes of a refresh. */
  readonly refreshes: ((error?: FairleadError) => void)[] = [];
  readonly #lives = new Map<number, Live>();
  readonly #pace: Pace;
  #deputy: Deputy | undefined;
  #most = defaultWait; // the longest poll that the server allows
  #queue: Occurrence[] = [];
  #running = false;
  #cancel = (): void => {};
  #cid = 0;
  #pings = 0;
  #leaving: Promise<void>[] = [];
  readonly #options: SessionOptions;

  constructor(options: SessionOptions) {
    const { net, policy, outbox, shelf, emit, session } = options;
    this.#options = options;
    this.id = session ?? randomKey();
    this.link = initial(policy);
    this.#pace = new Pace(net.clock, policy);
    this.ledger = new Ledger((gap) => emit('gap', gap), () => this.#schedule());
    this.outbox = new Outbox(outbox, shelf);
    this.outbox.restore(this.nextCid, (error) => emit('error', error));
  }

  get state(): State {
    const { phase, offline } = this.link;
    if (phase === 'closed') return 'closed';
    if (this.#deputy) return this.#deputy.state;
    if (mainOf(this.link)) return 'connected';
    if (offline) return 'offline';
    return phase === 'waiting' || phase === 'refused' ? phase : 'connecting';
  }

  get transport(): Transport | null {
    return this.#deputy ? this.#deputy.transport : (mainOf(this.link)?.transport ?? null);
  }

  /** When anything came on an attachment last. */
  heard({ id, heard }: Attempt): number {
    return this.#lives.get(id)?.heard ?? heard;
  }

  readonly nextCid = (): number => ++this.#cid;

  start(): void {
    this.#deputy = undefined;
    const { memory } = this.#options;
    this.#dispatch({ type: 'start', net: memory.last, remembered: memory.recall(memory.last) });
  }

  /** Detaches: until start(), the deputy serves the subscriptions and takes what the outbox holds. */
  stop(deputy: Deputy): void {
    this.#dispatch({ type: 'stop' });
    this.#deputy = deputy;
  }

  /** The network, or the page, is back. */
  retry(type: 'online' | 'visible'): void {
    if (type === 'online') this.#pace.reset();
    this.#deputy?.nudge(type);
    this.#dispatch({ type });
  }

  /**
   * The application wants to connect anew, or to give what is connected another token: of the source, if there is one, or one that
   * another tab has `told`. A refresh settles when the server has taken it, or not; nobody need wait for that.
   */
  renew(type: 'reconnect' | 'refresh', source?: TokenSource, told?: string): Promise<void> {
    const { net } = this.#options;
    const done = settled((settle) => type === 'refresh' && this.refreshes.push(settle));
    net.token = net.token.anew(source, told);
    this.#pace.reset();
    this.#deputy?.nudge(type, source);
    this.#dispatch({ type });
    if (this.state === 'closed') this.refreshed(closedError('the client'));
    return done;
  }

  /** What became of the refreshes. */
  refreshed(error?: FairleadError): void {
    for (const settle of this.refreshes.splice(0)) settle(error);
  }

  /** Ends everything; settles once the server was told. */
  async close(): Promise<void> {
    this.#dispatch({ type: 'close' });
    const error = closedError('the client');
    // Called by a listener, the event waits until that is done.
    await Promise.resolve();
    this.refreshed(error);
    this.outbox.close(error);
    for (const sub of this.ledger.subs()) {
      this.ledger.remove(sub);
      sub.fail(error);
    }
    await Promise.all(this.#leaving);
  }

  publish(command: Command, done: (id: string, duplicate: boolean) => void, fail: (error: FairleadError) => void): () => void {
    const entry = this.outbox.add(
      command,
      (reply) => (reply.id === undefined ? fail(new FairleadError('bad_answer', 'the answer to publish is not whole')) : done(reply.id, reply.duplicate === true)),
      fail,
    );
    this.#schedule();
    return () => this.outbox.remove(entry);
  }

  #schedule(): void {
    this.#deputy?.schedule();
    for (const { uplink } of this.#lives.values()) uplink.schedule();
  }

  #dispatch(occurrence: Occurrence): void {
    this.#queue.push(occurrence);
    if (this.#running) return;
    this.#running = true;
    const { net } = this.#options;
    const { clock } = net;
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
        const event = { ...next, now: clock.now(), random: clock.random(), lacking: net.token.lacking } as Event;
        const [link, effects] = step(this.link, event);
        this.link = link;
        this.#arm();
        for (const effect of effects) this.#run(effect);
        const carries = carrier(link)?.id;
        for (const { id, uplink } of this.#lives.values()) if (id !== carries) uplink.carry(false);
        this.#live(carries)?.uplink.carry(true);
      }
    } finally {
      this.#running = false;
    }
  }

  #arm(): void {
    this.#cancel();
    const at = deadline(this.link);
    if (at === Infinity) return;
    const { clock } = this.#options.net;
    // A timer may fire a little early: the tick is then early too, changes nothing, and is armed again.
    this.#cancel = clock.after(Math.max(at - clock.now(), 0), () => {
      const heard: Record<number, number> = {};
      const told: Record<number, number> = {};
      const main = mainOf(this.link)?.id;
      for (const live of this.#lives.values()) {
        heard[live.id] = live.id === main ? live.heard : live.past;
        told[live.id] = live.told;
      }
      this.#dispatch({ type: 'tick', heard, told });
    });
  }

  #run(effect: Effect): void {
    const { emit, memory } = this.#options;
    this.#note(effect);
    switch (effect.type) {
      case 'attach':
        return this.#attach(effect.attempt, effect.transport, effect.beat);
      case 'detach':
        return this.#detach(this.#live(effect.attempt), effect.bye);
      case 'ask':
        return this.#live(effect.attempt)?.attachment.ask();
      case 'ping':
        return this.#ping(effect.limit);
      case 'renew':
        return this.#renew();
      case 'remember':
        return memory.learn(effect.net, effect);
      default:
        return emit(effect.type, effect.event as Events[typeof effect.type]);
    }
  }

  #note(what: object): void {
    this.log.push({ at: this.#options.net.clock.wall(), ...what });
    if (this.log.length > notes) this.log.shift();
  }

  #live(id = 0): Live | undefined {
    return this.#lives.get(id);
  }

  #ping(limit: number): void {
    const serial = ++this.#pings;
    const answer = (more: { end?: End }): void => {
      if (serial === this.#pings) this.#dispatch({ type: 'pong', ...more });
    };
    ping(this.#options.net, limit).then(
      () => answer({}),
      (error: unknown) => answer({ end: endOf(error, false) }),
    );
  }

  /** Gives all that is attached another token. */
  #renew(): void {
    const { net } = this.#options;
    const { token } = net;
    const given = (fresh: string | undefined): void => {
      for (const live of this.#lives.values()) this.#offer(live, fresh);
      this.#dispatch({ type: 'given' });
    };
    // Unless the application has given another since.
    token.get(this.#live(mainOf(this.link)?.id)?.token).then(
      (fresh) => token === net.token && given(fresh),
      (error: FairleadError) => token === net.token && this.#unrenewed(error),
    );
  }

  /** Gives it the token, if it was welcomed, one after the other: requests may overtake each other. */
  #offer(live: Live, token: string | undefined): void {
    if (live.name === undefined || live.offered) return;
    const to = this.nextCid();
    live.offered = { to, token };
    // Without one a request shows a cookie, and a WebSocket has nothing to show.
    const shown = token !== undefined || live.transport !== 'websocket';
    if (shown) live.attachment.auth(command(to, { op: 'auth', token }), token);
    // The next poll shows it, and is welcomed.
    if (!shown || !live.attachment.lasting) this.#offered(live, { op: 'reply', to }, !shown);
  }

  /** The server's answer to that. */
  #offered(live: Live, { error, expires_in: expires }: Reply, settled = true): void {
    const { token } = this.#options.net;
    const offered = live.offered?.token;
    live.offered = undefined;
    if (!error) {
      live.token = offered;
      live.uplink.granted();
    }
    // There is another by now, or soon: that is the one that counts.
    if (token.lacking) return;
    if (token.current !== offered) return this.#offer(live, token.current);
    if (error) {
      // With somebody else's token one attaches anew.
      if (error.code === 'forbidden') return this.#end(live, { kind: 'server', reason: error.message });
      if (isToken(error.code)) token.drop(offered);
      return this.#unrenewed(new FairleadError(error.code, error.message));
    }
    if (settled) this.refreshed();
    this.#dispatch({ type: 'renewed', expires: this.#life(live, expires) });
  }

  /** When its token is to be renewed: of a constant, or of a cookie, nothing is to be done about it. */
  #life({ token }: Live, expires: number | undefined): number | undefined {
    const { kept } = this.#options.net.token;
    return kept !== undefined && token === kept ? expires : undefined;
  }

  #unrenewed(error: FairleadError): void {
    this.refreshed(error);
    this.#dispatch({ type: 'renewed', error });
  }

  #attach(id: number, transport: Transport, adapted: number | null): void {
    const { net, open, emit } = this.#options;
    const { clock } = net;
    const asked = Math.max(Math.min(adapted ?? Infinity, this.#options.beat ?? Infinity), leastAsked);
    const view = new View(this.ledger);
    const live = { id, transport, view, token: net.token.current, heard: clock.now(), told: 0, head: beginning, past: 0, wait: 0 } as Live;
    // It is closed when it is none of the session's any more, and tells nothing then.
    const sink: Sink = {
      heard: () => {
        live.heard = clock.now();
        if (watched(this.link, id)) this.#dispatch({ type: 'spoke', attempt: id });
      },
      frame: (frame) => this.#frame(live, frame),
      polled: (frames, position) => this.#polled(live, frames, position),
      sent: () => live.uplink.sent(),
      unsent: (error, smaller) => live.uplink.unsent(error, smaller),
      ended: (end) => this.#end(live, end),
    };
    const token = (): string | undefined => (live.token = net.token.current ?? live.token);
    const attachment = (live.attachment = open(transport, {
      net,
      sink,
      session: this.id,
      hello: () => ({
        op: 'hello',
        session: this.id,
        token: token(),
        channels: view.hello(),
        ...(asked < Infinity && { beat: asked }),
      }),
      live,
      token,
      poll: () => view.poll(),
      wait: () => {
        // Short at first: a connection that is dead, or that there is no room for, is soon found out.
        live.wait = Math.min(this.#most, asked / 1000, live.wait + pollStep);
        this.#dispatch({ type: 'beat', attempt: id, beat: pollBeat(live) });
        return live.wait;
      },
    }));
    live.uplink = new Uplink({
      clock, pace: this.#pace, attachment, view, outbox: this.outbox, nextCid: this.nextCid,
      report: (error) => emit('error', error),
      stale: () => this.#dispatch({ type: 'stale' }),
      silent: (reason, lost) => (lost ? this.#end(live, { kind: 'dropped', deaf: true, reason }) : this.#dispatch({ type: 'doubt', attempt: id, reason })),
    });
    this.#lives.set(id, live);
  }

  #detach(live: Live | undefined, bye: boolean): void {
    if (!live) return;
    this.#lives.delete(live.id);
    live.uplink.close();
    live.view.close();
    const leaving = live.attachment.close(bye).finally(() => this.#leaving.splice(this.#leaving.indexOf(leaving), 1));
    this.#leaving.push(leaving);
  }

  #end(live: Live, end: End): void {
    if (this.#lives.get(live.id) !== live) return;
    this.#detach(live, false);
    this.#note({ type: 'ended', attempt: live.id, transport: live.transport, reason: end.reason });
    const { token } = this.#options.net;
    const { error } = end;
    const newest = live.token === token.current;
    if (error && newest && end.kind === 'server') this.refreshed(error);
    if (isToken(error?.code)) token.drop(live.token);
    this.#dispatch({ type: 'ended', attempt: live.id, end: { ...end, final: newest && !token.renewable }, heard: live.heard });
  }

  #frame(live: Live, frame: Frame): void {
    const { view, uplink } = live;
    switch (frame.op) {
      case 'welcome':
        return this.#welcome(live, frame);
      case 'proof':
        return this.#dispatch({ type: 'proof', attempt: live.id });
      case 'message': {
        const message = bare(frame);
        // Behind a long past the beats come late as well.
        if (isAfter(message.id, live.head) === false) live.past = live.told = live.heard;
        if (view.message(message)) this.#options.emit('message', message);
        return;
      }
      case 'gap':
        return view.gap(bare(frame));
      case 'beat':
        this.position = frame.id;
        live.told = live.heard;
        return view.beat(frame.id);
      case 'subscribed':
        view.subscribed(frame.channel, frame.after);
        return uplink.answered();
      case 'unsubscribed':
        return view.unsubscribed(frame.channel, new FairleadError(frame.code, frame.message));
      case 'reply':
        if (frame.error?.code === 'gone') return this.#end(live, { kind: 'dropped', reason: 'the attachment is gone' });
        return frame.to === live.offered?.to ? this.#offered(live, frame) : uplink.reply(frame);
      case 'goaway':
        return this.#dispatch({ type: 'goaway', attempt: live.id, after: frame.after_ms });
      case 'error':
        return this.#end(live, endOf(new FairleadError(frame.code, frame.message), true));
    }
  }

  #welcome(live: Live, frame: Welcome): void {
    const { attachment, id, limits } = frame;
    live.name = attachment;
    live.head = id;
    this.position = id;
    if (isAmount(limits?.frame)) this.outbox.restrict(limits.frame);
    if (isAmount(limits?.wait)) this.#most = Math.min(limits.wait, defaultWait);
    live.view.welcome(frame);
    this.#welcomed(live, frame);
    const { current, lacking } = this.#options.net.token;
    if (current !== undefined && live.token !== current) this.#offer(live, current);
    else if (!lacking) this.refreshed();
  }

  #welcomed(live: Live, { beat, transports: offered, net, expires_in }: Partial<Welcome>): void {
    const known = typeof net === 'string' ? { net, remembered: this.#options.memory.recall(net) } : {};
    const interval = typeof beat === 'number' && beat >= leastBeat && beat <= longest ? beat : defaultBeat;
    this.#dispatch({
      type: 'welcome',
      attempt: live.id,
      beat: live.attachment.lasting ? interval : pollBeat(live),
      ...(Array.isArray(offered) && { offered }),
      ...known,
      expires: this.#life(live, expires_in),
    });
    live.uplink.welcomed();
  }

  #polled(live: Live, frames: Frame[], id: string): void {
    const current = (): boolean => this.#lives.get(live.id) === live;
    const first = this.link.attempts.find((a) => a.id === live.id)?.stage === 'opening';
    // Only a session's first poll is welcomed by a frame: any other whole answer is as good.
    if (!frames.some((f) => f.op === 'welcome')) {
      // What is refused must not be taken to be served.
      for (const frame of frames) if (frame.op === 'unsubscribed') this.#frame(live, frame);
      live.view.welcome();
      if (first) this.#welcomed(live, {});
    }
    for (const frame of frames) if (current()) this.#frame(live, frame);
    if (!current()) return;
    this.position = id;
    live.told = live.heard;
    live.view.beat(id);
    if (first) this.#dispatch({ type: 'proof', attempt: live.id });
  }
}
