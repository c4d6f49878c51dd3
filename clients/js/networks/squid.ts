import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { answers, end, freePort, root, run } from '../stand/process.ts';
import type { Start } from './path.ts';

/** squid as a private process, with testdata/networks/squid.conf. It stands beside the way: clients have to ask it. */
export const squid: Start = async (upstream, dir) => {
  const address = `127.0.0.1:${await freePort()}`;
  const conf = readFileSync(join(root, 'testdata/networks/squid.conf'), 'utf8').replace('127.0.0.1:3128', address);
  const proxy = `http://${address}`;
  const file = join(dir, 'squid.conf');
  writeFileSync(file, conf);
  // Squids of one service name share memory, and one that was killed leaves it behind for the next to stumble over.
  const child = run('squid', ['-N', '-n', `fairlead${new URL(proxy).port}`, '-f', file], 'ignore');
  await answers(child, proxy);
  return { url: upstream, proxy, close: () => end(child, 'SIGTERM') };
};
