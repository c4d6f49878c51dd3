import { connect } from '/v1/client.js';
import { Ledger } from './ledger.js';
import { Network } from './network.js';

const BURST = 50;
const PACE = 40; // ms between a burst's messages: slow enough to cut it in the middle
const KEEP = { items: 200, rows: 12, bars: 60, transports: 10 };

const $ = (id) => document.getElementById(id);
const random = () => crypto.getRandomValues(new Uint32Array(4)).join('-');

// Text only ever enters the page as text, never as markup: what others say is not to be trusted.
function el(name, props = {}, ...children) {
  const { by, ...rest } = props;
  const element = Object.assign(document.createElement(name), rest);
  if (by) element.dataset.by = by;
  element.append(...children);
  return element;
}
function trim(list, keep, end = 'firstElementChild') {
  while (list.childElementCount > keep) list[end].remove();
}

// Who and where

const params = new URLSearchParams(location.search);
const room = (params.get('room') ?? '').replace(/[^\w-]+/g, '-').slice(0, 40) || 'harbour';
const channelName = `demo.${room}`;
const messagesURL = `/v1/channels/${channelName}/messages`;
const me = (sessionStorage.me ??= random());
const any = (words) => words.split(' ')[Math.floor(Math.random() * words.split(' ').length)];
sessionStorage.nick ??= localStorage.nick ?? `${any('Calm Bold Grey Merry Salty Swift Wily')} ${any('Avocet Curlew Dunlin Gannet Heron Osprey Petrel Puffin Skua Tern')}`;

$('room-name').textContent = room;
$('another').href = `?room=${room}`;
const curl = (as = '') => `curl${as} -d 'ahoy' ${location.origin}${messagesURL}`;
$('curl').textContent = curl();
document.title = `${room} · Fairlead`;
$('nick').value = sessionStorage.nick;
$('nick').addEventListener('change', () => {
  sessionStorage.nick = localStorage.nick = $('nick').value.trim() || sessionStorage.nick;
  $('nick').value = sessionStorage.nick;
});

// The line

const network = new Network();
const ledger = new Ledger();
const client = connect(location.origin, { fetch: network.fetch, WebSocket: network.WebSocket, storage: null }); // no grudges
const channel = client.channel(channelName);
const joined = Date.now();
let clock = { offset: 0, rtt: Infinity }; // the server's clock less ours, by the quickest ping so far
let token = ''; // what the visitor has shown, for as long as the page lives
let loss = null; // where the log was when the line broke, until it is back
const sent = new Map(); // key -> when, of our own messages that have not come back

const bearer = () => (token ? { authorization: `Bearer ${token}` } : {});
const serverNow = () => Date.now() + clock.offset;

client.on('transport', ({ transport, reason }) => {
  showLine();
  if (!transport) return;
  const flag = el('i', { className: 'flag', ariaHidden: 'true' });
  $('history').append(el('li', { by: transport, title: reason ?? '' }, flag, `${transport} ${seconds(Date.now() - joined)}`));
  trim($('history'), KEEP.transports);
  void recover();
});
client.on('state', ({ state, reason, retryInMs }) => {
  showLine(state === 'waiting' && retryInMs ? `waiting, next try in ${seconds(retryInMs)}` : state);
  if (state === 'refused') $('access').hidden = false;
  if (state === 'connected') {
    $('access').hidden = true;
    void measure();
    void recover();
  } else if (client.cursor && state !== 'closed') {
    broken(reason ? `Lost the line (${reason})` : 'Lost the line');
  }
});
client.on('gap', ({ from, to, reason }) => say(`The log has no messages from ${from} to ${to} any more: ${reason}.`, { bad: true }));
client.on('error', (error) => say(error.message ?? String(error), { bad: true }));

async function measure() {
  const start = Date.now();
  const pong = await client.ping().catch(() => null); // the line may break again at any moment; the next one measures
  const rtt = Date.now() - start;
  if (!pong) return;
  set('rtt', `${rtt} ms`);
  if (rtt <= clock.rtt && pong.time) clock = { rtt, offset: pong.time - (start + rtt / 2) };
}

