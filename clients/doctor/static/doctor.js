// The page: runs the probes, shows each as it is done, and what follows from them.

import { judgeBy } from './judge.js';
import { hold, observe, ping, show as showToken } from './probe.js';

const transports = ['websocket', 'sse', 'stream', 'poll'];
const idle = 75_000;

const $ = (id) => document.getElementById(id);
const make = (tag, text, ...classes) => {
  const element = document.createElement(tag);
  element.textContent = text;
  element.classList.add(...classes);
  return element;
};

let words;
let judge;
let report;

/** A row shows one probe. */
function show(name, probe) {
  const state = !probe ? 'running' : probe.skipped ? 'skipped' : probe.ok ? 'ok' : 'no';
  const row = $(`probe-${name}`) ?? $('probes').appendChild(Object.assign(document.createElement('li'), { id: `probe-${name}` }));
  row.dataset.state = state;
  const said = make('div', '', 'said');
  const texts = probe ? [probe.text && make('p', probe.text), ...probe.findings.map((f) => make('p', f.text, f.severity))] : [make('p', words.labels.running)];
  said.append(...texts.filter(Boolean));
  const mark = make('span', { running: '…', skipped: '--', ok: 'ok', no: 'no' }[state], 'mark');
  row.replaceChildren(mark, make('span', words.probes[name].title, 'name'), said);
}

async function reach() {
  const pong = await ping();
  const found = pong.end
    ? [judge.found(pong.end === 'timeout' ? 'request_timeout' : 'request_reset', { limit_ms: pong.limit })]
    : judge.judgePong(pong);
  if (pong.fairlead && pong.by) found.push(judge.found('between', { what: pong.by }));
  return judge.probe('reach', { rtt_ms: pong.rtt }, found);
}

async function attach(transport, watched, rtt) {
  const seen = { ...(await watched[transport]), rtt };
  if (seen.end === 'failed') Object.assign(seen, await forbidden(watched.poll)); // why is hidden from pages, but said to the others
  const { opened: opened_ms, welcome: welcome_ms, proof: proof_ms } = seen;
  return judge.probe(transport, { opened_ms, welcome_ms, proof_ms }, judge.judge(seen));
}

/** forbidden is what a page of a forbidden origin was told when it polled. */
async function forbidden(polled) {
  const { code, detail } = await polled;
  return code === 'forbidden' ? { code, detail, end: '' } : {};
}

async function run() {
  busy(true);
  $('said').textContent = '';
  for (const name of ['reach', ...transports]) show(name);
  const about = { url: new URL('.', document.baseURI).href, time: new Date().toISOString() };
  const first = await reach();
  show('reach', first);
  const watched = first.ok ? Object.fromEntries(transports.map((transport) => [transport, observe(transport)])) : {};
  const rest = await Promise.all(transports.map(async (transport) => {
    const probe = first.ok ? await attach(transport, watched, first.rtt_ms) : judge.skipped(transport);
    show(transport, probe);
    return probe;
  }));
  conclude(about, [first, ...rest]);
  busy(false);
}

/** holdIdle leaves a connection of each transport that works alone, and adds what became of it. */
async function holdIdle() {
  busy(true);
  const began = performance.now();
  const tell = () => ($('said').textContent = `Holding idle: ${Math.ceil((idle - (performance.now() - began)) / 1000)} s left.`);
  tell();
  const clock = setInterval(tell, 1_000);
  const { url, time, probes } = report;
  const held = await Promise.all(probes.map(async (probe) => {
    if (!probe.ok || !transports.includes(probe.probe)) return probe;
    const { held, silent, seen } = await hold(probe.probe, idle, words.limits.beat_ms);
    const before = probe.findings.filter(({ code }) => !['idle_held', 'idle_cut'].includes(code));
    const after = { ...probe, findings: [...before, ...judge.judgeIdle(held, silent, seen)] };
    show(probe.probe, after);
    return after;
  }));
  clearInterval(clock);
  $('said').textContent = '';
  conclude({ url, time }, held);
  busy(false);
}

function conclude(about, probes) {
  report = judge.conclude(about, probes);
  $('transport').textContent = words.labels[judge.denied(report) ? 'denied' : report.transport || 'none'];
  if (report.advice.some(({ code }) => ['token', 'another_token'].includes(code))) $('access').hidden = false;
  const list = document.createElement('ol');
  list.append(...report.advice.map(advise));
  $('advice').replaceChildren(report.advice.length > 0 ? list : make('p', words.labels.nothing));
  $('json').textContent = JSON.stringify(report, null, 2);
  for (const id of ['uses', 'change', 'report']) $(id).hidden = false;
}

function advise(advice) {
  const item = make('li', advice.text);
  for (const product of ['nginx', 'haproxy', 'alb']) {
    if (!advice[product]) continue;
    const lines = document.createElement('pre');
    lines.append(make('code', advice[product].join('\n')));
    item.append(make('h3', words.labels[product]), lines);
  }
  return item;
}

function busy(yes) {
  document.querySelector('main').setAttribute('aria-busy', String(yes));
  for (const button of document.querySelectorAll('button')) button.disabled = yes;
}

async function copy() {
  const text = $('json').textContent;
  try {
    await navigator.clipboard.writeText(text); // exists on https and localhost only
  } catch {
    document.querySelector('details').open = true;
    getSelection().selectAllChildren($('json'));
    if (!document.execCommand('copy')) {
      $('said').textContent = 'The browser does not let the page copy: it is selected, copy it by hand.';
      return;
    }
  }
  $('said').textContent = 'Copied.';
}

async function start() {
  words = await (await fetch(new URL('doctor/findings.json', document.baseURI))).json();
  judge = judgeBy(words);
  $('about').textContent = words.labels.about;
  $('uses').firstElementChild.textContent = words.labels.uses;
  $('change').firstElementChild.textContent = words.labels.change;
  $('copy').addEventListener('click', () => void copy());
  $('access').addEventListener('submit', (event) => {
    event.preventDefault(); // nothing goes into the URL
    showToken($('token').value.trim());
    void run();
  });
  $('again').addEventListener('click', () => void run());
  $('idle').addEventListener('click', () => void holdIdle());
  await run();
}

start().catch((error) => {
  $('probes').replaceChildren(make('p', `The page did not come through whole: ${error.message}. Load it again.`, 'notice'));
});
