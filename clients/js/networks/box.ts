// A fault-injecting HTTP proxy: what boxes on the way do to requests and responses that they look into.

import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { pipeline, Transform } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { Stage, Start } from './path.ts';

export interface Faults {
  /** What becomes of a WebSocket handshake: it passes unless it is answered with a status, or passes and no frame follows it. */
  upgrade?: 400 | 403 | 502 | 'mute';
  /** Which responses are held back until they are complete: one that never ends never arrives. */
  holds?: 'everything' | 'text/event-stream';
  /** So many bytes of each response are held back until it ends. */
  tail?: number;
  /** What was once answered to a GET without Cache-Control is answered for ever. */
  caches?: boolean;
  /** Every request is sent to a page of its own for so many milliseconds. */
  portal?: number;
}

/** A whole answer, kept. */
interface Kept {
  status: number;
  headers: NodeJS.Dict<string | string[]>;
  body: Buffer;
}

class Box implements Stage {
  readonly #upstream: URL;
  readonly #faults: Faults;
  readonly #server: Server;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #sockets = new Set<Duplex>();
  readonly #cache = new Map<string, Kept>();
  #portalUntil = 0;

  constructor(upstream: string, faults: Faults) {
    this.#upstream = new URL(upstream);
    this.#faults = faults;
    this.#server = createServer((req, res) => this.#request(req, res));
    this.#server.on('upgrade', (req, near, head) => this.#upgrade(req, near, head));
    this.#server.on('connection', (socket) => this.#own(socket));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  begin(): void {
    this.#portalUntil = performance.now() + (this.#faults.portal ?? 0);
  }

  async close(): Promise<void> {
    this.#agent.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #own(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {}); // close follows
  }

  #request(req: IncomingMessage, res: ServerResponse): void {
    if (performance.now() < this.#portalUntil) return portal(req, res);
    const kept = req.method === 'GET' ? this.#cache.get(req.url ?? '') : undefined;
    if (kept) return void res.writeHead(kept.status, kept.headers).end(kept.body);
    const { hostname: host, port } = this.#upstream;
    const headers = { ...req.headers };
    delete headers.connection;
    const asked = request({ agent: this.#agent, host, port, method: req.method, path: req.url, headers });
    asked.on('response', (response) => this.#respond(req, response, res));
    asked.on('error', () => res.destroy());
    res.on('close', () => res.writableFinished || asked.destroy());
    pipeline(req, asked, () => {});
  }

  #respond(req: IncomingMessage, response: IncomingMessage, res: ServerResponse): void {
    const { holds, tail, caches } = this.#faults;
    const type = response.headers['content-type'] ?? '';
    if (holds === 'everything' || (holds !== undefined && type.startsWith(holds))) return this.#hold(req, response, res, caches);
    res.writeHead(response.statusCode ?? 502, passed(response));
    if (tail === undefined) {
      res.flushHeaders();
      return void pipeline(response, res, () => {});
    }
    pipeline(response, keepBack(tail), res, () => {});
  }

  /** Gives a response once it is whole; one that breaks off is no response. */
  #hold(req: IncomingMessage, response: IncomingMessage, res: ServerResponse, caches = false): void {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('error', () => res.destroy());
    response.on('end', () => {
      const kept = { status: response.statusCode ?? 502, headers: passed(response), body: Buffer.concat(chunks) };
      kept.headers['content-length'] = String(kept.body.length);
      if (caches && req.method === 'GET' && kept.status === 200 && !('cache-control' in kept.headers)) this.#cache.set(req.url ?? '', kept);
      res.writeHead(kept.status, kept.headers).end(kept.body);
    });
  }

  #upgrade(req: IncomingMessage, near: Duplex, head: Buffer): void {
    const { upgrade } = this.#faults;
    if (performance.now() < this.#portalUntil) return refuse(near, '302 Found', 'Location: /portal\r\n');
    if (typeof upgrade === 'number') return refuse(near, refusals[upgrade]);
    const far = connect({ host: this.#upstream.hostname, port: Number(this.#upstream.port), noDelay: true });
    this.#own(far);
    far.write(`${req.method} ${req.url} HTTP/1.1\r\n${pairs(req.rawHeaders)}\r\n`);
    far.write(head);
    near.on('close', () => far.destroy());
    if (upgrade === 'mute') return mute(near, far);
    far.on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  }
}

export function box(faults: Faults): Start {
  return (upstream) => new Box(upstream, faults).start();
}

const refusals = { 400: '400 Bad Request', 403: '403 Forbidden', 502: '502 Bad Gateway' };

function refuse(near: Duplex, status: string, headers = ''): void {
  near.end(`HTTP/1.1 ${status}\r\n${headers}Connection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** Passes the answer to the handshake, and not a byte after it, either way; the socket stays open. */
function mute(near: Duplex, far: Socket): void {
  let seen = Buffer.alloc(0);
  near.resume();
  const listen = (chunk: Buffer): void => {
    seen = Buffer.concat([seen, chunk]);
    const end = seen.indexOf('\r\n\r\n');
    if (end < 0) return;
    near.write(seen.subarray(0, end + 4));
    far.off('data', listen).resume();
  };
  far.on('data', listen);
}

function portal(req: IncomingMessage, res: ServerResponse): void {
  req.resume();
  if (req.url === '/portal') res.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Welcome</title>Accept our terms.');
  else res.writeHead(302, { location: '/portal', 'content-type': 'text/html' }).end('<a href="/portal">Sign in</a>');
}

/** What a proxy passes on: the framing is this connection's own. */
function passed(response: IncomingMessage): NodeJS.Dict<string | string[]> {
  const headers = { ...response.headers };
  for (const name of ['connection', 'keep-alive', 'transfer-encoding']) delete headers[name];
  return headers;
}

/** keepBack gives what comes, except the last so many bytes, until the end. */
function keepBack(bytes: number): Transform {
  let held = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      held = Buffer.concat([held, chunk]);
      const give = Math.max(held.length - bytes, 0);
      const out = held.subarray(0, give);
      held = held.subarray(give);
      done(null, out.length > 0 ? out : undefined);
    },
    flush: (done) => done(null, held),
  });
}

function pairs(raw: readonly string[]): string {
  return Array.from({ length: raw.length / 2 }, (_, i) => `${raw[2 * i]}: ${raw[2 * i + 1]}\r\n`).join('');
}