$('access').addEventListener('submit', (event) => {
  event.preventDefault(); // nothing goes into the URL
  token = $('token').value.trim();
  $('curl').textContent = curl(` -H "Authorization: Bearer $TOKEN"`);
  client.refresh(token).catch(() => {}); // an error event says why
});

// broken remembers where we were, for recover to compare with the log.
function broken(what) {
  if (loss) return;
  loss = { what, cursor: subscription.cursor ?? client.cursor ?? '0', at: Date.now(), repeated: ledger.repeated };
  $('rope').append(el('i', { className: 'cut' }));
}

// recover asks the server's log, past the visitor's network, what was stored while the line was down, and holds that
// against what the client delivered.
async function recover() {
  if (!loss || client.state !== 'connected' || !client.transport) return;
  const { what, cursor, at, repeated } = loss;
  loss = null;
  const back = serverNow();
  const by = client.transport;
  let missed = [];
  try {
    for (let next = cursor; next; ) {
      const page = await (await fetch(`${messagesURL}?${new URLSearchParams({ after: next, limit: '100' })}`, { headers: bearer() })).json();
      missed.push(...page.messages);
      next = page.next;
    }
  } catch {
    return say(`${what}. Back on ${by}, but the log could not be read to compare.`, { bad: true });
  }
  missed = missed.filter((message) => message.time <= back).map((message) => message.id);
  await ledger.until(missed, 10_000);
  const lost = missed.filter((id) => !ledger.has(id));
  for (const id of lost) ledger.owe(id);
  const twice = ledger.repeated - repeated;
  const counts = `: ${missed.length} missed ${missed.length === 1 ? 'message' : 'messages'} replayed, ${lost.length} lost, ${twice} repeated.`;
  const text = [`${what}. Resumed on ${by} in ${seconds(back - clock.offset - at)}, after `, el('code', { textContent: cursor }), counts];
  say(text, { by, className: 'survived', bad: lost.length + twice > 0 });
  showLedger();
}

const subscription = channel.subscribe(receive, { last: 40 });

// Messages

function receive(message) {
  const by = network.carrier;
  const now = serverNow();
  const start = sent.get(message.key);
  sent.delete(message.key);
  if (ledger.deliver(message.id)) showMessage(message, by);
  showRow(message, by, start === undefined ? now - message.time : performance.now() - start, start !== undefined);
  showLedger();
  showLine();
}

async function publish(type, data, li) {
  const key = random();
  sent.set(key, performance.now());
  li?.setAttribute('data-key', key);
  showLedger();
  try {
    const { id } = await channel.publish({ who: me, name: sessionStorage.nick, ...data }, { type, key });
    ledger.owe(id);
  } catch (error) {
    sent.delete(key);
    li?.remove();
    say(`Not sent: ${error.message ?? error}`, { bad: true });
  }
  showLedger();
}

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  $('text').value = '';
  const li = item({ className: 'message mine pending' }, el('b', { textContent: `${sessionStorage.nick}, on the way` }), text);
  void publish('chat', { text }, li);
});

$('burst').addEventListener('click', () => {
  const burst = random();
  let n = 0;
  const timer = setInterval(() => {
    void publish('burst', { burst, n: ++n, of: BURST });
    if (n === BURST) clearInterval(timer);
  }, PACE);
});

for (const [id, what, ms] of [['cut', 'You cut the line', 0], ['dark', 'You went offline for 5 s', 5_000]]) {
  $(id).addEventListener('click', () => {
    broken(what);
    network.cut(ms);
  });
}
for (const [id, what, ...transports] of [['block-websocket', 'WebSocket', 'websocket'], ['block-streams', 'streams', 'sse', 'stream']]) {
  $(id).checked = false; // browsers keep a form's state over a reload; the network starts anew
  $(id).addEventListener('change', ({ target }) => {
    if (target.checked) {
      if (transports.includes(client.transport)) broken(`You blocked ${what}`);
      return network.block(transports, true);
    }
    network.block(transports, false);
    if (client.transport === 'websocket') return;
    // To the client this is another network: what was refused there may pass here.
    broken(`You unblocked ${what}`);
    dispatchEvent(new Event('online'));
    client.reconnect();
  });
}

