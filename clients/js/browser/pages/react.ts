// A component under StrictMode, told what to do by its inputs and telling what it has by its elements.

import { Activity, createElement as h, StrictMode, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { connect, type ConnectOptions, type Message } from '../../src/index.ts';
import { useChannel, useConnection, type ChannelOptions } from '../../src/react.ts';

const search = new URLSearchParams(location.search);
const client = connect(undefined, JSON.parse(search.get('connect') ?? '{}') as ConnectOptions);
const options = JSON.parse(search.get('channel') ?? '{}') as ChannelOptions;

/** What reached onMessage, by channel. */
const seen: Record<string, unknown[]> = {};

function Messages({ name }: { name: string | null }) {
  const renders = useRef(new Set<unknown>());
  const take = (message: Message): void => void (seen[message.channel] ??= []).push(message.data);
  const { messages, ready, error, gap, publish } = useChannel(client, name, { ...options, onMessage: take });
  renders.current.add(messages);
  return h(
    'section', null,
    h('output', { id: 'messages' }, JSON.stringify(messages.map((m) => m.data))),
    h('output', { id: 'ready' }, String(ready)),
    h('output', { id: 'error' }, error?.code ?? 'none'),
    h('output', { id: 'gap' }, gap ? `${gap.channel} ${gap.reason}` : 'none'),
    h('output', { id: 'versions' }, renders.current.size),
    h('button', { id: 'say', onClick: () => void publish('said') }, 'say'),
  );
}

function State() {
  const { state, transport, reason } = useConnection(client);
  const states = useRef<string[]>([]);
  if (states.current.at(-1) !== state) states.current.push(state);
  return h('p', null, h('output', { id: 'state' }, state), h('output', { id: 'transport' }, transport), h('output', { id: 'reason' }, reason),
    h('output', { id: 'states' }, states.current.join(' ')));
}

function Page() {
  const [name, setName] = useState(search.get('name') ?? '');
  const [mounted, setMounted] = useState(true);
  const [shown, setShown] = useState(true);
  return h(
    'main', null,
    h('input', { id: 'name', value: name, onChange: (event: { target: HTMLInputElement }) => setName(event.target.value) }),
    h('input', { id: 'mounted', type: 'checkbox', checked: mounted, onChange: () => setMounted(!mounted) }),
    h('input', { id: 'shown', type: 'checkbox', checked: shown, onChange: () => setShown(!shown) }),
    h(State),
    mounted && h(Activity, { mode: shown ? 'visible' : 'hidden', children: h(Messages, { name: name || null }) }),
  );
}

createRoot(document.querySelector('#root')!).render(h(StrictMode, null, h(Page)));
Object.assign(globalThis, { seen, client });
