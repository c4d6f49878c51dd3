import type { Start, Transport } from '../../src/frame.ts';
import type { VirtualClock } from './clock.ts';
import { closes, isRefusal, notGranted, type Grant, type Issuer, type Refusal } from './issuer.ts';
import { Log } from './log.ts';

/** What a client sends: a hello, or commands. */
export interface Body {
  op?: string;
  session?: string;
  channels?: Record<string, Start>;
  attachment?: string;
  beat?: number;
  wait?: number;
  welcome?: boolean;
  token?: string;
  commands?: Command[];
}

interface Command {
  op: string;
  cid?: number;
  channel?: string;
  token?: string;
}

/** The client's end of an attachment. */
export interface Peer {
  send(frame: object): void;
  /** `code`: why, as a WebSocket says it. */
  end(code: number): void;
}

interface Attachment {
  readonly id: string;
  readonly node: string;
  readonly session: string;
  readonly peer: Peer;
  readonly follower: ReturnType<Log['attach']>;
  /** Where there is an issuer. */
  grant: Grant | undefined;
  /** Sends a beat, and the next one a beat later. */
  beat(): void;
}

const transports: readonly Transport[] = ['websocket', 'sse', 'stream', 'poll'];

/** Nodes of Fairlead over one log, PROTOCOL.md sections 2 to 4, in virtual time. */
export class Cluster {
  readonly log = new Log();
  readonly nodes = ['n1', 'n2'] as const;
  /** Those that take nobody. */
  readonly shut = new Set<string>();
  /** The hint of the network that the clients are on. */
  net = 'home';
  /** Unless the client asks for another. */
  beat = 25_000;
  /** Whose tokens are wanted. */
  issuer: Issuer | undefined;
  /** How often who attached. */
  attached = 0;
  /** The chance that a subscribe command is refused for now. */
  busy = 0;
  readonly #attachments = new Map<string, Attachment>();
  readonly #clock: VirtualClock;
  #count = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  /** How many there are, as far as the servers know. */
  get attachments(): number {
    return this.#attachments.size;
  }

