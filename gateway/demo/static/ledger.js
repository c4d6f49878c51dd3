// The ledger counts what the client library delivers, and knows what it owed: messages whose ids the server gave us, and
// the numbers of bursts. It is bounded: a room may stay open for days.

const KEEP = 20_000;

export class Ledger {
  received = 0;
  repeated = 0;
  disordered = 0;
  #seen = new Set();
  #owed = new Set();
  #bursts = new Map();
  #last = { epoch: '', seq: 0 };
  #waiting = new Set();

  // deliver enters a message and says whether it is new.
  deliver(id) {
    if (this.#seen.has(id)) {
      this.repeated++;
      return false;
    }
    const { epoch, seq } = parse(id);
    // Ids of different epochs have no order.
    if (epoch === this.#last.epoch && seq < this.#last.seq) this.disordered++;
    else this.#last = { epoch, seq };
    this.received++;
    this.#seen.add(id);
    this.#owed.delete(id);
    if (this.#seen.size > KEEP) this.#seen.delete(this.#seen.values().next().value);
    for (const check of this.#waiting) check();
    return true;
  }

  has(id) {
    return this.#seen.has(id);
  }

  // owe says that the server has stored a message, so that it must come.
  owe(id) {
    if (!this.#seen.has(id)) this.#owed.add(id);
  }

  // number enters one of a burst's numbers. Those before the first that came are not owed: we may have joined late.
  number(burst, n) {
    const entry = this.#bursts.get(burst) ?? { first: n, top: n, seen: new Set() };
    this.#bursts.set(burst, entry);
    entry.seen.add(n);
    entry.first = Math.min(entry.first, n);
    entry.top = Math.max(entry.top, n);
    if (this.#bursts.size > 100) this.#bursts.delete(this.#bursts.keys().next().value);
  }

  // missing is what was passed over: something later has come. One message may be known by id and by number, so the two
  // counts are not added.
  get missing() {
    let ids = 0;
    for (const id of this.#owed) {
      const { epoch, seq } = parse(id);
      if (epoch === this.#last.epoch && seq < this.#last.seq) ids++;
    }
    let numbers = 0;
    for (const { first, top, seen } of this.#bursts.values()) numbers += top - first + 1 - seen.size;
    return Math.max(ids, numbers);
  }

  // until resolves when all ids have been delivered, or after ms.
  until(ids, ms) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve();
      };
      const check = () => ids.every((id) => this.#seen.has(id)) && done();
      const timer = setTimeout(done, ms);
      this.#waiting.add(check);
      check();
    });
  }
}

function parse(id) {
  const [epoch, seq] = id.split('-');
  return { epoch, seq: Number(seq) };
}
