import type { FairleadError } from '../../src/error.ts';
import type { Gap, Message, Start, Welcome } from '../../src/frame.ts';
import { Ledger, type Sub } from '../../src/ledger.ts';
import { View } from '../../src/view.ts';

/** A subscription that notes what is done to it. */
export interface Probe extends Sub {
  readonly got: string[];
  readonly missing: Gap[];
  readonly failed: FairleadError[];
  times: number; // it was served
}

export interface Asked {
  cid: number;
  op: string;
  channel: string;
  after?: string;
  last?: number;
}

/** A ledger, and the gaps that it told of. */
export class Bench {
  readonly gaps: Gap[] = [];
  changes = 0;
  readonly ledger = new Ledger((gap) => this.gaps.push(gap), () => void this.changes++);
  #cid = 0;

  add(pattern: string, start: Start = {}): Probe {
    const sub: Probe = {
      pattern, start, at: start.after ?? null, parked: false, got: [], missing: [], failed: [], times: 0,
      deliver: (m) => void sub.got.push(m.id),
      served: () => void sub.times++,
      missed: (gap) => void sub.missing.push(gap),
      fail: (e) => void sub.failed.push(e),
    };
    this.ledger.add(sub);
    return sub;
  }

  /** The view of an attachment that asked for everything, and was welcomed when the log was at id. */
  view(id = 'a-100'): View {
    const view = new View(this.ledger);
    view.welcome(welcome(id, view.hello()));
    return view;
  }

  /** What the view's commands say. */
  ask(view: View, most = 100): Asked[] {
    return view.commands(() => ++this.#cid, most).map((c) => JSON.parse(c.text) as Asked);
  }
}

/** What a server answers to the hello that asked for these channels. */
export function welcome(id: string, channels: Record<string, Start> = {}): Welcome {
  return { op: 'welcome', session: 's', id, channels: Object.fromEntries(Object.entries(channels).map(([name, { after }]) => [name, { after: after ?? id }])) };
}

export const message = (id: string, channel = 'c'): Message => ({ id, channel, data: null, time: 0 });
