// What a browser test needs round the browser: a gateway built from this checkout, and nginx in front of it as
// docker-compose.yml puts it there. Each is a process of its own in a directory of its own, and is ended by its own id.

import { type ChildProcess, execFileSync, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { type Browser, chromium } from 'playwright-core';

const root = resolve(import.meta.dirname, '../../..');

/** Where screenshots go; git ignores it. */
export const artefacts = join(root, 'artefacts');

/** What stands between the browser and the gateway. compose_test.go checks that compose mounts the same files. */
export const networks = {
  direct: null,
  'nginx-plain': 'testdata/networks/nginx-plain.conf',
  'nginx-websocket': 'testdata/networks/nginx-websocket.conf',
} as const;
export type Network = keyof typeof networks;

/** A directory that is gone when the process is. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), 'fairlead-browser-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function launch(): Promise<Browser> {
  mkdirSync(artefacts, { recursive: true });
  return chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', // a container's root has no other way
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** build makes the gateway's binary and returns its path. */
export function build(dir: string): string {
  const binary = join(dir, 'fairlead');
  execFileSync('go', ['build', '-o', binary, './cmd/fairlead'], { cwd: root, stdio: 'inherit' });
  return binary;
}

/** A running gateway. Its log outlives `kill`; `start` again is the same address. */
export class Gateway {
  url = '';
  #binary: string;
  #dir: string;
  #process: ChildProcess | undefined;

  constructor(binary: string, dir: string) {
    this.#binary = binary;
    this.#dir = dir;
  }

  async start(): Promise<void> {
    const listen = this.url === '' ? '127.0.0.1:0' : new URL(this.url).host;
    const args = ['serve', '--listen', listen, '--data', join(this.#dir, 'data')];
    const child = run(this.#binary, args, ['ignore', 'pipe', 'pipe']);
    this.#process = child;
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error('the gateway has no output');
    stderr.pipe(createWriteStream(join(this.#dir, 'gateway.log'), { flags: 'a' }));
    for await (const line of createInterface(stdout)) {
      const url = /^fairlead listening on (http:\S+)$/.exec(line)?.[1];
      if (url === undefined) throw new Error(`the gateway's first line is ${JSON.stringify(line)}`);
      this.url = url;
      stdout.resume(); // or the rest of what it says would stop it once the pipe is full
      return;
    }
    throw new Error(`the gateway ended: ${readFileSync(join(this.#dir, 'gateway.log'), 'utf8')}`);
  }

  /** kill ends it as a power cut would. */
  kill(): Promise<void> {
    return end(this.#process, 'SIGKILL');
  }

  stop(): Promise<void> {
    return end(this.#process, 'SIGTERM');
  }
}

/** Nginx as a private process, with one of the configurations that compose mounts, on an address of its own. */
export class Nginx {
  url = '';
  #process: ChildProcess | undefined;

  async start(conf: string, upstream: string, dir: string): Promise<void> {
    const address = `127.0.0.1:${await freePort()}`;
    const server = readFileSync(join(root, conf), 'utf8')
      .replace('listen 80;', `listen ${address};`)
      .replace('fairlead:8080', new URL(upstream).host);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${dir}/${kind};`);
    writeFileSync(
      join(dir, 'nginx.conf'),
      [
        // Workers of another user could not reach the directory.
        process.getuid?.() === 0 ? 'user root;' : '',
        `daemon off; pid ${dir}/pid; error_log ${dir}/error.log;`,
        `events {}`,
        `http { access_log ${dir}/access.log; ${temporary.join(' ')}`,
        server,
        `}`,
      ].join('\n'),
    );
    this.#process = run('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf')], 'inherit');
    this.url = `http://${address}`;
    await answers(`${this.url}/healthz`);
  }

  stop(): Promise<void> {
    return end(this.#process, 'SIGTERM');
  }
}

/** run starts a process that does not outlive this one. */
function run(program: string, args: string[], stdio: StdioOptions): ChildProcess {
  const child = spawn(program, args, { stdio });
  process.on('exit', () => child.kill('SIGKILL'));
  return child;
}

/** end sends the signal and waits; a process that will not go is killed. */
async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await gone;
  clearTimeout(timer);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** answers waits until a server does; nginx does not say when it is ready. */
async function answers(url: string): Promise<void> {
  const limit = AbortSignal.timeout(10_000);
  for (;;) {
    try {
      await fetch(url, { signal: limit });
      return;
    } catch (error) {
      if (limit.aborted) throw new Error(`${url} does not answer`, { cause: error });
      await new Promise((tick) => setTimeout(tick, 20));
    }
  }
}
