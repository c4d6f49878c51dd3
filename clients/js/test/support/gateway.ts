import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Log } from './log.ts';
import type { Start } from '../../src/frame.ts';

interface Body {
  session?: string;
  attachment?: string;
  token?: string;
  channels?: Record<string, Start>;
  commands?: { op: string; cid?: number }[];
  wait?: number;
  beat?: number;
  welcome?: boolean;
}

/** A small gateway over HTTP (no WebSocket), on a free loopback port, that can be told to misbehave. */
export class Gateway implements AsyncDisposable {
  readonly log = new Log();
  readonly requests: { path: string; accept: string; body: Body }[] = [];
  /** Answers a request in the gateway's place, if it returns true. */
  intercept: (req: IncomingMessage, res: ServerResponse, body: Body) => boolean = () => false;
  proof = 2;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watchers: (() => void)[] = [];

  private constructor() {
    this.#server = createServer((req, res) => void this.#handle(req, res).catch((e: unknown) => res.destroy(e as Error)));
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(): Promise<Gateway> {
    const gateway = new Gateway();
    await new Promise<void>((resolve) => gateway.#server.listen(0, '127.0.0.1', resolve));
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Cuts every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Settles when a request came that check accepts. */
  async asked(check: (path: string, accept: string, body: Body) => boolean): Promise<Body> {
    for (;;) {
      const found = this.requests.find((r) => check(r.path, r.accept, r.body));
      if (found) return found.body;
      await new Promise<void>((resolve) => this.#watchers.push(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of req.setEncoding('utf8')) text += chunk as string;
    const body = (text ? JSON.parse(text) : {}) as Body;
    const url = new URL(req.url ?? '', 'http://x');
    const accept = req.headers.accept ?? '';
    this.requests.push({ path: url.pathname, accept, body });
    for (const wake of this.#watchers.splice(0)) wake();
    if (this.intercept(req, res, body)) return;
    if (url.pathname === '/v1/ping') return json(res, { id: this.log.id, time: 1 });
    if (url.pathname === '/v1/commands') return this.#commands(res, body);
    if (url.pathname.startsWith('/v1/channels/')) return this.#history(res, url);
    if (url.pathname !== '/v1/attach') return problem(res, 404, 'not_found');
    if (accept === 'text/event-stream') return this.#stream(res, body, accept, (f) => `event: x\ndata: ${JSON.stringify(f)}\n\n`);
    if (accept === 'application/x-ndjson') return this.#stream(res, body, accept, (f) => `${JSON.stringify(f)}\n`);
    return this.#poll(res, body);
  }

  readonly #attachments = new Map<string, ReturnType<Log['attach']>>();

  #stream(res: ServerResponse, body: Body, type: string, encode: (frame: object) => string): void {
    res.writeHead(200, { 'content-type': type });
    const send = (frame: object): void => void res.write(encode(frame));
    const attachment = `n1.${this.requests.length}`;
    const follower = this.log.attach(body.channels ?? {}, send, { attachment, ...(body.session && { session: body.session }) });
    this.#attachments.set(attachment, follower);
    setTimeout(() => send({ op: 'proof' }), this.proof);
    res.on('close', () => {
      this.log.followers.delete(follower);
      this.#attachments.delete(attachment);
    });
  }

  #commands(res: ServerResponse, body: Body): void {
    const follower = this.#attachments.get(body.attachment ?? '');
    json(res, { replies: (body.commands ?? []).map((c) => this.log.command(c, follower)) });
  }

  #poll(res: ServerResponse, body: Body): void {
    const channels = body.channels ?? {};
    const { starts, frames } = this.log.since(channels);
    const welcome = body.session && !body.welcome ? [] : [{ op: 'welcome', session: 's1', attachment: '', id: this.log.id, beat: 60_000, channels: starts }];
    if (frames.length > 0 || !body.wait) return json(res, { frames: [...welcome, ...frames], id: this.log.id });
    const follower = {
      channels: new Set(Object.keys(channels)),
      send: (frame: object) => {
        done();
        json(res, { frames: [...welcome, frame], id: this.log.id });
      },
    };
    const timer = setTimeout(() => {
      done();
      json(res, { frames: welcome, id: this.log.id });
    }, body.wait * 1000);
    const done = (): void => {
      clearTimeout(timer);
      this.log.followers.delete(follower);
    };
    res.on('close', done);
    this.log.followers.add(follower);
  }

  #history(res: ServerResponse, url: URL): void {
    const channel = decodeURIComponent(url.pathname.split('/')[3] ?? '');
    const limit = Number(url.searchParams.get('limit') ?? 100);
    const { frames } = this.log.since({ [channel]: { after: url.searchParams.get('after') ?? '0' } });
    const messages = frames.slice(0, limit) as { id: string }[];
    json(res, { messages, ...(frames.length > limit && { next: messages.at(-1)?.id }) });
  }
}

export function json(res: ServerResponse, value: object): void {
  const text = JSON.stringify(value);
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }).end(text);
}

export function problem(res: ServerResponse, status: number, code: string, headers: Record<string, string> = {}): void {
  res.writeHead(status, { 'content-type': 'application/problem+json', ...headers }).end(JSON.stringify({ type: 'about:blank', status, code, detail: `it is ${code}` }));
}
