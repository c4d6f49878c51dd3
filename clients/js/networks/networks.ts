// The networks that the client has to get along with. PEERS.md says where they were met; each is a way from a client to a gateway.

import type { Transport } from '../src/index.ts';
import { Nginx } from '../stand/nginx.ts';
import { box } from './box.ts';
import { haproxy } from './haproxy.ts';
import type { Start } from './path.ts';
import { squid } from './squid.ts';
import { wire, type Moment } from './wire.ts';

export interface Network {
  name: string;
  /** From the gateway outwards. */
  stages: readonly Start[];
  /** What may carry the session at the end; without it, any. */
  final?: readonly Transport[];
  /** The longest time to the first message that is promised, in milliseconds. */
  first?: number;
  /** How long everybody is silent half-way, in milliseconds: idle times run out. */
  pause?: number;
}

/** Upgrade blocked and streams held back is the worst case: 2 s are promised. */
const worst = 2_000;

const streams: readonly Transport[] = ['sse', 'stream'];

const nginx =
  (conf: string): Start =>
  async (upstream, dir) => {
    const server = new Nginx();
    await server.start(conf, upstream, dir);
    return { url: server.url, close: () => server.stop() };
  };

const hole: Moment = { after: 3_000, strike: (wire) => wire.silence(6_000) };
const absence: Moment = { after: 3_000, strike: (wire) => void wire.leave(5_000) };

export const networks: readonly Network[] = [
  // Those that take longest come first.
  { name: 'holds the last 4 KB', stages: [box({ upgrade: 403, tail: 4_096 })], first: worst },
  { name: 'haproxy, 10 s', stages: [haproxy], final: ['websocket'], pause: 12_000 },
  { name: 'nginx, hostile', stages: [nginx('testdata/networks/nginx-hostile.conf')], final: ['poll'], first: worst, pause: 12_000 },
  { name: 'black hole, 6 s', stages: [wire({}, hole)] },
  { name: 'away, 5 s', stages: [wire({}, absence)] },
  { name: 'captive portal, 5 s', stages: [box({ portal: 5_000 })] },
  { name: 'slow', stages: [wire({ rate: 8_000, delay: 300 })] },
  { name: 'slow, upgrade 403', stages: [box({ upgrade: 403 }), wire({ rate: 8_000, delay: 300 })] },
  { name: 'resets, 3 s', stages: [wire({ lifetime: 3_000 })] },
  { name: 'resets, 3 s, upgrade 403', stages: [box({ upgrade: 403 }), wire({ lifetime: 3_000 })] },
  // So far away that each reset meets publishes that were stored and not yet acknowledged.
  { name: 'resets, 3 s, far away', stages: [wire({ lifetime: 3_000, delay: 150 })] },
  { name: 'cuts, 16 KB', stages: [wire({ most: 16_384 })] },
  // Less than all 200 messages in one answer would let nobody through who has missed them.
  { name: 'cuts, 48 KB, holds', stages: [box({ upgrade: 400, holds: 'everything' }), wire({ most: 49_152 })], final: ['poll'] },
  { name: 'direct', stages: [], final: ['websocket'] },
  { name: 'nginx, as it comes', stages: [nginx('testdata/networks/nginx-plain.conf')], final: streams },
  { name: 'nginx, for WebSocket', stages: [nginx('testdata/networks/nginx-websocket.conf')], final: ['websocket'] },
  { name: 'squid', stages: [squid], final: streams },
  { name: 'upgrade 400', stages: [box({ upgrade: 400 })], final: streams },
  { name: 'upgrade 403', stages: [box({ upgrade: 403 })], final: streams },
  { name: 'upgrade 502', stages: [box({ upgrade: 502 })], final: streams },
  { name: 'mute', stages: [box({ upgrade: 'mute' })], final: streams },
  { name: 'holds', stages: [box({ upgrade: 400, holds: 'everything' })], final: ['poll'], first: worst },
  { name: 'holds, upgrade passes', stages: [box({ holds: 'everything' })], final: ['websocket'] },
  { name: 'mute, holds', stages: [box({ upgrade: 'mute', holds: 'everything' })], final: ['poll'], first: worst },
  { name: 'content filter', stages: [box({ upgrade: 403, holds: 'text/event-stream' })], final: ['stream', 'poll'] },
  { name: 'cache', stages: [box({ upgrade: 400, holds: 'everything', caches: true })], final: ['poll'], first: worst },
  // With one for what goes up, a stream may not get a seat in time.
  { name: 'two connections left', stages: [box({ upgrade: 400 }), wire({ seats: 2 })], final: [...streams, 'poll'] },
];
