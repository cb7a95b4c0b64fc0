// app.js - the shell: who is logged in, which screen, the bar on every page.
import { html, render, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { forgetHeld, get, set, useShared } from './state.js';
import { read, request } from './api.js';
import * as live from './live.js';
import * as outbox from './outbox.js';
import { SyncBar } from './sync_bar.js';
import { Login } from './screen_login.js';
import { Wards, Board } from './screen_board.js';
import { Chart } from './screen_chart.js';
import { Vitals } from './screen_vitals.js';
import { Allergy, Move, NewTask, Note } from './screen_forms.js';
import { Give } from './screen_medicine.js';
import { Decisions } from './screen_conflicts.js';
import { Lock, Pair, Pin, checkPairing } from './screen_lock.js';
import { Paper } from './screen_paper.js';
import { Entered } from './screen_entered.js';
import { Console } from './screen_console.js';
import { Glass, GlassBanner } from './screen_glass.js';
import { Unsent } from './screen_unsent.js';
import { Icon } from './ui.js';
import { Training } from './training.js';

const RETRY_MS = 5000;
const IN = 'everward.in'; // somebody has logged in here: only then is it worth asking who
// #/patient/:id/give/:order: a colon stands for an id.
const routes = [
  ['/', Wards, 'board'],
  ['/wards', Wards, 'board'],
  ['/ward/:', Board, 'board'],
  ['/patient/:', Chart, 'board'],
  ['/patient/:/vitals', Vitals, 'board'],
  ['/patient/:/allergy', Allergy, 'board'],
  ['/patient/:/note', Note, 'board'],
  ['/patient/:/task', NewTask, 'board'],
  ['/patient/:/move', Move, 'board'],
  ['/patient/:/give/:', Give, 'board'],
  ['/patient/:/give/:/:', Give, 'board'],
  ['/decisions', Decisions, 'decisions'],
  ['/ward/:/paper', Paper, 'board'],
  ['/ward/:/entered', Entered, 'board'],
  ['/node', Console, 'node'],
  ['/glass/:', Glass, 'board'],
  ['/pin', Pin, ''],
  ['/pair', Pair, ''],
  ['/unsent', Unsent, 'unsent'],
].map(([p, ...rest]) => [new RegExp(`^${p.replaceAll(':', '([0-9a-f-]{36})')}$`), ...rest]);

const path = () => decodeURIComponent(location.hash.replace(/^#/, '')) || '/';

function useRoute() {
  const [at, setAt] = useState(path());
  useEffect(() => {
    const moved = () => {
      setAt(path());
      scrollTo(0, 0);
    };
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  for (const [pattern, screen, tab] of routes) {
    const m = at.match(pattern);
    if (m) return { screen, args: m.slice(1), tab, at };
  }
  return { screen: Wards, args: [], tab: 'board', at: '/' };
}

async function logout() {
  live.close();
  try {
    await request('DELETE', '/api/v1/session');
  } catch { /* it ends by itself; the screen must not stay open for that */ }
  localStorage.removeItem(IN);
  forgetHeld();
  set({ session: null, notice: null });
  location.hash = '#/';
}

// Nobody has touched the tablet: what the server counts is requests, and live updates are requests, too.
let touched = Date.now();
for (const kind of ['pointerdown', 'keydown', 'touchstart']) addEventListener(kind, () => { touched = Date.now(); }, { passive: true });

function useIdle(onIdle) {
  useEffect(() => {
    const t = setInterval(() => {
      const s = get('session');
      if (s && Date.now() - touched > s.idle_timeout_s * 1000) onIdle();
    }, 5000);
    return () => clearInterval(t);
  }, []);
}

const tabs = [['#/decisions', 'decisions', T.nav.conflicts], ['#/node', 'node', T.nav.console]];

function Bar({ tab, onLock }) {
  const [session, privacy, status] = useShared('session', 'privacy', 'status');
  const link = (href, name, text) => html`<a href=${href} aria-current=${tab === name ? 'page' : undefined}>${text}</a>`;
  return html`<header class="top">
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById('main').focus(); }}>${T.skip}</a>
    <span class="brand"><img src="/app/icon.svg" alt="" width="28" height="28" />${status && status.site ? status.site : T.app}</span>
    <nav aria-label=${T.nav.menu}>${link('#/', 'board', T.nav.board)}${tabs.map(([href, name, text]) => link(href, name, text))}</nav>
    <label class="switch"><input type="checkbox" checked=${privacy} onChange=${(e) => set({ privacy: e.target.checked })} />${T.nav.privacy}</label>
    <span class="me"><${Icon} name="user" />${session.staff.name}</span>
    ${session.device_id ? (session.pin_set ? html`<button class="plain" onClick=${onLock}>${T.lock.lock}</button>` : html`<a class="button plain" href="#/pin">${T.pin.link}</a>`) : null}
    <button class="plain" onClick=${logout}>${T.nav.logout}</button></header>`;
}

function Notice() {
  const [notice] = useShared('notice');
  return html`<div class="notices" role="status" aria-live="polite">${notice ? html`<p class=${`notice notice-${notice.kind}`}>
    <${Icon} name=${notice.kind === 'good' ? 'ok' : 'tablet'} />${notice.text}
    <button class="plain" onClick=${() => set({ notice: null })}>${T.close}</button></p>` : null}</div>`;
}

function Shell() {
  const [session] = useShared('session');
  const [idle, setIdle] = useState(false);
  const route = useRoute();

  const begin = () => {
    setIdle(false);
    localStorage.setItem(IN, '1');
    touched = Date.now();
    outbox.flush();
    read('sync').then((status) => set({ status })).catch(() => {});
    live.open(() => outbox.flush());
  };
  const lock = () => {
    live.close();
    set({ session: { ...get('session'), locked: true }, notice: null });
    request('POST', '/api/v1/session/lock', { body: {} }).catch(() => {});
  };
  useIdle(() => {
    const s = get('session');
    if (s.locked) return;
    setIdle(true);
    if (s.pin_set && s.device_id) lock();
    else logout();
  });
  useEffect(() => {
    const ask = () => read('session').then((s) => {
      set({ session: s });
      if (!s.locked) begin();
    }).catch((p) => {
      set({ session: null });
      if (p.status === 0) setTimeout(() => { if (!get('session')) ask(); }, RETRY_MS);
    });
    outbox.load().catch(() => {}).then(() => checkPairing(outbox.wipe)).catch(() => {}).finally(() => (localStorage.getItem(IN) ? ask() : set({ session: null })));
    const t = setInterval(() => { if (get('session') && outbox.waiting().length) outbox.flush(); }, RETRY_MS);
    const online = () => outbox.flush();
    addEventListener('online', online);
    return () => { clearInterval(t); removeEventListener('online', online); };
  }, []);

  if (location.pathname === '/pair' || route.at === '/pair') return html`<${SyncBar} /><${Pair} />`;
  if (session === undefined) return html`<${SyncBar} /><main id="main" class="center"><p>${T.loading}</p></main>`;
  if (session === null) return html`<${SyncBar} /><${Login} onIn=${begin} onAway=${() => localStorage.setItem(IN, '1')} idle=${idle} />`;
  if (session.locked) return html`<${SyncBar} /><${Lock} onIn=${begin} onOther=${logout} />`;
  const Screen = route.screen;
  return html`<${Bar} tab=${route.tab} onLock=${lock} /><${SyncBar} /><${GlassBanner} /><${Notice} />
    <main id="main" tabindex="-1"><${Screen} key=${route.at} args=${route.args} /></main>`;
}

render(html`<${Training} /><${Shell} />`, document.getElementById('app'));
if ('serviceWorker' in navigator) navigator.serviceWorker.register('/sw.js', { scope: '/' }).catch(() => {});
