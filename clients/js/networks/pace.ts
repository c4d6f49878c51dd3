// A slow link: a rate that all connections share, and a delay for each byte.

/** One direction of a link. */
export class Pace {
  readonly #rate: number; // bytes a millisecond
  readonly #delay: number;
  #free = 0; // when the link has sent all that was handed in, by performance.now()

  constructor(bytesPerSecond = Infinity, delay = 0) {
    this.#rate = bytesPerSecond / 1000;
    this.#delay = delay;
  }

  /** lane is for one connection: what goes through it stays in order, and its first piece comes so many milliseconds later still. */
  lane(later: number): Lane {
    return new Lane((bytes) => this.#due(bytes), later);
  }

  #due(bytes: number): number {
    this.#free = Math.max(this.#free, performance.now()) + bytes / this.#rate;
    return this.#free + this.#delay;
  }
}

/** Short enough that no connection keeps the others waiting for long. */
const piece = 512;

export class Lane {
  readonly #due: (bytes: number) => number;
  readonly #queue: { due: number; out: () => void }[] = [];
  readonly #later: number;
  #first = true;
  #last = 0;

  constructor(due: (bytes: number) => number, later: number) {
    this.#due = due;
    this.#later = later;
  }

  /** pass hands bytes to out, piece by piece, as they come through. */
  pass(bytes: Buffer, out: (piece: Buffer) => void): void {
    for (let at = 0; at < bytes.length; at += piece) this.#put(bytes.subarray(at, at + piece), out);
  }

  /** end calls out when all that was passed before has come through. */
  end(out: () => void): void {
    this.#put(Buffer.alloc(0), out);
  }

  #put(bytes: Buffer, out: (piece: Buffer) => void): void {
    this.#last = Math.max(this.#last, this.#due(bytes.length) + (this.#first ? this.#later : 0));
    this.#first = false;
    this.#queue.push({ due: this.#last, out: () => out(bytes) });
    if (this.#queue.length === 1) this.#wait();
  }

  #wait(): void {
    const next = this.#queue[0];
    if (next) setTimeout(() => this.#through(), Math.max(next.due - performance.now(), 0));
  }

  #through(): void {
    while ((this.#queue[0]?.due ?? Infinity) <= performance.now() + 1) this.#queue.shift()?.out();
    this.#wait();
  }
}
