// The visitor's network, and what can be done to it. The client gets this fetch and this WebSocket for the browser's, so
// that it suffers what a refused upgrade, a buffering proxy or a dead link would do to it, and knows no more of the cause.

const CARRIERS = { 'text/event-stream': 'sse', 'application/x-ndjson': 'stream', 'application/json': 'poll' };
const lost = () => new TypeError('Failed to fetch'); // what browsers say of any network error

export class Network {
  #live = new Set(); // what is in flight: {kind, kill}
  #blocked = new Set(); // transports
  #dark = 0; // until when, in performance.now()
  carrier = ''; // the transport by which something came last
  WebSocket = socketOn(this);

  // block lets some transports through no more, and ends those that are open.
  block(transports, on) {
    for (const each of transports) on ? this.#blocked.add(each) : this.#blocked.delete(each);
    if (on) this.#kill(({ kind }) => transports.includes(kind));
  }

  // cut ends everything in flight at once; for the next ms nothing new gets through either.
  cut(ms = 0) {
    this.#dark = performance.now() + ms;
    this.#kill(() => true);
  }

  get dark() {
    return performance.now() < this.#dark;
  }

  refuses(kind) {
    return this.dark || this.#blocked.has(kind);
  }

  // enter registers something in flight and returns the way out.
  enter(kind, kill) {
    const flight = { kind, kill };
    this.#live.add(flight);
    return () => this.#live.delete(flight);
  }

  fetch = async (input, init) => {
    const request = new Request(input, init);
    const kind = request.url.endsWith('/attach') ? CARRIERS[request.headers.get('accept')] : '';
    if (this.dark) throw lost();
    const cutter = new AbortController();
    const signal = AbortSignal.any([cutter.signal, request.signal]);
    const leave = this.enter(kind, () => cutter.abort(lost()));
    // A held response is read to its end and handed on never: that is what a proxy does that collects it first.
    const held = this.#blocked.has(kind);
    const { readable, writable } = new TransformStream({
      transform: (chunk, to) => {
        if (held) return;
        this.carrier = kind || this.carrier;
        to.enqueue(chunk);
      },
    });
    try {
      const { body, status, statusText, headers } = await fetch(request, { signal });
      // Whoever reads the other end learns of an error there.
      void body?.pipeTo(writable, { signal }).catch(() => {}).finally(leave);
      if (!body) leave();
      return new Response(body && readable, { status, statusText, headers });
    } catch (error) {
      leave();
      throw error;
    }
  };

  #kill(which) {
    for (const flight of [...this.#live]) if (which(flight)) flight.kill();
  }
}

// socketOn makes a class with the face of the browser's WebSocket, whose sockets live on the given network.
function socketOn(network) {
  return class Socket extends EventTarget {
    static CONNECTING = 0;
    static OPEN = 1;
    static CLOSING = 2;
    static CLOSED = 3;
    #real = null;
    #dead = false;
    #leave;

    constructor(url, protocols) {
      super();
      this.url = String(url);
      this.#leave = network.enter('websocket', () => this.#die());
      if (network.refuses('websocket')) {
        setTimeout(() => this.#die());
        return;
      }
      this.#real = new WebSocket(url, protocols);
      this.#real.onopen = () => this.#emit(new Event('open'));
      this.#real.onmessage = ({ data }) => {
        network.carrier = 'websocket';
        this.#emit(new MessageEvent('message', { data }));
      };
      this.#real.onerror = () => this.#emit(new Event('error'));
      this.#real.onclose = ({ code, reason, wasClean }) => this.#end(new CloseEvent('close', { code, reason, wasClean }));
    }

    get readyState() {
      return this.#dead ? Socket.CLOSED : (this.#real?.readyState ?? Socket.CONNECTING);
    }
    get protocol() {
      return this.#real?.protocol ?? '';
    }
    get bufferedAmount() {
      return this.#real?.bufferedAmount ?? 0;
    }
    send(data) {
      this.#real?.send(data);
    }
    close(code, reason) {
      this.#real ? this.#real.close(code, reason) : this.#die();
    }

    // die ends the socket as a broken connection would: without a closing handshake, code 1006.
    #die() {
      if (this.#dead) return;
      this.#real?.close();
      this.#emit(new Event('error'));
      this.#end(new CloseEvent('close', { code: 1006, wasClean: false }));
    }
    #end(event) {
      if (this.#dead) return;
      this.#leave();
      this.#emit(event);
    }
    #emit(event) {
      if (this.#dead) return; // what the real socket still says after its death was not heard
      this.#dead = event.type === 'close';
      this[`on${event.type}`]?.(event);
      this.dispatchEvent(event);
    }
  };
}
