import assert from 'node:assert/strict';
import { connect, type Client } from '../../src/client.ts';
import type { FairleadError } from '../../src/error.ts';
import type { Gap, Start, Transport } from '../../src/frame.ts';
import { Issuer } from './issuer.ts';
import { Page, Shelf } from './page.ts';
import { Watcher } from './watcher.ts';
import { fine, hopeless, kinds, storm, type Kind } from './weather.ts';
import { World } from './world.ts';

/** Where a life is lived. */
export interface Setting {
  ladder: readonly Transport[];
  /** False: after the storm GET /v1/ping never answers, as where a filter takes it for an advertiser's. */
  pings?: boolean;
  /** The server wants tokens, which expire, are revoked, and come late or not at all. */
  tokens?: boolean;
  settled?: () => Promise<void>;
  /** Another build of it. */
  connects?: typeof connect;
}

/** What a life was like. */
export interface Story {
  /** From the end of the storm to the first message, ms. */
  recovery: number;
  /** How things stood when it ended. */
  stood: string;
  /** The most attempts in a minute, without those that the page was the cause of. */
  attempts: number;
  /** The most requests in ten seconds. */
  requests: number;
  switches: number;
  /** The most tokens that were asked for in a minute, without those that the page was the cause of. */
  tokens: number;
  /** What happened, for comparing. */
  trace: string;
}

const channels = ['a.1', 'a.2', 'b.1', 'b.2.3'];
const minute = 60_000;

/** A client's life in bad networks, and what it must have been like whatever happened. */
export class Life {
  readonly world: World;
  readonly #ladder: readonly Transport[];
  readonly #pings: boolean;
  readonly #connects: typeof connect;
  readonly #shelf = new Shelf();
  readonly #persists: boolean;
  readonly #trims: boolean;
  readonly #watchers: Watcher[] = [];
  readonly #marked: Watcher;
  readonly #gaps: Gap[] = [];
  readonly #acknowledged = new Set<number>();
  /** Of the client itself. */
  readonly #faults: FairleadError[] = [];
  #page!: Page;
  #client!: Client;
  /** By the number of a publish, the page that it was made on. */
  readonly #sent: Page[] = [];
  #switches = 0;
  #away = false;
  /** Of clients that are no more. */
  #counted = 0;
  /** At each sample: when, attempts so far, those of them that the page may have been the cause of, requests so far. */
  readonly #samples: [number, number, number, number, number][] = [];
  #asked = 0;
  #gives: 'well' | 'late' | 'never' | 'fails' | 'stale' = 'well';
  #last = '';
  #caused = 0;
  #trace = '';

