import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Transport } from '../src/frame.ts';
import type { Body } from './support/cluster.ts';
import { Holder, upTo } from './support/holder.ts';

/*
 * The application gives a new token, as a string, while the old one ends: whatever comes first, the new one counts, nothing is lost
 * or stored twice, and no attachment ends that the server has not ended.
 */

/** What happened, in order: the new token was `given`, a command was refused as `late`, `auth` was sent, and answered, the server `ended` the attachment. */
type Happening = 'given' | 'late' | 'auth' | 'answer' | 'ended';

/** Holds a client by a token that ends at `end`, with a grace; refreshes it at `at`. What happened, each the first time. */
async function cross(transport: Transport, at: number, grace: number, delay: number, answers: number): Promise<Happening[]> {
  const old = 'secret-1-0';
  const h = new Holder([transport], { token: old });
  const { world, issuer, client } = h;
  const { cluster, clock } = world;
  const end = 2_000;
  const happened: Happening[] = [];
  const note = (what: Happening): void => void (happened.includes(what) || happened.push(what));
  issuer.made.push({ token: old, until: end, sub: 'ann', denies: [], revoked: false });
  issuer.grace = grace;
  const fresh = issuer.issue();
  world.change(transport, { ...world.weather[transport], delay });
  world.change('commands', { ...world.weather.commands, delay: answers });
  // What the page sends and what it is told, as it passes.
  const { attach, commands, command } = cluster;
  const up = ({ op, token }: { op: string; token?: string }): void => void (op === 'auth' && token === fresh && note('auth'));
  const down = (frame: object): void => {
    const { op, code, error, ok, to, expires_in: expires } = frame as { op?: string; code?: string; error?: { code: string }; ok?: boolean; to?: unknown; expires_in?: number };
    if (op === 'error' && code === 'expired') note('ended');
    if (error?.code === 'expired' && to !== undefined) note('late');
    if (ok && expires !== undefined) note('answer');
  };
  cluster.attach = (node, body, peer) => attach.call(cluster, node, body, { ...peer, send: (frame) => (down(frame), peer.send(frame)) });
  cluster.command = (id, frame) => (up(frame as { op: string }), command.call(cluster, id, frame));
  cluster.commands = (body: Body) => {
    body.commands?.forEach((c) => up(c as { op: string }));
    const answer = commands.call(cluster, body);
    if ('code' in answer) note('late');
    else for (const reply of (answer as { replies: object[] }).replies) down(reply);
    return answer;
  };
  const inbox = h.inbox('c');
  await h.run(1_000);
  const acks: Promise<unknown>[] = [];
  let refreshed: Promise<void> | undefined;
  let known = 0; // that the old one has ended, before there was another: it was a constant
  for (; clock.now() < 4_000; await h.run(20)) {
    if (clock.now() >= at && !refreshed) {
      note('given');
      known = h.errors.length;
      refreshed = client.refresh(fresh);
      refreshed.catch(() => {});
    }
    if (clock.now() < 3_000 && clock.now() % 60 === 0) acks.push(client.channel('c').publish(acks.length + 1));
  }
  await h.run(2_000);
  const told = `${transport}, given at ${at}, grace ${grace}: ${happened}`;
  const settled = (what: Promise<unknown> | undefined): Promise<unknown> => Promise.race([what?.then(() => 'settled'), new Promise((resolve) => setImmediate(resolve))]);
  assert.equal(await settled(Promise.all(acks)), 'settled', told);
  assert.equal(await settled(refreshed), 'settled', told);
  // What is refused for the moment may be overtaken by what is under way.
  const stored = world.log.messages.map((m) => m.data as number);
  assert.deepEqual(stored.toSorted((a, b) => a - b), upTo(acks.length), told);
  assert.deepEqual(inbox.data, stored, told);
  assert.equal(h.errors.length, known, told);
  assert.equal(client.state, 'connected', told);
  if (transport !== 'poll' && !happened.includes('ended')) assert.deepEqual([h.states, cluster.attached, client.diagnostics().count], [['connecting', 'connected'], 1, 1], told);
  assert.ok(client.diagnostics().count <= 2, told);
  issuer.shown.clear();
  const last = client.channel('c').publish('last');
  await h.run(1_000);
  await last;
  h.unblamed();
  await h.close();
  assert.ok(!issuer.shown.has(old), told);
  return happened;
}

/** What must have been seen to come before what. */
const lasting = ['given auth answer', 'given late auth answer', 'late given auth answer', 'given ended', 'late ended given'];
const orders = { websocket: lasting, sse: lasting, stream: lasting, poll: ['given', 'given late', 'late given'] };

describe('a token that is given while the old one ends', () => {
  for (const transport of ['websocket', 'sse', 'stream', 'poll'] as const) {
    test(`${transport}: counts, whatever comes first`, async () => {
      const seen = new Set<string>();
      for (const [grace, delay, answers] of [[0, 5, 5], [0, 5, 150], [0, 150, 5], [100, 20, 20], [100, 60, 200]] as const) {
        for (let at = 1_860; at <= 2_220; at += 40) seen.add((await cross(transport, at, grace, delay, answers)).join(' '));
      }
      for (const order of orders[transport]) assert.ok([...seen].some((s) => s.startsWith(order)), `${order} is not among ${[...seen].join('; ')}`);
    });
  }
});
