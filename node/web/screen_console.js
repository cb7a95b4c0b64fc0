// screen_console.js - the node as IT sees it: the state as one word first, then what waits, what was refused, the tablets.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { read, request } from './api.js';
import { get, notice, useShared, useTick } from './state.js';
import { ms, now, since, when } from './time.js';
import { Choice, Failed, Field, Icon, problemText } from './ui.js';

const POLL_MS = 10000, MACHINE_POLL_MS = 60000, DAY_MS = 86400000;
const MANAGE = ['it_support', 'charge_nurse']; // the node decides; to others it is not even offered
const C = T.console;
const LINE_STEPS = ['name_ms', 'connection_ms', 'certificate_ms', 'answer_ms'];
const BACKUP_OLD_DAYS = 2, CERTIFICATE_SOON_DAYS = 30, AUTHORITY_SOON_DAYS = 400, DISK_LOW = 0.1;

function useReply(path, every) {
  const [reply, setReply] = useState(null);
  const [problem, setProblem] = useState(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let over = false;
    const ask = () => read(path).then((r) => { if (!over) { setReply(r); setProblem(null); } }).catch((p) => { if (!over) setProblem(p); });
    ask();
    const t = every ? setInterval(ask, every) : 0;
    return () => { over = true; clearInterval(t); };
  }, [path, turn]);
  return [reply, problem, () => setTurn((n) => n + 1)];
}

// The last day: waiting changes as an area, times without the centre as a band. Words beneath say the same.
function Plot({ items }) {
  const W = 900, H = 220, L = 46, B = 26;
  const t1 = now(), t0 = t1 - DAY_MS;
  const top = Math.max(10, ...items.map((s) => s.pending));
  const X = (at) => L + ((ms(at) - t0) / DAY_MS) * (W - L - 8);
  const Y = (n) => 10 + (1 - n / top) * (H - B - 10);
  const line = items.map((s) => `${X(s.at).toFixed(1)},${Y(s.pending).toFixed(1)}`).join(' ');
  const off = items.map((s, i) => (!s.online && items[i + 1] ? html`<rect x=${X(s.at)} y="10" width=${Math.max(1, X(items[i + 1].at) - X(s.at))} height=${H - B - 10} class="offline" />` : null));
  const peak = items.reduce((m, s) => (s.pending > m.pending ? s : m), { pending: 0 });
  const longest = Math.max(0, ...items.map((s) => s.oldest_ms));
  const away = items.filter((s) => !s.online).length;
  return html`<figure class="plot"><svg viewBox=${`0 0 ${W} ${H}`} role="img" aria-label=${C.plot}>${off}
      ${[0, 0.5, 1].map((f) => html`<g><line x1=${L} x2=${W - 8} y1=${Y(top * f)} y2=${Y(top * f)} class="grid" /><text x=${L - 6} y=${Y(top * f) + 5} text-anchor="end">${Math.round(top * f)}</text></g>`)}
      ${[0, 6, 12, 18, 24].map((h) => html`<text x=${L + (h / 24) * (W - L - 8)} y=${H - 6} text-anchor=${h === 24 ? 'end' : h === 0 ? 'start' : 'middle'}>${h === 24 ? C.nowWord : C.hoursAgo(24 - h)}</text>`)}
      ${items.length > 1 ? html`<polygon points=${`${X(items[0].at)},${Y(0)} ${line} ${X(items[items.length - 1].at)},${Y(0)}`} class="area" /><polyline points=${line} class="curve" />` : null}</svg>
    <figcaption>${C.plotWords(peak.pending, peak.at ? when(peak.at) : '', Math.round(longest / 60000), away, items.length)}</figcaption></figure>`;
}

const Fact = ({ name, children }) => html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`;

function Facts({ s }) {
  const equal = s.replica_equal === null ? C.notCompared : s.replica_equal ? C.equal : C.unequal;
  return html`<dl class="facts">
    <${Fact} name=${C.pending}>${s.pending}${s.oldest_pending_at ? html` <span class="muted">${C.oldest(since(s.oldest_pending_at))}</span>` : null}<//>
    <${Fact} name=${C.conflicts}>${s.conflicts_open}<//><${Fact} name=${C.quarantined}>${s.quarantined}<//>
    <${Fact} name=${C.contact}>${s.last_contact_at ? since(s.last_contact_at) : T.sync.noTime}<//>
    <${Fact} name=${C.push}>${s.last_push_at ? since(s.last_push_at) : T.sync.noTime}<//><${Fact} name=${C.pull}>${s.last_pull_at ? since(s.last_pull_at) : T.sync.noTime}<//>
    <${Fact} name=${C.copy}>${equal}${s.verified_at ? html` <span class="muted">${since(s.verified_at)}</span>` : null}<//>
    <${Fact} name=${C.downtime}>${!s.downtime_folder ? C.noDowntime : s.downtime_refreshed_at ? since(s.downtime_refreshed_at) : C.downtimeWaits}${s.downtime_problem ? html` <b>${s.downtime_problem}</b>` : null}<//>
    <${Fact} name=${C.cut}>${s.cursor} / ${s.head < 0 ? '?' : s.head}<//><${Fact} name=${C.clock}>${s.clock_offset_ms === null ? T.unknown : `${s.clock_offset_ms} ms`}<//>
    <${Fact} name=${C.catalog}>${s.catalog_version}<//><${Fact} name=${C.node}>${s.node} · ${s.site} · ${s.tenant}<//><${Fact} name=${C.id}><code>${s.node_id}</code> (${s.incarnation})<//></dl>`;
}

