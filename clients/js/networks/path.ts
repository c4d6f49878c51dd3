// How a network is put together: stages, each in front of the one before, the first in front of the gateway.

/** A running part of a way. */
export interface Stage {
  /** Where the gateway is reached through this stage. */
  readonly url: string;
  /** For a forward proxy: where it is. The url is then that of the gateway. */
  readonly proxy?: string;
  /** Begins what happens at a time of its own, counted from now. */
  begin?(): void;
  close(): Promise<void>;
}

/** Starts a stage in front of the gateway at upstream. The directory is its own. */
export type Start = (upstream: string, dir: string) => Promise<Stage>;

/** Somebody's way to a gateway, of stages that nobody else uses. */
export class Path {
  readonly #stages: readonly Stage[];
  readonly #gateway: string;

  private constructor(gateway: string, stages: readonly Stage[]) {
    this.#gateway = gateway;
    this.#stages = stages;
  }

  /** open starts the stages, the one at the gateway first; dir makes a directory for each. If one does not start, none is left. */
  static async open(gateway: string, starts: readonly Start[], dir: () => string): Promise<Path> {
    const stages: Stage[] = [];
    const path = new Path(gateway, stages);
    try {
      for (const start of starts) stages.push(await start(path.url, dir()));
    } catch (error) {
      await path.close();
      throw error;
    }
    return path;
  }

  get url(): string {
    return this.#stages.at(-1)?.url ?? this.#gateway;
  }

  get proxy(): string | undefined {
    return this.#stages.at(-1)?.proxy;
  }

  begin(): void {
    for (const stage of this.#stages) stage.begin?.();
  }

  async close(): Promise<void> {
    for (const stage of this.#stages.toReversed()) await stage.close();
  }
}
