import type { Body } from './cluster.ts';
import { closes } from './issuer.ts';
import type { Page } from './page.ts';
import type { World } from './world.ts';

/** The WebSocket of a page, in a world. */
export function socketOf(world: World, page: Page): typeof WebSocket {
  return class {
    readyState = 0;
    protocol = 'fairlead.v1';
    onopen?: () => void;
    onmessage?: (event: { data: string }) => void;
    onclose?: (event: { code: number; reason: string }) => void;
    #id: string | undefined;
    constructor(url: string) {
      world.urls.add(url);
    }

    readonly #connection = world.open('websocket', page, {
      broken: () => this.#closed(1006),
      accepted: () => this.#connection.up.send(0, () => page.turn(() => this.#opened())),
      // A browser does not say why.
      refused: () => {
        world.connections.delete(this.#connection);
        page.turn(() => this.#closed(1006));
      },
    });

    send(text: string): void {
      const connection = this.#connection;
      connection.up.send(text.length, () => {
        connection.used = world.clock.now();
        const frame = JSON.parse(text) as Body & { op: string };
        if (frame.op === 'hello') this.#attach(frame);
        else if (this.#id !== undefined) world.cluster.command(this.#id, frame);
      });
    }

    close(): void {
      this.readyState = 3;
      world.close(this.#connection);
    }

    #attach(hello: Body): void {
      const connection = this.#connection;
      const id = world.cluster.attach(connection.node as string, hello, {
        send: (frame) => this.#send(frame),
        end: (code) => connection.down.send(0, () => page.turn(() => this.#closed(code)), true),
      });
      if (typeof id !== 'string') {
        this.#send({ op: 'error', ...id });
        return connection.down.send(0, () => page.turn(() => this.#closed(closes[id.code])), true);
      }
      this.#id = id;
      connection.gone = () => world.cluster.gone(id);
    }

    #send(frame: object): void {
      const data = JSON.stringify(frame);
      world.push(this.#connection, data.length, (_, to) => to === data.length && this.readyState === 1 && this.onmessage?.({ data }));
    }

    #opened(): void {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.onopen?.();
    }

    #closed(code: number): void {
      if (this.readyState === 3) return;
      this.close();
      this.onclose?.({ code, reason: '' });
    }
  } as unknown as typeof WebSocket;
}
