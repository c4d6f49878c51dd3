import { endOf, type Attachment, type Context } from './attachment.ts';
import { FairleadError } from './error.ts';
import { parseFrame } from './frame.ts';
import { mostSent } from './limits.ts';
import type { End } from './link.ts';

const subprotocol = 'fairlead.v1';

/** Closes of a server that is well, and only wants us elsewhere or later (PROTOCOL.md section 2.3 and 3.1). */
const passingCodes = [1001, 1011, 1012, 1013, 4408, 4429];

/** Those that tell of the token. */
const refusals: Readonly<Record<number, string>> = { 4401: 'unauthorized', 4403: 'forbidden', 4419: 'expired' };

/** A WebSocket attachment, PROTOCOL.md section 3.1. */
export function webSocket({ net, sink, hello }: Context): Attachment {
  let socket: WebSocket | undefined;
  let over = false;
  let welcomed = false;

  const end = (how: End): void => {
    if (over) return;
    void close(false);
    sink.ended(how);
  };

  const open = async (): Promise<void> => {
    const url = new URL('v1/attach', net.base);
    url.protocol = url.protocol.replace('http', 'ws');
    const ws = (socket = new (net.WebSocket as typeof WebSocket)(url.href, [subprotocol]));
    ws.onopen = () => {
      if (over) return;
      if (ws.protocol === subprotocol) ws.send(JSON.stringify(hello()));
      else end(endOf(new FairleadError('bad_answer', `the WebSocket speaks ${ws.protocol || 'no protocol'}, not ${subprotocol}`), false));
    };
    ws.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (over) return;
      sink.heard();
      try {
        const frame = parseFrame(String(data)); // bytes are no JSON then
        welcomed ||= frame?.op === 'welcome';
        if (frame) sink.frame(frame);
      } catch (error) {
        end(endOf(error, welcomed));
      }
    };
    ws.onclose = ({ code, reason }: CloseEvent) => end(closed(code, reason, welcomed));
  };

  /** In another state what is sent is lost, and the close that follows says so. */
  const send = (text: string): void => {
    if (socket?.readyState === 1) socket.send(text);
  };

  const close = async (bye: boolean): Promise<void> => {
    if (over) return;
    over = true;
    if (bye) send('{"op":"bye"}');
    // On a dead path the closing handshake takes long: nobody waits for it.
    socket?.close(1000);
  };

  open().catch((error: unknown) => {
    // The constructor throws where a policy forbids WebSockets.
    const end2 = error instanceof FairleadError ? error : new FairleadError('network', 'the WebSocket cannot be made', { cause: error });
    end(endOf(end2, false));
  });

  return {
    duplex: true,
    lasting: true,
    room: () => mostSent,
    send: (commands) => commands.forEach(({ text }) => send(text)),
    changed: () => {},
    auth: ({ text }) => send(text),
    ask: () => send('{"op":"beat"}'),
    close,
  };
}

function closed(code: number, reason: string, welcomed: boolean): End {
  const text = `closed with ${code}${reason && `: ${reason}`}`;
  if (passingCodes.includes(code)) return { kind: 'server', reason: text };
  if (code >= 4400 && code < 4500) return { kind: 'server', reason: text, error: new FairleadError(refusals[code] ?? 'bad_request', `the WebSocket was ${text}`) };
  return { kind: welcomed ? 'dropped' : 'refused', reason: text };
}
