// screen_forms.js - allergy, note, task, bed: short forms that write one thing.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { readAll, uuid7 } from './api.js';
import { notice } from './state.js';
import { localInput, moment, now } from './time.js';
import { save } from './outbox.js';
import { Alert, Choice, Failed, Field, Icon, fullName, problemText } from './ui.js';
import { Banner, useChart } from './patient.js';
import { FromPaper, usePaper } from './from_paper.js';

// Saves and goes back to the chart; the form keeps what was typed if the node refused it.
export function useSave(patient_id, back) {
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState(null);
  const go = async (writes, label, seen = []) => {
    if (busy) return;
    setBusy(true);
    setRefused(null);
    for (const w of writes) if (w.values) for (const k of Object.keys(w.values)) if (w.values[k] === undefined || w.values[k] === null || w.values[k] === '') delete w.values[k];
    try {
      const done = await save({ body: { writes }, label, patient_id, seen });
      notice(done.state === 'sent' ? 'good' : 'wait', done.state === 'sent' ? T.vitals.savedHere : T.vitals.keptHere);
      if (back) location.hash = back;
      else setBusy(false);
    } catch (p) {
      setRefused(p);
      setBusy(false);
    }
  };
  return { busy, refused, go };
}

export function Frame({ chart, title, s, onSubmit, children, back, label, stale }) {
  return html`<${Banner} chart=${chart} />
    <form class="entry narrow" novalidate onSubmit=${(e) => { e.preventDefault(); onSubmit(); }}>
      <div class="formhead"><h2>${title}</h2></div>
      ${s.refused ? html`<${Alert} title=${T.refused}><p>${s.refused.code === 'stale_version' && stale ? stale : problemText(s.refused)}</p><//>` : null}
      ${children}
      <div class="actions"><span class="total"></span><a class="button" href=${back}>${T.cancel}</a><button class="main" type="submit" disabled=${s.busy}>${s.busy ? T.saving : label || T.save}</button></div>
    </form>`;
}

export const Waiting = ({ problem, again }) => (problem ? html`<${Failed} problem=${problem} onRetry=${again} />` : html`<p class="center">${T.loading}</p>`);

export function Allergy({ args: [id] }) {
  const [chart, problem, again] = useChart(id);
  const [v, set] = useState({ kind: '', display: '', category: '', criticality: '', reaction_text: '' });
  const paper = usePaper();
  const [tried, setTried] = useState(false);
  const back = `#/patient/${id}`;
  const s = useSave(id, back);
  if (!chart) return html`<${Waiting} problem=${problem} again=${again} />`;
  const put = (k) => (x) => set({ ...v, [k]: x && x.target ? x.target.value : x });
  const contradicts = v.kind === 'none-known' && (chart.allergies || []).some((a) => a.kind !== 'none-known' && a.clinical_status === 'active');
  const go = () => {
    setTried(true);
    if (!v.kind || contradicts || paper.error || (v.kind === 'allergy' && (!v.display.trim() || !v.criticality))) return;
    const common = { id: uuid7(), patient_id: id, kind: v.kind, clinical_status: 'active', verification_status: 'confirmed', ...paper.values() };
    const values = v.kind === 'none-known' ? { ...common, display: T.board.noAllergies } : { ...common, type: 'allergy', category: v.category, criticality: v.criticality, display: v.display.trim(), reaction_text: v.reaction_text.trim() };
    s.go([{ op: 'create', table: 'allergy', values }], `${T.allergy.label}: ${values.display}`);
  };
  return html`<${Frame} chart=${chart} title=${T.allergy.title} s=${s} onSubmit=${go} back=${back}>
    <${Choice} name="kind" legend=${T.allergy.kind} options=${[['allergy', T.allergy.some], ['none-known', T.allergy.none]]} value=${v.kind} onChange=${put('kind')}
      error=${tried && !v.kind ? T.required : contradicts ? T.allergy.contradiction : ''} />
    ${v.kind === 'allergy' ? html`
      <${Field} id="display" label=${T.allergy.to} error=${tried && !v.display.trim() ? T.required : ''}><input id="display" value=${v.display} onInput=${put('display')} /><//>
      <${Choice} name="category" legend=${T.allergy.category} options=${Object.entries(T.allergy.categories)} value=${v.category} onChange=${put('category')} />
      <${Choice} name="criticality" legend=${T.allergy.criticality} options=${Object.entries(T.allergy.criticalities)} value=${v.criticality} onChange=${put('criticality')} error=${tried && !v.criticality ? T.required : ''} />
      <${Field} id="reaction" label=${T.allergy.reaction}><input id="reaction" value=${v.reaction_text} onInput=${put('reaction_text')} /><//>` : null}
    ${v.kind ? html`<${FromPaper} paper=${paper} tried=${tried} />` : null}<//>`;
}