const size = (n) => (n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(n < 10 * 2 ** 30 ? 1 : 0)} GiB` : `${Math.round(n / 2 ** 20)} MiB`);
const daysTo = (at) => Math.floor((ms(at) - now()) / DAY_MS);

// What turns into a night's work if nobody looks at it in time: marked before it is due.
function Machine() {
  const [m, problem] = useReply('machine', MACHINE_POLL_MS);
  if (!m) return html`<p class="muted">${problem ? problemText(problem) : T.loading}</p>`;
  const ends = (at, soon) => (!at ? T.unknown : html`<span class=${daysTo(at) < soon ? 'warn' : ''}>${C.daysLeft(daysTo(at))}</span> <span class="muted">${when(at)}</span>`);
  const old = m.backup_at && now() - ms(m.backup_at) > BACKUP_OLD_DAYS * DAY_MS;
  return html`<dl class="facts">
    <${Fact} name=${C.backup}>${m.backup_at ? html`<span class=${old ? 'warn' : ''}>${since(m.backup_at)}</span> <span class="muted">${m.backup_verified ? C.verifiedWord : C.notVerified}</span>` : html`<span class="warn">${C.noBackup}</span>`}<//>
    <${Fact} name=${C.certificate}>${ends(m.certificate_not_after, CERTIFICATE_SOON_DAYS)}<//><${Fact} name=${C.authority}>${ends(m.authority_not_after, AUTHORITY_SOON_DAYS)}<//>
    <${Fact} name=${C.disk}>${m.disk_bytes ? html`<span class=${m.disk_free_bytes < m.disk_bytes * DISK_LOW ? 'warn' : ''}>${size(m.disk_free_bytes)}</span> <span class="muted">${C.ofDisk(size(m.disk_bytes))}</span>` : T.unknown}<//>
    <${Fact} name=${C.keys}>${C.keySources[m.keys_source] || m.keys_source || T.unknown}<//>
    <${Fact} name=${C.staffList}>${m.staff_list_as_of ? since(m.staff_list_as_of) : T.unknown} <span class="muted">${C.number(m.staff_list_number)}</span><//>
    <${Fact} name=${C.version}>${m.version}<//></dl>
    <h3>${C.events}</h3>${m.events.length === 0 ? html`<p class="muted">${C.noEvents}</p>` : html`<ul class="rows events">${m.events.map((e, i) => html`<li key=${e.at + i}><span class="muted">${when(e.at)}</span> ${C.actions[e.action] || e.action}${e.outcome === 'ok' ? '' : html` <b class="warn">${e.outcome}</b>`}${e.detail ? html` <span class="muted">${e.detail}</span>` : null}</li>`)}</ul>`}`;
}

const Qr = ({ qr }) => html`<svg class="qr" viewBox=${`0 0 ${qr.side} ${qr.side}`} role="img" aria-label=${C.qr}><rect width=${qr.side} height=${qr.side} fill="#fff" /><path d=${qr.path} fill="#000" /></svg>`;

function Quarantine({ again }) {
  const [reply, problem, reload] = useReply('quarantine', 0);
  const [error, setError] = useState(null);
  const act = async (q, what, body) => {
    setError(null);
    try {
      await request('POST', `/api/v1/quarantine/${q.seq}/${what}`, { body, key: crypto.randomUUID() });
      reload();
      again();
    } catch (p) {
      setError(p);
    }
  };
  if (problem) return html`<p class="muted">${problemText(problem)}</p>`;
  if (!reply || reply.items.length === 0) return html`<p class="muted">${C.noQuarantine}</p>`;
  return html`${error ? html`<p class="error" role="alert">${problemText(error)}</p>` : null}<ul class="rows">${reply.items.map((q) => html`<li key=${q.seq}><p><b>${q.table}</b> <span class="muted">${q.op} · ${when(q.at)} · ${q.sqlstate || ''}</span></p><p>${q.reason}</p>
    <p class="buttons"><button onClick=${() => act(q, 'retry', {})}>${C.retry}</button><button onClick=${() => { const why = prompt(C.dropWhy); if (why) act(q, 'drop', { reason: why }); }}>${C.drop}</button></p></li>`)}</ul>`;
}

function Devices() {
  const [reply, problem, reload] = useReply('devices', 30000);
  const [name, setName] = useState('');
  const [kind, setKind] = useState('tablet');
  const [offer, setOffer] = useState(null);
  const [error, setError] = useState(null);
  const [sure, setSure] = useState('');
  if (problem) return html`<p class="muted">${problemText(problem)}</p>`;
  const attempt = async (fn) => {
    setError(null);
    try {
      await fn();
      reload();
    } catch (p) {
      setError(p);
    }
  };
  const pair = (e) => {
    e.preventDefault();
    attempt(async () => setOffer(await request('POST', '/api/v1/devices/pairing', { body: { name: name.trim(), class: kind } })));
  };
  const items = ((reply && reply.items) || []).filter((d) => !d.revoked_at);
  return html`${error ? html`<p class="error" role="alert"><${Icon} name="warn" />${problemText(error)}</p>` : null}
    ${items.length === 0 ? html`<p class="muted">${C.noDevices}</p>` : html`<ul class="rows">${items.map((d) => html`<li key=${d.id} class="due"><div class="what"><b>${d.name}</b> <span class="muted">${C.classes[d.class] || d.class} · ${d.last_seen_at ? C.seen(since(d.last_seen_at)) : C.neverSeen}${d.last_user && (d.last_user.name || d.last_user) ? ` · ${d.last_user.name || d.last_user}` : ''}</span></div>
      ${sure === d.id ? html`<button class="danger" onClick=${() => attempt(() => request('DELETE', `/api/v1/devices/${d.id}`))}>${C.revokeSure}</button>` : html`<button onClick=${() => setSure(d.id)}>${C.revoke}</button>`}</li>`)}</ul>`}
    <form onSubmit=${pair} class="pairform"><${Field} id="devname" label=${C.newName}><input id="devname" required maxlength="64" value=${name} onInput=${(e) => setName(e.target.value)} /><//>
      <${Choice} name="class" legend=${C.newClass} options=${Object.entries(C.classes)} value=${kind} onChange=${setKind} /><button type="submit">${C.pair}</button></form>
    ${offer ? html`<div class="offer" role="status"><p>${C.offerScan(offer.name)}</p><${Qr} qr=${offer.qr} /><p>${C.offer}</p><p class="code">${offer.code}</p><p class="muted">${C.offerUntil(when(offer.expires_at))}</p></div>` : null}`;
}

function LineTest({ result }) {
  return html`<div class="linetest" role="status"><p><b class=${result.good ? 'good' : 'warn'}><${Icon} name=${result.good ? 'ok' : 'warn'} />${C.lineSteps[result.step]}</b>${result.detail ? html` <span class="muted">${result.detail}</span>` : null}</p>
    <ol>${LINE_STEPS.map((k) => html`<li key=${k}>${C.lineTimes[k]} <span class="muted">${result[k] === null ? C.notReached : C.after(result[k])}</span></li>`)}</ol></div>`;
}

export function Console() {
  const [status] = useShared('status');
  const [history] = useReply('sync/history', 60000);
  const [fresh, problem, again] = useReply('sync', POLL_MS);
  const [busy, setBusy] = useState('');
  const [tried, setTried] = useState(null);
  useTick(5);
  const s = fresh || status;
  if (!s) return problem ? html`<${Failed} problem=${problem} onRetry=${again} />` : html`<p class="center">${T.loading}</p>`;
  const manages = get('session').roles.some((r) => MANAGE.includes(r));
  const state = !s.online && s.state !== 'attention' ? 'offline' : s.state;
  const test = async () => {
    setBusy('test');
    setTried(null);
    try {
      setTried(await request('POST', '/api/v1/sync/test', { body: {} }));
    } catch (p) {
      notice('wait', problemText(p));
    }
    setBusy('');
  };
  const run = async (what, of = 'sync') => {
    setBusy(what);
    try {
      await request('POST', `/api/v1/${of}/${what}`, { body: {} });
      notice('good', C.begun[what]);
    } catch (p) {
      notice('wait', problemText(p));
    }
    setBusy('');
    again();
  };
  return html`<section class=${`panel stateword state-${state}`}><h1 class="word"><${Icon} name=${{ current: 'ok', syncing: 'up', offline: 'off', attention: 'warn' }[state]} />${C.states[state]}</h1>
      <p>${s.since ? C.since(when(s.since)) : ''} ${s.reason || ''}</p>
      <p class="buttons"><button onClick=${() => run('now')} disabled=${!!busy}>${C.now}</button><button onClick=${() => run('verify')} disabled=${!!busy}>${C.verify}</button><button onClick=${() => run('backup', 'machine')} disabled=${!!busy}>${C.backUp}</button><button onClick=${test} disabled=${!!busy}>${busy === 'test' ? C.testing : C.test}</button></p>
      ${tried ? html`<${LineTest} result=${tried} />` : null}</section>
    <div class="chart console"><div class="stackone"><section class="panel"><h2>${C.facts}</h2><${Facts} s=${s} /></section>${manages ? html`<section class="panel"><h2>${C.machine}</h2><${Machine} /></section>` : null}<section class="panel"><h2>${C.plot}</h2>${history ? html`<${Plot} items=${history.items} />` : null}</section></div>
      <div class="stackone"><section class="panel"><h2>${C.quarantineTitle}</h2><${Quarantine} key=${s.quarantined} again=${again} /></section>${manages ? html`<section class="panel"><h2>${C.devices}</h2><${Devices} /></section>` : null}</div></div>`;
}
