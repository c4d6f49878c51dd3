import { matches } from '../../src/pattern.ts';
import type { Start } from '../../src/frame.ts';

export interface Stored {
  id: string;
  channel: string;
  data: unknown;
  type?: string;
  key?: string;
  encoding?: string;
  time: number;
}

type Send = (frame: object) => void;

interface Follower {
  send: Send;
  channels: Set<string>;
}

interface Cmd {
  op: string;
  cid?: number;
  channel?: string;
  data?: unknown;
  key?: string;
  type?: string;
  encoding?: string;
  after?: string;
  last?: number;
}

/** The server's side of PROTOCOL.md, in memory, for one stream: what the tests' gateways and worlds stand on. */
export class Log {
  epoch = 'a';
  readonly messages: Stored[] = [];
  readonly keys = new Map<string, string>();
  readonly followers = new Set<Follower>();
  /** The messages up to this place are kept no longer. */
  trimmed = 0;
  /** Answers a command in place of the log. */
  refuse: (command: Cmd) => { code: string; message: string } | undefined = () => undefined;

  get id(): string {
    return `${this.epoch}-${this.messages.length}`;
  }

  publish(channel: string, data: unknown, more: { key?: string; type?: string; encoding?: string } = {}): { id: string; duplicate?: true } {
    const first = more.key === undefined ? undefined : this.keys.get(`${channel}/${more.key}`);
    if (first !== undefined) return { id: first, duplicate: true };
    const id = `${this.epoch}-${this.messages.length + 1}`;
    const message: Stored = { id, channel, data, ...more, time: 1_700_000_000_000 };
    this.messages.push(message);
    if (more.key !== undefined) this.keys.set(`${channel}/${more.key}`, id);
    for (const follower of [...this.followers]) {
      if ([...follower.channels].some((p) => matches(p, channel))) follower.send({ op: 'message', ...message });
    }
    return { id };
  }

  /** Attaches: welcome, what was missed, then what comes. */
  attach(channels: Record<string, Start>, send: Send, welcome: object = {}): Follower {
    const { starts, frames } = this.since(channels);
    const follower = { send, channels: new Set(Object.keys(channels)) };
    send({ op: 'welcome', session: 's1', attachment: 'n1.1', id: this.id, beat: 60_000, limits: { frame: 65_536, wait: 25 }, channels: starts, ...welcome });
    for (const frame of frames) send(frame);
    this.followers.add(follower);
    return follower;
  }

  /** Where each channel starts, and the frames since. */
  since(channels: Record<string, Start>): { starts: Record<string, { after: string }>; frames: object[] } {
    const starts: Record<string, { after: string }> = {};
    const gaps: object[] = [];
    const from = new Map<string, number>();
    for (const [pattern, start] of Object.entries(channels)) {
      let at = this.messages.length;
      if (start.after !== undefined) {
        const [epoch, seq] = start.after === '0' ? [this.epoch, 0] : [start.after.split('-')[0], Number(start.after.split('-')[1])];
        if (epoch !== this.epoch) gaps.push({ op: 'gap', channel: pattern, from: start.after, to: `${this.epoch}-0`, reason: 'replaced' });
        at = epoch === this.epoch ? seq : 0;
        if (at < this.trimmed && start.after !== '0') {
          gaps.push({ op: 'gap', channel: pattern, from: `${this.epoch}-${at}`, to: `${this.epoch}-${this.trimmed}`, reason: 'retention' });
        }
      } else if (start.last !== undefined) {
        const mine = this.messages.slice(this.trimmed).filter((m) => matches(pattern, m.channel)).slice(-start.last || this.messages.length);
        const [first] = mine;
        if (first) at = Number(first.id.split('-')[1]) - 1;
      }
      starts[pattern] = { after: `${this.epoch}-${at}` };
      from.set(pattern, at);
    }
    const first = Math.max(Math.min(...from.values()), this.trimmed);
    const messages = this.messages.slice(first).filter((m, i) => [...from].some(([pattern, at]) => first + i + 1 > at && matches(pattern, m.channel)));
    return { starts, frames: [...gaps, ...messages.map((m) => ({ op: 'message', ...m }))] };
  }

  /** Carries out a command for a follower, if there is one, and gives the reply. */
  command(command: Cmd, follower?: Follower): object {
    const { op, cid: to = null, channel = '' } = command;
    const error = this.refuse(command);
    if (error) return { op: 'reply', to, error };
    if (op === 'publish') {
      const { data, key, type, encoding } = command;
      const more = { ...(key && { key }), ...(type && { type }), ...(encoding && { encoding }) };
      return { op: 'reply', to, ok: true, ...this.publish(channel, data, more) };
    }
    if (!follower) return { op: 'reply', to, error: { code: 'gone', message: 'no attachment' } };
    if (op === 'beat') follower.send({ op: 'beat', id: this.id });
    if (op === 'unsubscribe') follower.channels.delete(channel);
    if (op === 'subscribe') {
      const start: Start = { ...(command.after !== undefined && { after: command.after }), ...(command.last !== undefined && { last: command.last }) };
      const { starts, frames } = this.since({ [channel]: start });
      follower.send({ op: 'subscribed', channel, after: starts[channel]?.after });
      for (const frame of frames) follower.send(frame);
      follower.channels.add(channel);
    }
    return { op: 'reply', to, ok: true };
  }
}
