// screen_conflicts.js - what two people changed without seeing each other, until a person has chosen. Nothing is chosen
// beforehand. A decision waits a few seconds for "undo"; then it is an entry like any other, and works offline.
import { html, useEffect, useRef, useState } from './preact.js';
import { T } from './strings.js';
import { read, readAll } from './api.js';
import { get, held, hold, notice, useShared } from './state.js';
import { watch } from './live.js';
import { ms, when } from './time.js';
import { save } from './outbox.js';
import { Failed, Field, Icon, PatientLine, born, problemText } from './ui.js';

const UNDO_S = 8;
const SAFETY = new Set(['allergy', 'medication_order', 'medication_administration']);
const SAFE_COLUMNS = new Set(['code_status', 'isolation', 'family_name', 'given_names', 'birth_date', 'sex', 'deceased']);
const isSafety = (c) => SAFETY.has(c.table_name) || c.columns.some((x) => SAFE_COLUMNS.has(x));

const columnName = (c) => T.decisions.columns[c] || c.replace(/_id$/, '').replaceAll('_', ' ');
const tableName = (t) => T.decisions.table[t] || t.replaceAll('_', ' ');
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-/;

// What an id in a value stands for.
function useNames(conflicts) {
  const [names, setNames] = useState(new Map());
  useEffect(() => {
    const want = new Set();
    for (const c of conflicts || []) for (const side of [c.base, c.live, c.incoming, c.now]) for (const v of Object.values(side || {})) if (typeof v === 'string' && UUID.test(v)) want.add(v);
    const ids = [...want].slice(0, 100).join(',');
    if (ids) Promise.all([read(`location?id=in.(${ids})&limit=100`), read(`staff?id=in.(${ids})&limit=100`)].map((p) => p.catch(() => ({ items: [] }))))
      .then(([places, staff]) => setNames(new Map([...places.items.map((p) => [p.id, p.name]), ...staff.items.map((p) => [p.id, `${p.given_names || ''} ${p.family_name || ''}`])])));
  }, [conflicts]);
  return names;
}

const sentence = (t) => (t ? t[0].toUpperCase() + t.slice(1) + '.' : '');
const place = (node) => (!node ? T.decisions.centre : get('status') && node === get('status').node_id ? T.decisions.here : T.decisions.elsewhere);

function valueText(v, column, names) {
  if (v === null || v === undefined || v === '') return T.decisions.empty;
  if (typeof v === 'boolean') return v ? T.yes : T.no;
  if (typeof v === 'object') return JSON.stringify(v);
  if (UUID.test(v)) return names.get(v) || v;
  return /_at$/.test(column) ? when(v) : String(v);
}

function Values({ c, side, names }) {
  return c.columns.map((k) => html`<span class="val" key=${k} lang="">${c.columns.length > 1 ? html`<small class="muted">${columnName(k)} </small>` : null}${valueText((side || {})[k], k, names)}</span>`);
}

