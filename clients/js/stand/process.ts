// Processes round a test: each listens on 127.0.0.1, lives in a directory of its own, and is ended by its own id.

import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The repository. */
export const root = resolve(import.meta.dirname, '../../..');

/** Where tests leave pictures and tables; git ignores it. */
export const artefacts = join(root, 'artefacts');

/** scratch makes a directory that is gone when this process is. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), 'fairlead-stand-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** run starts a process that does not outlive this one. */
export function run(program: string, args: string[], stdio: StdioOptions): ChildProcess {
  const child = spawn(program, args, { stdio });
  const kill = (): void => void child.kill('SIGKILL');
  process.on('exit', kill);
  child.on('exit', () => process.off('exit', kill));
  return child;
}

/** end sends the signal and waits; a process that will not go is killed. */
export async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await gone;
  clearTimeout(timer);
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** answers waits until the child does at the url, whatever it says: proxies do not tell when they are ready. One that does not is ended. */
export async function answers(child: ChildProcess, url: string): Promise<void> {
  const limit = AbortSignal.timeout(10_000);
  for (;;) {
    try {
      await fetch(url, { signal: limit });
      return;
    } catch (error) {
      const ended = child.exitCode ?? child.signalCode;
      if (ended !== null) throw new Error(`${child.spawnfile} ended (${ended}) before it answered at ${url}: run it by hand to see why`, { cause: error });
      if (limit.aborted) {
        await end(child, 'SIGKILL');
        throw new Error(`${child.spawnfile} does not answer at ${url}`, { cause: error });
      }
      await new Promise((tick) => setTimeout(tick, 20));
    }
  }
}
