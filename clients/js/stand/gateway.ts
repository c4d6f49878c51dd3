import { type ChildProcess, execFileSync } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { end, root, run } from './process.ts';

/** build makes the gateway's binary from this checkout and returns its path. */
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
  #settings: readonly string[];
  #process: ChildProcess | undefined;

  /** settings are flags beside those of the address and the log. */
  constructor(binary: string, dir: string, settings: readonly string[] = []) {
    this.#binary = binary;
    this.#dir = dir;
    this.#settings = settings;
  }

  async start(): Promise<void> {
    const listen = this.url === '' ? '127.0.0.1:0' : new URL(this.url).host;
    const args = ['serve', '--listen', listen, '--data', join(this.#dir, 'data'), ...this.#settings];
    const child = run(this.#binary, args, ['ignore', 'pipe', 'pipe']);
    this.#process = child;
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error('the gateway has no output');
    stderr.pipe(createWriteStream(join(this.#dir, 'gateway.log'), { flags: 'a' }));
    for await (const line of createInterface(stdout)) {
      const url = /^fairlead listening on (https?:\S+)$/.exec(line)?.[1];
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