  /** One that takes clients. */
  node(): string | undefined {
    const open = this.nodes.filter((n) => !this.shut.has(n));
    return open[Math.floor(this.#clock.random() * open.length)];
  }

  /** What the hello's token grants, as far as there is an issuer, and which of its channels; or why it is refused. */
  admit({ token, channels = {} }: Body): { grant: Grant | undefined; channels: Record<string, Start>; denied: string[] } | Refusal {
    const grant = this.issuer?.read(token);
    if (grant && isRefusal(grant)) return grant;
    const all = Object.entries(channels);
    const denied = Object.keys(channels).filter((c) => grant?.denies.includes(c));
    if (denied.length > 0 && denied.length === all.length) return notGranted;
    return { grant, channels: Object.fromEntries(all.filter(([c]) => !denied.includes(c))), denied };
  }

  /** Attaches, or tells why not. */
  attach(node: string, body: Body, peer: Peer): string | Refusal {
    const admitted = this.admit(body);
    if ('code' in admitted) return admitted;
    const { grant, channels, denied } = admitted;
    this.attached++;
    const id = `${node}.${++this.#count}`;
    const session = body.session ?? `s${this.#count}`;
    const beat = body.beat === undefined ? this.beat : Math.min(Math.max(body.beat, 5_000), 60_000);
    const follower = this.log.attach(channels, peer.send, { attachment: id, session, beat, net: this.net, transports, ...this.#expiry(grant) });
    for (const channel of denied) peer.send({ op: 'unsubscribed', channel, ...notGranted });
    let cancel = (): void => {};
    const attachment: Attachment = {
      id, node, session, peer, follower, grant,
      beat: () => {
        cancel();
        if (!this.#attachments.has(id)) return;
        peer.send({ op: 'beat', id: this.log.id });
        cancel = this.#clock.after(beat, attachment.beat);
      },
    };
    this.#attachments.set(id, attachment);
    this.#clock.after(250, () => this.#attachments.has(id) && peer.send({ op: 'proof' }));
    cancel = this.#clock.after(beat, attachment.beat);
    this.#watch(attachment);
    return id;
  }

  /** What was granted is no more. */
  revoke(): void {
    this.issuer?.revoke();
    for (const attachment of [...this.#attachments.values()]) this.#watch(attachment);
  }

  #expiry(grant: Grant | undefined): object {
    return grant && this.issuer ? { expires_in: this.issuer.expiresIn(grant) } : {};
  }

  /** Ends it with its grant. */
  #watch(attachment: Attachment): void {
    const { issuer } = this;
    const { grant, peer, id } = attachment;
    if (!issuer || !grant || !this.#attachments.has(id)) return;
    const left = grant.until + issuer.grace - this.#clock.now();
    if (!grant.revoked && left > 0) return void this.#clock.after(left, () => attachment.grant === grant && this.#watch(attachment));
    const code = grant.revoked ? 'unauthorized' : 'expired';
    peer.send({ op: 'error', code, message: `the token is ${code}` });
    peer.end(closes[code]);
    this.gone(id);
  }

  /** The command auth. */
  #renew(attachment: Attachment, token: string | undefined): object {
    const grant = this.issuer?.read(token);
    if (grant && isRefusal(grant)) return { op: 'reply', error: grant };
    if (grant?.sub !== attachment.grant?.sub) return { op: 'reply', error: { code: 'forbidden', message: 'the token has another sub' } };
    attachment.grant = grant;
    for (const channel of attachment.follower.channels) {
      if (!grant?.denies.includes(channel)) continue;
      attachment.follower.channels.delete(channel);
      attachment.peer.send({ op: 'unsubscribed', channel, ...notGranted });
    }
    this.#watch(attachment);
    return { op: 'reply', ok: true, ...this.#expiry(grant) };
  }

  /** The attachment is over: its connection is, or its node. */
  gone(id: string): void {
    const attachment = this.#attachments.get(id);
    if (!attachment) return;
    this.#attachments.delete(id);
    this.log.followers.delete(attachment.follower);
  }

  /** A command that came on its attachment. */
  command(id: string, command: Command): void {
    const attachment = this.#attachments.get(id);
    const reply = attachment && this.#run(command, attachment, attachment.grant);
    if (reply && (command.cid !== undefined || 'error' in reply)) attachment.peer.send({ ...reply, to: command.cid ?? null });
  }

  /** POST /v1/commands. */
  commands({ session, attachment, token, commands = [] }: Body): object | Refusal {
    const grant = this.issuer?.read(token);
    if (grant && isRefusal(grant)) return grant;
    const found = this.#attachments.get(attachment ?? '');
    const mine = found?.session === session ? found : undefined;
    return { replies: commands.map((c) => ({ ...this.#run(c, mine, grant, token), to: c.cid ?? null })) };
  }

  /** A poll; gives what ends it, or why it is refused. */
  poll(body: Body, answer: (value: object) => void): (() => void) | Refusal {
    const admitted = this.admit(body);
    if ('code' in admitted) return admitted;
    const { channels, grant, denied } = admitted;
    const { starts, frames: news } = this.log.since(channels);
    const frames = [...denied.map((channel) => ({ op: 'unsubscribed', channel, ...notGranted })), ...news];
    const session = `s${++this.#count}`;
    const welcome =
      body.session && !body.welcome
        ? []
        : [{ op: 'welcome', session, attachment: '', id: this.log.id, beat: this.beat, net: this.net, transports, channels: starts, ...this.#expiry(grant) }];
    const done = (more: readonly object[]): void => answer({ frames: [...welcome, ...more], id: this.log.id });
    if (frames.length > 0 || !body.wait) {
      done(frames);
      return () => {};
    }
    const over = (): void => {
      cancel();
      this.log.followers.delete(follower);
    };
    const follower = {
      channels: new Set(Object.keys(channels)),
      send: (frame: object) => {
        over();
        done([frame]);
      },
    };
    const cancel = this.#clock.after(Math.min(body.wait, 25) * 1_000, () => {
      over();
      done([]);
    });
    this.log.followers.add(follower);
    return over;
  }

  /** A node asks its clients to leave, and ends what is left a while later. */
  drain(node: string, ms: number): void {
    this.shut.add(node);
    for (const { id, peer } of this.#of(node)) {
      const after = Math.floor(this.#clock.random() * ms);
      peer.send({ op: 'goaway', after_ms: after, reason: 'drain' });
      this.#clock.after(this.#clock.random() < 0.5 ? after : ms, () => {
        if (this.#attachments.has(id)) peer.end(1012);
        this.gone(id);
      });
    }
    this.#clock.after(ms + 1_000 + this.#clock.random() * 5_000, () => this.shut.delete(node));
  }

  /** A node is no more, and comes back. */
  kill(node: string): void {
    this.shut.add(node);
    for (const { id } of this.#of(node)) this.gone(id);
    this.#clock.after(500 + this.#clock.random() * 10_000, () => this.shut.delete(node));
  }

  #of(node: string): Attachment[] {
    return [...this.#attachments.values()].filter((a) => a.node === node);
  }

  #run(command: Command, attachment: Attachment | undefined, grant: Grant | undefined, requested?: string): object {
    const { op, token = requested } = command;
    if (op === 'auth' && attachment) return this.#renew(attachment, token);
    const known = this.issuer?.read(grant?.token);
    if (known && isRefusal(known) && op !== 'bye') return { op: 'reply', error: known };
    if (op === 'subscribe' && grant?.denies.includes(command.channel ?? '')) return { op: 'reply', error: notGranted };
    if (op === 'subscribe' && this.#clock.random() < this.busy) return { op: 'reply', error: { code: 'unavailable', message: 'not now' } };
    if (!attachment || (op !== 'beat' && op !== 'bye')) return this.log.command(command, attachment?.follower);
    if (op === 'beat') attachment.beat();
    else {
      this.gone(attachment.id);
      attachment.peer.end(1000);
    }
    return { op: 'reply', ok: true };
  }
}