export function Note({ args: [id] }) {
  const [chart, problem, again] = useChart(id);
  const [title, setTitle] = useState('');
  const [body, setBody] = useState('');
  const paper = usePaper();
  const [tried, setTried] = useState(false);
  const back = `#/patient/${id}`;
  const s = useSave(id, back);
  if (!chart) return html`<${Waiting} problem=${problem} again=${again} />`;
  const go = () => {
    setTried(true);
    if (!body.trim() || paper.error) return;
    s.go([{ op: 'create', table: 'note', values: { id: uuid7(), patient_id: id, encounter_id: chart.encounter && chart.encounter.id, status: 'signed', kind: 'nursing', title: title.trim(), body: body.trim(), effective_at: moment(), ...paper.values() } }], T.note.label);
  };
  return html`<${Frame} chart=${chart} title=${T.note.title} s=${s} onSubmit=${go} back=${back}>
    <${Field} id="heading" label=${T.note.heading}><input id="heading" value=${title} onInput=${(e) => setTitle(e.target.value)} /><//>
    <${Field} id="body" label=${T.note.body} help=${T.note.help} error=${tried && !body.trim() ? T.required : ''}><textarea id="body" rows="8" value=${body} onInput=${(e) => setBody(e.target.value)}></textarea><//>
    <${FromPaper} paper=${paper} tried=${tried} /><//>`;
}

export function NewTask({ args: [id] }) {
  const [chart, problem, again] = useChart(id);
  const [what, setWhat] = useState('');
  const [due, setDue] = useState(localInput(now()));
  const [urgent, setUrgent] = useState(false);
  const [isDone, setDone] = useState(true);
  const paper = usePaper();
  const [tried, setTried] = useState(false);
  const back = `#/patient/${id}`;
  const s = useSave(id, back);
  if (!chart) return html`<${Waiting} problem=${problem} again=${again} />`;
  const go = () => {
    setTried(true);
    if (!what.trim() || !due || paper.error) return;
    const over = paper.on && isDone;
    s.go([{ op: 'create', table: 'task', values: { id: uuid7(), patient_id: id, encounter_id: chart.encounter && chart.encounter.id, status: over ? 'completed' : 'requested', intent: 'order', priority: urgent ? 'urgent' : 'routine', code: 'nursing', description: what.trim(), due_at: over ? moment(paper.ms) : moment(new Date(due).getTime()), ...paper.values() } }], `${T.task.label}: ${what.trim()}`);
  };
  return html`<${Frame} chart=${chart} title=${T.task.title} s=${s} onSubmit=${go} back=${back}>
    <div class="options">${T.task.usual.map((u) => html`<button type="button" onClick=${() => setWhat(u)} aria-pressed=${what === u}>${u}</button>`)}</div>
    <${Field} id="what" label=${T.task.what} error=${tried && !what.trim() ? T.required : ''}><input id="what" value=${what} onInput=${(e) => setWhat(e.target.value)} /><//>
    ${paper.on && isDone ? null : html`<${Field} id="due" label=${T.task.due}><input id="due" type="datetime-local" value=${due} onInput=${(e) => setDue(e.target.value)} /><//>`}
    <label class="tick"><input type="checkbox" checked=${urgent} onChange=${(e) => setUrgent(e.target.checked)} /><span>${T.task.urgent}</span></label>
    <${FromPaper} paper=${paper} tried=${tried} />
    ${paper.on ? html`<label class="tick"><input type="checkbox" name="done" checked=${isDone} onChange=${(e) => setDone(e.target.checked)} /><span>${T.task.paperDone}</span></label>` : null}<//>`;
}

