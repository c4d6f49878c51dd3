import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { answers, end, freePort, root, run } from '../stand/process.ts';
import type { Start } from './path.ts';

/** haproxy as a private process, with testdata/networks/haproxy.cfg. */
export const haproxy: Start = async (upstream, dir) => {
  const address = `127.0.0.1:${await freePort()}`;
  const conf = readFileSync(join(root, 'testdata/networks/haproxy.cfg'), 'utf8')
    .replace('127.0.0.1:80', address)
    .replace('fairlead:8080', new URL(upstream).host);
  const file = join(dir, 'haproxy.cfg');
  writeFileSync(file, conf);
  const child = run('haproxy', ['-db', '-q', '-f', file], 'inherit');
  const url = `http://${address}`;
  await answers(child, `${url}/healthz`);
  return { url, close: () => end(child, 'SIGTERM') };
};
