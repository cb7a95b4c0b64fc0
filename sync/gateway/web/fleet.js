// fleet.js - how a tenant's nodes are, as the centre knows it. A node that is silent shows as such, never as good.
import { html, render, useEffect, useRef, useState } from './preact.js';
import { T } from './strings.js';

const EVERY_MS = 10000;
const RANK = { attention: 0, silent: 1, never: 2, behind: 3, current: 4, revoked: 5, retired: 5 };
const KIND = { attention: 'bad', silent: 'bad', never: 'wait', behind: 'wait', current: 'good', revoked: 'none', retired: 'none' };
const CLOCK_OFF_MS = 5000; // the centre's clock minus the node's
const DISK_LOW = 0.1;

const clock = (at) => new Date(at).toLocaleString('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

function age(from, to) {
  const s = Math.max(0, Math.round((new Date(to) - new Date(from)) / 1000));
  if (s < 90) return T.time.s(s);
  if (s < 5400) return T.time.min(Math.round(s / 60));
  if (s < 48 * 3600) return T.time.h(Math.round(s / 3600));
  return T.time.d(Math.round(s / 86400));
}

const bytes = (n) => (n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(n < 10 * 2 ** 30 ? 1 : 0)} GiB` : `${Math.round(n / 2 ** 20)} MiB`);

const ago = (at, now) => (!at ? T.row.never : new Date(now) - new Date(at) < 20000 ? T.time.now : T.time.ago(age(at, now)));

function Fact({ name, warn, more, children }) {
  return html`<dt>${name}</dt><dd class=${warn ? 'warn' : ''}>${children}${more ? html`<small>${more}</small>` : null}</dd>`;
}

/* What the node itself told last; an older node tells nothing. */
function Told({ n, now }) {
  const r = n.report;
  const at = T.row.toldAt(ago(n.reported_at, now));
  if (!r) return html`<${Fact} name=${T.row.waiting}>${T.row.notTold}<//>`;
  const off = r.clock_offset_ms;
  return html`
    <${Fact} name=${T.row.waiting} warn=${n.state === 'silent' && r.pending > 0}
      more=${[r.pending > 0 && r.oldest_pending_at ? T.row.oldest(age(r.oldest_pending_at, now)) : null, at].filter(Boolean).join(' · ')}>
      ${r.pending > 0 ? T.row.waitingCount(r.pending) : T.row.waitingNone}<//>
    <${Fact} name=${T.row.quarantine} warn=${r.quarantined > 0}>${r.quarantined > 0 ? T.row.waitingCount(r.quarantined) : T.row.none}<//>
    ${off === undefined || off === null ? null : html`<${Fact} name=${T.row.clock} warn=${Math.abs(off) >= CLOCK_OFF_MS}>${
      Math.abs(off) < CLOCK_OFF_MS ? T.row.clockGood : T.row.clockOff(age(0, Math.abs(off)), off < 0)}<//>`}
    ${r.disk_bytes ? html`<${Fact} name=${T.row.disk} warn=${r.disk_free_bytes < r.disk_bytes * DISK_LOW}>${
      T.row.diskFree(bytes(r.disk_free_bytes), Math.floor((r.disk_free_bytes / r.disk_bytes) * 100))}<//>` : null}`;
}

function Node({ n, now }) {
  const kind = KIND[n.state] ?? 'none';
  const since = n.state === 'silent' ? n.last_seen_at : n.state === 'behind' ? n.behind_since : null;
  return html`<li class=${`node k-${kind}`}>
    <header><div><h2>${n.name}</h2><span class="muted">${n.site}</span></div>
      <span class=${`word ${kind}`}>${T.state[n.state] ?? n.state}${since ? ' ' + T.since(clock(since)) : ''}</span></header>
    <dl>
      <${Fact} name=${T.row.heard} warn=${n.state === 'silent'}>${ago(n.last_seen_at, now)}<//>
      <${Fact} name=${T.row.lag} warn=${n.behind > 0 && n.state === 'silent'} more=${n.behind > 0 && n.behind_since ? T.row.lagSince(age(n.behind_since, now)) : null}>
        ${n.behind > 0 ? T.row.lagCuts(n.behind) : T.row.lagNone}<//>
      <${Told} n=${n} now=${now} />
      <${Fact} name=${T.row.conflicts} warn=${n.conflicts_open > 0}>${n.conflicts_open > 0 ? n.conflicts_open : T.row.none}<//>
      <${Fact} name=${T.row.pushed}>${ago(n.last_push_at, now)}<//>
      <${Fact} name=${T.row.version}>${n.program_version || T.row.notTold}<//>
    </dl>
    <p class="fine">${T.row.life} ${n.incarnation} · ${T.row.taken} ${Number(n.last_seq).toLocaleString('en')} · ${T.row.enrolled} ${clock(n.enrolled_at)}<br />${n.node_id}</p>
  </li>`;
}

function Summary({ page }) {
  const count = (s) => page.nodes.filter((n) => n.state === s).length;
  const live = page.nodes.filter((n) => n.status === 'enrolled').length;
  const parts = [['', T.summary.all(live)]];
  if (live > 0 && count('current') === live) parts.push(['good', T.summary.allGood]);
  else if (count('current')) parts.push(['good', T.summary.current(count('current'))]);
  if (count('attention')) parts.push(['bad', T.summary.attention(count('attention'))]);
  if (count('silent') + count('never')) parts.push(['bad', T.summary.silent(count('silent') + count('never'))]);
  if (count('behind')) parts.push(['wait', T.summary.behind(count('behind'))]);
  if (page.conflicts_open) parts.push(['wait', T.summary.conflicts(page.conflicts_open)]);
  return html`<div role="status" aria-label=${T.summary.label}><ul class="summary">${parts.map(([k, text]) => html`<li key=${text} class=${k}>${text}</li>`)}</ul></div>`;
}

function Closed({ why }) {
  return html`<main class="closed" id="main"><h1>${T.closed.title}</h1>${why ? html`<p role="alert" class="strong">${why}</p>` : null}
    <p>${T.closed.text}</p><code>${T.closed.command}</code></main>`;
}

function Page({ page, lost, leave }) {
  const order = [...page.nodes].sort((a, b) => RANK[a.state] - RANK[b.state] || a.site.localeCompare(b.site) || a.name.localeCompare(b.name));
  return html`<main class="fleet" id="main" tabindex="-1">
    <div class="lead"><h1>${page.tenant}</h1><span class="muted">${T.asOf(clock(page.as_of))}</span><span class="gap"></span>
      <button class="plain" onClick=${leave}>${T.leave}</button></div>
    ${lost ? html`<p class="notice notice-wait" role="alert">${T.stale(clock(page.as_of))}</p>` : null}
    <${Summary} page=${page} />
    ${order.length === 0 ? html`<p class="center">${T.empty}<br /><span class="muted">${T.emptyHint}</span></p>`
    : html`<ul class="nodes" aria-label=${T.title}>${order.map((n) => html`<${Node} key=${n.node_id} n=${n} now=${page.as_of} />`)}</ul>`}
    <p class="rule">${T.silentRule(Math.round(page.silent_after_s / 60))}</p>
  </main>`;
}

async function openLink() {
  const link = location.hash.slice(1);
  if (!link) return null;
  history.replaceState(null, '', location.pathname); // it is used up, and stays in no history
  const r = await fetch('/fleet/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ link }) });
  return r.ok ? null : (await r.json()).detail;
}

function App() {
  const [page, setPage] = useState(null);
  const [closed, setClosed] = useState(null);
  const [lost, setLost] = useState(false);
  const alive = useRef(true);
  const load = async () => {
    try {
      const r = await fetch('/fleet/v1/nodes', { cache: 'no-store' });
      if (!alive.current) return;
      if (r.status === 401) { setPage(null); setClosed({ why: null }); return; }
      if (!r.ok) throw new Error(String(r.status));
      setPage(await r.json());
      setLost(false);
    } catch { setLost(true); }
  };
  useEffect(() => {
    let timer = 0;
    const round = async () => { await load(); if (alive.current) timer = setTimeout(round, EVERY_MS); };
    openLink().catch(() => null).then((why) => { if (why) setClosed({ why }); else round(); });
    return () => { alive.current = false; clearTimeout(timer); };
  }, []);
  const leave = async () => {
    alive.current = false;
    await fetch('/fleet/v1/session', { method: 'DELETE' }).catch(() => null);
    setClosed({ why: T.left });
  };
  return html`<a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById('main')?.focus(); }}>${T.skip}</a>
    <header class="top"><span class="brand"><img src="/fleet/icon.svg" width="28" height="28" alt="" />${T.app}</span></header>
    ${closed ? html`<${Closed} why=${closed.why} />` : page ? html`<${Page} page=${page} lost=${lost} leave=${leave} />`
    : html`<main class="center" id="main"><h1>${T.title}</h1><p role="status">${lost ? T.retry : T.loading}</p></main>`}`;
}

render(html`<${App} />`, document.getElementById('app'));