  constructor(seed: number, { ladder, pings = true, tokens = false, settled, connects = connect }: Setting) {
    this.#connects = connects;
    const world = (this.world = new World(seed, settled));
    this.#ladder = ladder;
    this.#pings = pings;
    this.#persists = world.dice(0.5);
    this.#trims = world.dice(0.3);
    world.cluster.beat = world.pick([5_000, 15_000, 25_000]);
    world.cluster.busy = world.pick([0, 0, 0.3]);
    if (tokens) world.cluster.issuer = new Issuer(world.clock);
    for (let i = 0; i < 20; i++) world.log.publish(world.pick(channels), i);
    this.#marked = new Watcher(world, 'mark', { after: world.log.id });
    this.#connect();
    this.#page.turn(() => {
      this.#watch();
      this.#watch();
    });
    this.#add(this.#marked);
  }

  async live(): Promise<Story> {
    const { world } = this;
    const acts = world.pick([10, 40, 120]);
    const pace = world.pick([30, 300, 2_000, 20_000]);
    await world.clock.run(0);
    for (let i = 0; i < acts; i++) {
      world.pick(this.#acts)();
      if (world.cluster.issuer && world.dice(0.3)) world.pick(this.#trouble)();
      await world.clock.run(world.clock.random() * pace);
      this.#sample();
    }
    const stood = this.#calm();
    const recovery = await this.#recovered();
    await this.#settled();
    this.#check();
    await this.#closed();
    return { recovery, stood, ...this.#worst(), switches: this.#switches, trace: this.#trace };
  }

  readonly #publish = (): void => void this.world.log.publish(this.world.pick(channels), this.world.pick([0, 'grün', 'x'.repeat(700)]));

  readonly #token = (): string | Promise<string> => {
    const { cluster } = this.world;
    const { clock } = this.#page; // a page that is gone waits for nothing
    this.#asked++;
    if (this.#gives === 'never') return new Promise(() => {});
    if (this.#gives === 'fails') throw new Error('no token');
    if (this.#gives !== 'stale' || this.#last === '') this.#last = cluster.issuer?.issue() ?? '';
    const token = this.#last;
    return this.#gives === 'late' ? new Promise((resolve) => clock.after(clock.random() * 9_000, () => resolve(token))) : token;
  };

  /** What happens to tokens. */
  readonly #trouble: readonly (() => void)[] = [
    () => {
      const { issuer } = this.world.cluster;
      if (issuer) issuer.life = this.world.pick([300, 3_000, 12_000, 60_000, 600_000]);
    },
    () => (this.#gives = this.world.pick(['well', 'well', 'well', 'late', 'never', 'fails', 'stale'] as const)),
    () => (this.#gives = 'well'),
    () => this.world.cluster.revoke(),
    () => {
      if (!this.world.dice(0.3)) return;
      this.#caused += this.#ladder.length;
      this.#page.turn(() => this.#client.refresh());
    },
  ];

  readonly #acts: readonly (() => void)[] = [
    this.#publish,
    this.#publish,
    this.#publish,
    () => this.#up(),
    () => this.#up(),
    () => {
      const { world } = this;
      for (const kind of world.dice(0.5) ? [world.pick(kinds)] : kinds) world.change(kind, storm(kind, world.pick));
    },
    () => {
      const { world } = this;
      for (const kind of kinds) world.change(kind, fine);
    },
    () => {
      const { world } = this;
      for (const connection of [...world.connections]) if (world.dice(0.7)) world.cut(connection, world.dice(0.3));
    },
    // A black hole: what is open stays dead for ever, what is new works.
    () => {
      for (const connection of [...this.world.connections]) this.world.cut(connection, true);
    },
    () => this.#away ? this.#back() : this.#leave(),
    () => this.#back(),
    () => this.#move(),
    () => this.world.cluster.drain(this.world.pick(this.world.cluster.nodes), this.world.pick([0, 1_000, 3_000])),
    () => this.world.kill(this.world.pick(this.world.cluster.nodes), this.world.dice(0.3)),
    () => this.#tell(this.world.pick(['online', 'pageshow'] as const)),
    () => this.#freeze(),
    () => this.#reload(),
    () => {
      if (!this.world.dice(0.2)) return;
      this.#caused += this.#ladder.length;
      this.#page.turn(() => this.#client.reconnect());
    },
    () => this.#watchers.length < 12 && this.#page.turn(() => this.#watch()),
    () => {
      if (this.world.dice(0.3)) this.#page.turn(() => this.world.pick(this.#watchers).unsubscribe());
    },
    () => {
      const { log, dice, clock } = this.world;
      if (this.#trims && dice.call(this.world, 0.5)) log.trimmed += Math.floor(clock.random() * (log.messages.length - log.trimmed));
    },
  ];

  #connect(): void {
    const { world } = this;
    const page = (this.#page = new Page(world.clock));
    const session = world.dice(0.5) ? this.#client?.session : undefined;
    const client = (this.#client = this.#connects('http://gateway', {
      transports: this.#ladder, fetch: world.fetch(page), WebSocket: world.socket(page), clock: page.clock, buffer: 5, storage: this.#shelf,
      ...(world.cluster.issuer && { token: this.#token }), ...(this.#persists && { persist: this.#shelf }), ...(session !== undefined && { session }),
    }));
    client.on('gap', (gap) => this.#gaps.push(gap));
    client.on('switch', () => this.#switches++);
    // The user logs in again.
    client.on('state', ({ state }) => {
      if (state !== 'refused') return;
      this.#caused += 2 * this.#ladder.length;
      page.clock.after(2_000 * world.clock.random(), () => client.state === 'refused' && client[world.pick(['refresh', 'reconnect'] as const)]());
    });
    client.on('state', ({ state }) => (this.#trace += `${Math.round(world.clock.now())} ${state} ${client.transport}\n`));
    client.on('error', (error) => {
      if (error.code === 'internal' || error.code === 'listener') this.#faults.push(error);
    });
  }

  #watch(): void {
    const { world } = this;
    const { clock, log, pick } = world;
    const after = `a-${Math.floor(clock.random() * (log.messages.length + 1))}`;
    const start = pick<Start>([{ after }, {}, { last: Math.floor(clock.random() * 5) }]);
    const watcher = new Watcher(world, pick(['a.1', 'a.2', 'a.*', 'b.>', '>', 'a.1']), start);
    this.#watchers.push(watcher);
    this.#add(watcher);
  }

  #add(watcher: Watcher): void {
    watcher.subscribe(this.#client, this.#page);
  }

  #up(): void {
    this.#page.turn(() => {
      const n = this.#sent.push(this.#page);
      this.#client.channel('up').publish(n).then(() => this.#acknowledged.add(n), () => {});
    });
  }

  #leave(): void {
    this.#away = true;
    this.world.leave(this.world.pick(['refuse', 'swallow'] as const));
  }

  #back(): void {
    if (!this.#away) return;
    this.#away = false;
    this.world.return(this.world.pick([0, 0.5, 1]));
    if (this.world.dice(0.5)) this.#tell('online');
  }

  /** To another network, with weather of its own. */
  #move(): void {
    const { world } = this;
    world.cluster.net = world.pick(['home', 'office', 'train']);
    for (const connection of [...world.connections]) world.cut(connection, world.dice(0.5));
    for (const kind of kinds) world.change(kind, world.dice(0.3) ? storm(kind, world.pick) : fine);
    if (world.dice(0.5)) this.#tell('online');
  }

  #tell(type: 'online' | 'pageshow'): void {
    this.#caused += this.#ladder.length;
    this.#page.tell(type);
  }

  #freeze(): void {
    const page = this.#page;
    if (!this.world.dice(0.5)) return;
    page.freeze();
    this.world.clock.after(this.world.clock.random() * this.world.pick([2_000, 10_000, 90_000]), () => this.#thaw(page));
  }

  #thaw(page: Page): void {
    this.#caused += this.#ladder.length;
    page.thaw();
    if (this.world.dice(0.5)) page.tell('pageshow');
  }

  /** The page goes from one moment to the next, and another takes up what it has left. */
  #reload(): void {
    if (this.world.dice(0.5)) return;
    this.#counted += this.#client.diagnostics().count;
    this.#caused += this.#ladder.length;
    this.world.end(this.#page);
    this.#connect();
    for (const watcher of [...this.#watchers, this.#marked]) this.#add(watcher);
  }

  #sample(): void {
    const { clock, held, requests } = this.world;
    for (const fault of this.#faults) throw fault;
    const { attempts, count } = this.#client.diagnostics();
    const now = clock.now();
    this.#samples.push([now, this.#counted + count, this.#caused, requests, this.#asked]);
    assert.ok(attempts.length <= this.#ladder.length + 1, `${attempts.length} attempts at a time`);
    const open = [...held].filter(({ kind, page }) => page === this.#page && kind !== 'commands' && kind !== 'ping').length;
    assert.ok(open <= attempts.length, `${open} connections are held for ${attempts.length} attempts`);
    for (const { stage, began, transport } of attempts) {
      assert.ok(stage === 'main' || now - Math.max(began, this.#page.thawed) < 45_000, `${transport} has been ${stage} for ${now - began} ms`);
    }
  }

  /** From now on some transports work, and others never. */
  #calm(): string {
    const { world } = this;
    this.#trace += `${world.clock.now()} calm\n`;
    const good = this.#ladder.filter(() => world.dice(0.6));
    if (good.length === 0) good.push(world.pick(this.#ladder));
    this.#good = good;
    const { state, link } = { state: this.#client.state, link: this.#client.diagnostics() };
    const early = link.now - link.alive;
    if (world.cluster.issuer) world.cluster.issuer.life = world.pick([12_000, 60_000, 3_600_000]);
    this.#gives = 'well';
    world.cluster.shut.clear();
    world.cluster.busy = 0;
    // A WebSocket needs no other; and some block whatever is called ping.
    const works = (kind: Kind): boolean => (kind === 'commands' ? good[0] !== 'websocket' || world.dice(0.7) : kind === 'ping' ? this.#pings : good.includes(kind));
    for (const kind of kinds) world.change(kind, works(kind) ? fine : hopeless(kind, world.pick));
    for (const connection of [...world.connections]) if (world.weather[connection.kind] !== fine) world.cut(connection, world.dice(0.5));
    if (this.#away) world.return(world.pick([0, 0.5, 1]));
    this.#away = false;
    this.#thaw(this.#page);
    const hint = world.dice(0.3);
    if (hint) this.#tell('online');
    world.log.publish('mark', 1);
    return `${state}${hint ? ', told' : ''}${early < 10_000 ? ', soon' : ''}${link.spare > world.clock.now() ? ', sent away' : ''}`;
  }

  #good: Transport[] = [];

  async #recovered(): Promise<number> {
    const { clock, log } = this.world;
    const began = clock.now();
    const mark = log.id;
    for (let i = 0; i < 4_000 && this.#marked.got.at(-1) !== mark; i++) {
      await clock.run(100);
      if (i % 20 === 0) this.#sample();
    }
    const took = clock.now() - began;
    assert.ok(this.#marked.got.at(-1) === mark, `nothing came for ${took} ms though ${this.#good} worked: ${JSON.stringify(this.#client.diagnostics(), null, 1)}`);
    return took;
  }

  /** After a long calm the best transport that works is in use, and nothing else. */
  async #settled(): Promise<void> {
    const { world } = this;
    const { clock } = world;
    const long = world.dice(0.1);
    for (let i = 0; i < (long ? 65 : 2); i++) {
      await clock.run(minute);
      this.#sample();
    }
    if (!long) {
      this.#tell('online');
      await clock.run(minute);
    }
    // A try at something better may be under way, and the server may not know yet that a connection of the storm is dead.
    for (let i = 0; i < 4 && (this.#client.diagnostics().attempts.length > 1 || world.cluster.attachments > 1); i++) await clock.run(15_000);
    // Or a token is on its way.
    for (let i = 0; i < 5 && [...world.held].some(({ kind }) => kind === 'commands'); i++) await clock.run(1_000);
    const name = `${this.#good} of ${this.#ladder} work, after ${long ? 'an hour' : 'a hint'}`;
    const { attempts } = this.#client.diagnostics();
    assert.equal(this.#client.state, 'connected', name);
    assert.equal(this.#client.transport, this.#good[0], name);
    assert.equal(attempts.length, 1, name);
    const lasting = this.#client.transport === 'poll' ? 0 : 1;
    const held = [...world.held].filter(({ kind, page }) => page === this.#page && kind !== 'poll');
    assert.equal(held.length, lasting, `${name}: connections held`);
    assert.equal(world.cluster.attachments, lasting, `${name}: attachments`);
  }

  #check(): void {
    const up = this.world.log.messages.filter((m) => m.channel === 'up').map((m) => m.data as number);
    assert.equal(new Set(up).size, up.length, `each publish stored once: ${up}`);
    // What a page had on its way when it went, and what nobody took up, may come after what the next one sends.
    for (const page of new Set(this.#sent)) {
      const mine = up.filter((n) => this.#persists || this.#sent[n - 1] === page);
      assert.ok(mine.every((n, i) => n > (mine[i - 1] ?? 0)), `publishes stored in order: ${mine}`);
    }
    for (const [i, page] of this.#sent.entries()) {
      if (this.#persists || page === this.#page || this.#acknowledged.has(i + 1)) assert.ok(up.includes(i + 1), `publish ${i + 1} is stored`);
      if (page === this.#page) assert.ok(this.#acknowledged.has(i + 1), `publish ${i + 1} is acknowledged`);
    }
    assert.equal(this.#client.diagnostics().waiting, 0, 'every publish is acknowledged');
    for (const watcher of [...this.#watchers, this.#marked]) watcher.check(this.#gaps);
  }

  async #closed(): Promise<void> {
    const { world } = this;
    const closed = this.#client.close();
    await world.clock.run(10_000);
    await closed;
    assert.equal(this.#page.timers, 0, 'a closed client has no timers');
    assert.equal([...world.held].filter(({ page }) => page === this.#page).length, 0, 'a closed client has no connections');
  }

  #worst(): { attempts: number; requests: number; tokens: number } {
    let attempts = 0;
    let requests = 0;
    let tokens = 0;
    for (const [i, [at, count, caused, asked, given]] of this.#samples.entries()) {
      for (const [then, before, causedBefore, askedBefore, givenBefore] of this.#samples.slice(0, i)) {
        if (at - then <= minute) tokens = Math.max(tokens, given - givenBefore - (caused - causedBefore));
        if (at - then <= minute) attempts = Math.max(attempts, count - before - (caused - causedBefore));
        if (at - then <= 10_000) requests = Math.max(requests, asked - askedBefore);
      }
    }
    return { attempts, requests, tokens };
  }
}