export function TaskLine({ task, patient_id }) {
  const s = useSave(patient_id, null);
  const done = () => s.go([{ op: 'update', table: 'task', id: task.id, if_match: task.etag, values: { status: 'completed' } }], `${T.task.doneLabel}: ${task.description || task.code}`, [{ table: 'task', row: task }]);
  return html`<button class="small" onClick=${done} disabled=${s.busy}><${Icon} name="ok" />${T.task.done}</button>
    ${s.refused ? html`<p class="error" role="alert">${s.refused.code === 'stale_version' ? T.task.stale : problemText(s.refused)}</p>` : null}`;
}

// What only the centre could see, where everything meets. Seen by one person, it stays for the others.
export function AlertLine({ alert, patient_id, onSeen }) {
  const s = useSave(patient_id, null);
  const text = T.alert.texts[alert.kind] || alert.text;
  const seen = async () => { await s.go([{ op: 'create', table: 'alert_ack', values: { alert_id: alert.id } }], `${T.alert.seenLabel}: ${text}`); onSeen(); };
  return html`<div class="strip warn"><${Icon} name="warn" /><span>${text}</span> <button onClick=${seen} disabled=${s.busy}>${T.alert.seen}</button>
    ${s.refused ? html`<p class="error" role="alert">${problemText(s.refused)}</p>` : null}</div>`;
}

export function Move({ args: [id] }) {
  const [chart, problem, again] = useChart(id);
  const [beds, setBeds] = useState(null);
  const [bed, setBed] = useState('');
  const [sure, setSure] = useState(false);
  const [tried, setTried] = useState(false);
  const back = `#/patient/${id}`;
  const s = useSave(id, back);
  useEffect(() => {
    (async () => {
      const [places, stays] = await Promise.all([readAll('location?kind=eq.bed&order=name'), readAll('bed_stay?status=eq.active')]);
      const who = [...new Set(stays.map((x) => x.patient_id))];
      const names = new Map();
      for (let i = 0; i < who.length; i += 100) for (const p of await readAll(`patient?id=in.(${who.slice(i, i + 100).join(',')})`)) names.set(p.id, p);
      setBeds(places.map((p) => ({ ...p, stays: stays.filter((x) => x.location_id === p.id).map((x) => ({ ...x, patient: names.get(x.patient_id) })) })));
    })().catch(() => setBeds([]));
  }, []);
  if (!chart || !beds) return html`<${Waiting} problem=${problem} again=${again} />`;
  const mine = (chart.beds || []).map((b) => b.stay);
  const chosen = beds.find((b) => b.id === bed);
  const taken = chosen && chosen.stays.some((x) => x.patient_id !== id);
  const go = () => {
    setTried(true);
    if (!bed || (taken && !sure)) return;
    const at = moment();
    s.go([...mine.map((m) => ({ op: 'update', table: 'bed_stay', id: m.id, if_match: m.etag, values: { status: 'completed', ended_at: at } })),
      { op: 'create', table: 'bed_stay', values: { id: uuid7(), patient_id: id, encounter_id: chart.encounter && chart.encounter.id, location_id: bed, status: 'active', started_at: at } }], T.move.label(chosen.name), mine.map((row) => ({ table: 'bed_stay', row })));
  };
  const word = (b) => (b.stays.length ? T.move.taken(b.stays.map((x) => fullName(x.patient)).join(', ')) : T.move.free);
  return html`<${Frame} chart=${chart} title=${T.move.title} s=${s} onSubmit=${go} back=${back} stale=${T.move.stale}>
    <${Field} id="bed" label=${T.move.to} error=${tried && !bed ? T.move.none : ''}><select id="bed" value=${bed} onChange=${(e) => { setBed(e.target.value); setSure(false); }}>
      <option value="">${T.med.chooseWitness}</option>
      ${beds.filter((b) => !mine.some((m) => m.location_id === b.id)).sort((a, b) => a.stays.length - b.stays.length || a.name.localeCompare(b.name, 'en', { numeric: true })).map((b) => html`<option key=${b.id} value=${b.id}>${b.name} (${word(b)})</option>`)}</select><//>
    ${taken ? html`<div class="doubts"><label class="tick"><input type="checkbox" id="sure" checked=${sure} onChange=${(e) => setSure(e.target.checked)} /><span>${T.move.sure}</span></label></div>` : null}<//>`;
}
