import { parentPort, workerData } from 'node:worker_threads';
import { Life, type Setting, type Story } from './life.ts';

/** What a worker is to do: lives of these seeds. */
export interface Lives extends Pick<Setting, 'ladder' | 'pings' | 'tokens'> {
  first: number;
  count: number;
}

/** The stories of lives that went well, and what was wrong with the others. */
export interface Told {
  stories: (Omit<Story, 'trace'> & { seed: number })[];
  failed: { seed: number; error: string }[];
}

const { first, count, ...setting } = workerData as Lives;
const told: Told = { stories: [], failed: [] };
for (let seed = first; seed < first + count; seed++) {
  try {
    const { trace: _, ...story } = await new Life(seed, setting).live();
    told.stories.push({ seed, ...story });
  } catch (error) {
    told.failed.push({ seed, error: (error as Error).stack ?? String(error) });
  }
}
parentPort?.postMessage(told);
