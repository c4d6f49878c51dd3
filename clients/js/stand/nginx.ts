import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { answers, end, freePort, root, run } from './process.ts';

/** Nginx as a private process, with one server of testdata/networks, on an address of its own. */
export class Nginx {
  url = '';
  #process: ChildProcess | undefined;

  /** start takes the configuration's path below the repository, and a directory for nginx alone. */
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
    await answers(this.#process, `${this.url}/healthz`);
  }

  stop(): Promise<void> {
    return end(this.#process, 'SIGTERM');
  }
}
