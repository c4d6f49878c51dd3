import { connect, type Client, type ConnectOptions } from '../../src/client.ts';
import { FairleadError } from '../../src/error.ts';
import type { Transport } from '../../src/frame.ts';
import { VirtualClock } from './clock.ts';
import type { Gateway } from './gateway.ts';
import { scripted, type Script } from './socket.ts';

/** Waits that nobody has to wait for. */
export const quick = { base: 5, brief: 5, cap: 20, jitter: 2, calm: 0 };

export function dial(gateway: Gateway, transport: Transport | Transport[], options: ConnectOptions = {}): Client & { script: Script } {
  const script = scripted(gateway.log);
  const client = connect(gateway.url, { transports: [transport].flat(), WebSocket: script.WebSocket, timing: quick, ...options });
  return Object.assign(client, { script });
}

/** As dial(), on the whole ladder, in a time that stands still but for clock.run(): only what the network brings happens by itself. */
export function still(gateway: Gateway, mode: Script['mode'] = 'serve', options: ConnectOptions = {}): { client: Client; script: Script; clock: VirtualClock } {
  const clock = new VirtualClock(1);
  const script = scripted(gateway.log, mode);
  return { client: connect(gateway.url, { WebSocket: script.WebSocket, clock, ...options }), script, clock };
}

export const isError = (code: string) => (error: unknown) => error instanceof FairleadError && error.code === code;
