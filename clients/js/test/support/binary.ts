import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const root = new URL('../../../../', import.meta.url);

/** Builds the gateway of this checkout into a directory that is gone with this process. */
export function build(): { binary: string; dir: string } {
  const dir = mkdtempSync(join(tmpdir(), 'fairlead-js-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  const binary = join(dir, 'fairlead');
  execFileSync('go', ['build', '-o', binary, './cmd/fairlead'], { cwd: root, stdio: 'inherit' });
  return { binary, dir };
}

/** A gateway as a process of its own. Its log outlives kill(); start() again is on the same address. */
export class Binary implements AsyncDisposable {
  #address = '127.0.0.1:0';
  #process: ChildProcess | undefined;
  readonly #binary: string;
  readonly #data: string;
  readonly #flags: string[];

  constructor(built: { binary: string; dir: string }, ...flags: string[]) {
    this.#binary = built.binary;
    this.#data = mkdtempSync(join(built.dir, 'data-'));
    this.#flags = flags;
  }

  get port(): number {
    return Number(this.#address.split(':')[1]);
  }

  get url(): string {
    return `http://${this.#address}`;
  }

  async start(): Promise<this> {
    const child = spawn(this.#binary, ['serve', '--listen', this.#address, '--data', this.#data, ...this.#flags], { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#process = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const found = /http:\/\/(127\.0\.0\.1:\d+)/.exec(line);
      if (!found?.[1]) continue;
      this.#address = found[1];
      child.stdout.resume();
      return this;
    }
    throw new Error('the gateway ended before it listened');
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** A TCP proxy that cuts, or swallows, what goes through it. */
export class Wire implements AsyncDisposable {
  /** What is sent through now arrives nowhere, and nobody is told. */
  swallow = false;
  readonly #server: Server;
  readonly #pairs = new Set<Socket>();

  private constructor(port: number) {
    this.#server = createServer((near) => {
      const far = connect(port, '127.0.0.1');
      for (const [from, to] of [[near, far], [far, near]] as const) {
        this.#pairs.add(from);
        from.on('data', (chunk) => {
          if (!this.swallow) to.write(chunk);
        });
        from.on('error', () => {});
        from.on('close', () => {
          this.#pairs.delete(from);
          to.destroy();
        });
      }
    });
  }

  static async to(port: number): Promise<Wire> {
    const wire = new Wire(port);
    wire.#server.listen(0, '127.0.0.1');
    await once(wire.#server, 'listening');
    return wire;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  cut(): void {
    for (const socket of this.#pairs) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.cut();
  }
}