function One({ c, patient, names, onGone }) {
  const [choice, setChoice] = useState('');
  const [other, setOther] = useState({});
  const [reason, setReason] = useState('');
  const [tried, setTried] = useState(false);
  const [left, setLeft] = useState(0);
  const [problem, setProblem] = useState(null);
  const timer = useRef(0), pending = useRef(null);
  const [privacy] = useShared('privacy');
  const what = `${tableName(c.table_name)}: ${c.columns.map(columnName).join(', ')}`;

  const send = async () => {
    const job = pending.current;
    pending.current = null;
    clearInterval(timer.current);
    if (!job) return;
    try {
      const done = await save(job);
      notice(done.state === 'sent' ? 'good' : 'wait', done.state === 'sent' ? T.decisions.done : T.decisions.kept);
      onGone();
    } catch (p) {
      setLeft(0);
      setProblem(p);
      onGone();
    }
  };
  useEffect(() => () => { send(); }, []); // leaving the page is no undo
  const decide = () => {
    setTried(true);
    if (!choice || (choice === 'other' && c.columns.some((k) => !(k in other) || !other[k].trim()))) return;
    setProblem(null);
    const body = { choice, seen_rev: c.row.rev, ...(reason.trim() ? { reason: reason.trim() } : {}), ...(choice === 'other' ? { values: other } : {}) };
    pending.current = { path: `/api/v1/conflicts/${c.id}/resolution`, body, label: T.decisions.label(what), patient_id: c.patient_id, etag: c.row.etag && !c.row.etag.endsWith('.0"') ? c.row.etag : undefined };
    setLeft(UNDO_S);
    timer.current = setInterval(() => setLeft((n) => {
      if (n <= 1) send();
      return Math.max(0, n - 1);
    }), 1000);
  };
  const undo = () => {
    pending.current = null;
    clearInterval(timer.current);
    setLeft(0);
  };
  const side = (value, tag, values, foot, standing) => html`<label class=${`side ${choice === value ? 'on' : ''} ${standing ? 'standing' : ''}`}>
    <input type="radio" name=${'c' + c.id} value=${value} checked=${choice === value} onChange=${() => setChoice(value)} />
    <span><span class="tag">${tag}</span><${Values} c=${c} side=${values} names=${names} /><span class="muted">${foot}</span></span></label>`;
  const by = (who, at, node, clock) => `${T.decisions.by(who, when(at))} · ${place(node)}${clock === 'unsure' ? ' · ' + T.decisions.clock.unsure : ''}`;

  return html`<li class="panel conflict"><div class="panelhead"><h2>${patient ? html`<a href=${`#/patient/${patient.id}`}><${PatientLine} patient=${patient} privacy=${privacy} /></a> <span class="muted">${born(patient)}</span>` : null}</h2>
      <span class="muted">${T.decisions.for(T.decisions.roles[c.decide_role] || c.decide_role)}</span></div>
    ${c.state === 'resolving' ? html`<p><${Icon} name="up" />${what}. ${T.decisions.resolving}</p>` : left > 0 || pending.current ? html`<p class="strip wait" role="status"><${Icon} name="clock" />${T.decisions.pending(left)} <button onClick=${undo}>${T.decisions.undo}</button></p>`
      : html`<fieldset><legend>${T.decisions.choose(what)}</legend>
      ${problem ? html`<p class="error" role="alert"><${Icon} name="stop" />${problem.code === 'stale_version' ? T.decisions.stale : problemText(problem)}</p>` : null}
      <p class="muted">${sentence(c.rule_text)}</p>
      ${isSafety(c) ? html`<p class="badge warn"><${Icon} name="warn" />${T.decisions.safety}</p>` : null}
      <div class="sides">${side('live', T.decisions.live, c.live, by(c.live_by_name, c.live_at, c.live_node), true)}${side('incoming', T.decisions.incoming, c.incoming, by(c.incoming_by_name, c.incoming_at, c.incoming_node, c.incoming_clock))}
        ${side('base', T.decisions.base, c.base, '')}
        <label class=${`side ${choice === 'other' ? 'on' : ''}`}><input type="radio" name=${'c' + c.id} value="other" checked=${choice === 'other'} onChange=${() => setChoice('other')} /><span><span class="tag">${T.decisions.other}</span></span></label></div>
      ${choice === 'other' ? html`<div class="fields">${c.columns.map((k) => html`<${Field} key=${k} id=${'o' + c.id + k} label=${columnName(k)} error=${tried && !(other[k] || '').trim() ? T.decisions.write : ''}><input id=${'o' + c.id + k} value=${other[k] || ''} onInput=${(e) => setOther({ ...other, [k]: e.target.value })} /><//>`)}</div>` : null}
      <div class="foot"><${Field} id=${'r' + c.id} label=${T.decisions.reason}><input id=${'r' + c.id} value=${reason} onInput=${(e) => setReason(e.target.value)} /><//><button class="main" onClick=${decide}>${T.decisions.decide}</button></div>
      ${tried && !choice ? html`<p class="error" role="alert"><${Icon} name="warn" />${T.decisions.chooseFirst}</p>` : null}</fieldset>`}</li>`;
}

function useConflicts() {
  const [list, setList] = useState(held('conflicts'));
  const [people, setPeople] = useState(held('conflict people') || new Map());
  const [problem, setProblem] = useState(null);
  const load = async () => {
    try {
      const items = await readAll('conflicts?state=eq.open', 500);
      const ids = [...new Set(items.map((c) => c.patient_id).filter(Boolean))].slice(0, 100);
      const who = new Map();
      if (ids.length) for (const p of await readAll(`patient?id=in.(${ids.join(',')})`).catch(() => [])) who.set(p.id, p);
      hold('conflicts', items);
      hold('conflict people', who);
      setList(items);
      setPeople(who);
      setProblem(null);
    } catch (p) {
      setProblem(p);
    }
  };
  useEffect(() => {
    let timer = 0;
    load();
    const stop = watch((e) => {
      if (e.kind === 'reset' || e.table === 'conflict' || e.table === 'conflict_resolution') {
        clearTimeout(timer);
        timer = setTimeout(load, 150);
      }
    });
    return () => { clearTimeout(timer); stop(); };
  }, []);
  return [list, people, problem, load];
}

export function Decisions() {
  const [list, people, problem, load] = useConflicts();
  const [everybody, setEverybody] = useState(false);
  const names = useNames(list);
  if (!list) return problem ? html`<${Failed} problem=${problem} onRetry=${load} />` : html`<p class="center">${T.loading}</p>`;
  const roles = get('session').roles;
  const mine = list.filter((c) => roles.includes(c.decide_role) || (c.decide_role === 'nurse' && roles.includes('charge_nurse')));
  const shown = [...(everybody ? list : mine)].sort((a, b) => isSafety(b) - isSafety(a) || ms(a.incoming_at) - ms(b.incoming_at));
  return html`<h1>${T.decisions.title}</h1>
    ${list.length === 0 ? html`<div class="center"><p class="good"><${Icon} name="ok" />${T.decisions.none}</p><p class="muted">${T.decisions.noneMore}</p></div>`
      : html`<p class="muted lead">${T.decisions.lead}</p><div class="tabs"><button aria-pressed=${!everybody} onClick=${() => setEverybody(false)}>${T.decisions.mine(mine.length)}</button><button aria-pressed=${everybody} onClick=${() => setEverybody(true)}>${T.decisions.all(list.length)}</button></div>`}
    <ul>${shown.map((c) => html`<${One} key=${c.id} c=${c} patient=${people.get(c.patient_id)} names=${names} onGone=${load} />`)}</ul>`;
}