// Showing

function showLine(state = client.state) {
  const by = client.transport ?? '';
  $('badge').dataset.by = by;
  $('badge').dataset.state = client.state;
  set('transport', by || 'no line');
  set('state', state);
  set('session', client.session?.slice(0, 10) ?? '–');
  set('cursor', client.cursor ?? '–');
}

// set leaves what is right alone, so that a live region is not read out again.
function set(id, text) {
  if ($(id).textContent !== String(text)) $(id).textContent = text;
}

function showLedger() {
  const { received, missing, repeated, disordered } = ledger;
  for (const [id, count] of Object.entries({ received, awaited: sent.size, missing, repeated, disordered })) {
    set(id, count);
    $(id).parentElement.classList.toggle('wrong', count > 0);
  }
}

function item(props, ...children) {
  const list = $('messages');
  const follow = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const li = el('li', props, ...children);
  list.append(li);
  trim(list, KEEP.items);
  if (follow) list.scrollTop = list.scrollHeight;
  return li;
}

function say(text, { by, bad = false, className = '' } = {}) {
  item({ by, className: `event ${className} ${bad ? 'bad' : ''}` }, ...[text].flat());
}

function showMessage({ type, data, from, key }, by) {
  const mine = data?.who === me;
  const name = String(data?.name ?? from ?? 'somebody').slice(0, 24);
  if (type === 'burst' && data?.of <= 200 && data.n <= data.of && data.n % 1 === 0) return showNumber(data, name, mine, by);
  if (key) $('messages').querySelector(`.pending[data-key="${CSS.escape(key)}"]`)?.remove();
  const text = typeof data === 'string' ? data : typeof data?.text === 'string' ? data.text : JSON.stringify(data);
  item({ by, className: `message ${mine ? 'mine' : ''}` }, el('b', { textContent: name }), text);
}

// A burst is one item of the room: a cell for each number, in the colour of what carried it.
function showNumber({ burst, n, of }, name, mine, by) {
  ledger.number(burst, n);
  const id = `burst-${burst}`;
  let li = $(id);
  if (!li) {
    const cells = el('div', { className: 'cells', ariaHidden: 'true' }, ...Array.from({ length: of }, () => el('i')));
    const title = el('b', { textContent: `${name}, numbered messages` });
    li = item({ id, className: `message burst ${mine ? 'mine' : ''}` }, title, cells, el('span', { ariaLive: 'off' }));
  }
  const [cell, count] = [li.querySelectorAll('i')[n - 1], li.querySelector('span')];
  if (cell) cell.dataset.by = by;
  count.textContent = `${li.querySelectorAll('[data-by]').length} of ${of}`;
}

function showRow({ id, channel, time }, by, latency, own) {
  // What was stored before we came was not late, we were.
  const replayed = !own && time < joined + clock.offset;
  const ms = Math.max(0, latency);
  const text = replayed ? 'history' : `${own ? '⇄' : '→'} ${ms < 1000 ? `${Math.round(ms)} ms` : seconds(ms)}`;
  const cells = [id, channel, by || '–', text].map((textContent) => el('td', { textContent, title: textContent }));
  $('rows').prepend(el('tr', { by }, ...cells));
  trim($('rows'), KEEP.rows, 'lastElementChild');
  if (replayed) return;
  const bar = el('i', { by, title: `${id}: ${text}` });
  bar.style.height = `${Math.min(100, 8 + 23 * Math.log10(1 + ms))}%`; // 10 s fills the height
  $('rope').append(bar);
  trim($('rope'), KEEP.bars);
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

showLine();
showLedger();
setInterval(showLine, 1_000);
