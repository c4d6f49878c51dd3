import { connect, type ConnectOptions } from '../../src/client.ts';
import { FairleadError } from '../../src/error.ts';
import type { Transport } from '../../src/frame.ts';
import type { Gateway } from './gateway.ts';
import { scripted, type Script } from './socket.ts';

export const quick = { base: 5, jitter: 2, welcome: 2_000, proof: 2_000, dropCap: 20, calm: 0 };

export function dial(gateway: Gateway, transport: Transport | Transport[], options: ConnectOptions = {}): ReturnType<typeof connect> & { script: Script } {
  const script = scripted(gateway.log);
  const client = connect(gateway.url, { transports: [transport].flat(), WebSocket: script.WebSocket, timing: quick, ...options });
  return Object.assign(client, { script });
}

export const isError = (code: string) => (error: unknown) => error instanceof FairleadError && error.code === code;
