import type { Log } from './log.ts';
import type { Start } from '../../src/frame.ts';

export interface Script {
  log: Log;
  /** What sockets do: serve as they should, or one of the ways in which networks break them. */
  mode: 'serve' | 'refuse' | 'mute' | 'no proof' | 'wrong protocol' | 'throw' | 'deaf' | 'no replies';
  sockets: ScriptedSocket[];
  /** Settles with the nth socket, from one. */
  socket(n: number): Promise<ScriptedSocket>;
  WebSocket: typeof WebSocket;
}

interface Hello {
  op: string;
  cid?: number;
  channels?: Record<string, Start>;
  session?: string;
}

/** A WebSocket whose other end is a Log in this process. Everything it does, it does in a later task, like a real one. */
export class ScriptedSocket {
  readyState = 0;
  protocol = 'fairlead.v1';
  onopen?: () => void;
  onmessage?: (event: { data: unknown }) => void;
  onclose?: (event: { code: number; reason: string }) => void;
  onerror?: () => void;
  readonly sent: Hello[] = [];
  onsend?: () => void;
  readonly #watchers: (() => void)[] = [];
  readonly url: string;
  readonly script: Script;
  #follower: ReturnType<Log['attach']> | undefined;

  constructor(script: Script, url: string) {
    if (script.mode === 'throw') throw new Error('forbidden by policy');
    this.script = script;
    this.url = url;
    script.sockets.push(this);
    if (script.mode === 'wrong protocol') this.protocol = '';
    setImmediate(() => {
      if (script.mode === 'refuse') this.drop(1006);
      else if (this.readyState === 0) {
        this.readyState = 1;
        this.onopen?.();
      }
    });
  }

  send(text: string): void {
    const frame = JSON.parse(text) as Hello;
    this.sent.push(frame);
    this.onsend?.();
    for (const wake of this.#watchers.splice(0)) wake();
    setImmediate(() => {
      if (this.readyState === 1 && this.script.mode !== 'mute') this.#answer(frame);
    });
  }

  /** Settles when that op has come up. */
  async asked(op: string): Promise<Hello> {
    for (;;) {
      const found = this.sent.find((f) => f.op === op);
      if (found) return found;
      await new Promise<void>((resolve) => this.#watchers.push(resolve));
    }
  }

  /** Delivers a frame as it is. */
  push(data: unknown): void {
    if (this.readyState === 1) this.onmessage?.({ data });
  }

  close(code = 1000): void {
    this.drop(code);
  }

  drop(code: number, reason = ''): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    if (this.#follower) this.script.log.followers.delete(this.#follower);
    setImmediate(() => this.onclose?.({ code, reason }));
  }

  #answer(frame: Hello): void {
    const send = (f: object): void => void setImmediate(() => this.push(JSON.stringify(f)));
    if (frame.op === 'hello') {
      this.#follower = this.script.log.attach(frame.channels ?? {}, send, { ...(frame.session && { session: frame.session }) });
      if (this.script.mode !== 'no proof') send({ op: 'proof' });
    } else if (frame.op !== 'bye' && this.script.mode !== 'deaf') {
      const reply = this.script.log.command(frame, this.#follower);
      // What is stored may lose its acknowledgement.
      if (this.script.mode !== 'no replies' && (frame.cid !== undefined || 'error' in reply)) send(reply);
    }
  }
}

export function scripted(log: Log, mode: Script['mode'] = 'serve'): Script {
  const waiting: (() => void)[] = [];
  const socket = async (n: number): Promise<ScriptedSocket> => {
    for (;;) {
      const found = script.sockets[n - 1];
      if (found) return found;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  };
  const script: Script = { log, mode, sockets: [], socket, WebSocket: undefined as unknown as typeof WebSocket };
  script.WebSocket = class extends ScriptedSocket {
    constructor(url: string) {
      super(script, url);
      for (const wake of waiting.splice(0)) wake();
    }
  } as unknown as typeof WebSocket;
  return script;
}
