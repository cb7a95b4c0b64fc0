// screen_paper.js - the downtime pack: the ward on paper, while there is still something to print it with. One page to
// begin with (the census), then a page for each patient: code status, allergies, problems, last vital signs, medicines
// with boxes to sign for the next days. The browser prints it, or makes a PDF of it.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { read } from './api.js';
import { clock, day, ms, now, when } from './time.js';
import { NEWS, rounds } from './measures.js';
import { Failed, ageText, born, fullName } from './ui.js';
import { arrange } from './screen_board.js';
import { currentBed } from './patient.js';

const DAYS = [1, 2, 3, 5, 7], AT_ONCE = 4, DAY_MS = 86400000;

async function pack(ward, progress) {
  const board = await read(`wards/${ward}/board`);
  const view = arrange(board);
  const list = view.cards.flatMap((c) => c.people.map((p) => ({ ...p, place: c.place })))
    .sort((a, b) => (a.place ? a.place.name : '~').localeCompare(b.place ? b.place.name : '~', 'en', { numeric: true }));
  const charts = new Array(list.length);
  let next = 0;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let i = next++; i < list.length; i = next++) {
      charts[i] = await read(`patients/${list[i].stay.patient_id}/chart?purpose=print`);
      progress(i + 1, list.length);
    }
  }));
  return { board, ward: view.ward, list, charts, free: view.free };
}

const allergyText = (list) => {
  if (!list) return T.chart.notPermitted;
  const real = list.filter((a) => a.kind !== 'none-known');
  if (real.length) return real.map((a) => `${a.display || a.code}${a.criticality === 'high' ? ' (!)' : ''}${a.reaction_text ? `: ${a.reaction_text}` : ''}`).join('; ');
  return list.length ? T.board.noAllergies : T.board.allergiesUnknown;
};

function vitalsText(chart) {
  const rows = (chart.vitals || []).filter((v) => v.code !== NEWS).map((v) => v.last);
  const v = {};
  for (const r of rounds(rows)) for (const [k, x] of Object.entries(r.values)) if (!(k in v)) v[k] = [x, r.effective_at];
  const part = (k, text) => (v[k] ? `${T.vitals.short[k]} ${text(v[k][0])} (${when(v[k][1])})` : '');
  return [part('rr', String), part('spo2', (x) => `${x} %`), part('sbp', (x) => `${x}/${v.dbp ? v.dbp[0] : '?'}`), part('hr', String), part('temp', (x) => `${x.toFixed(1)} °C`)].filter(Boolean).join(' · ') || T.board.noVitals;
}

const doseText = (o) => `${o.dose_quantity ? Number(o.dose_quantity) + ' ' + (o.dose_unit || '') : ''} ${o.route || ''}`;
const midnight = () => new Date(now()).setHours(0, 0, 0, 0);

// One row for each order, one column for each day; the times that the order's slots have, to be signed.
function Medicines({ chart, days }) {
  const columns = Array.from({ length: days }, (_, i) => midnight() + i * DAY_MS);
  const times = new Map();
  for (const d of chart.due || []) {
    if (!times.has(d.slot.order_id)) times.set(d.slot.order_id, new Set());
    times.get(d.slot.order_id).add(clock(d.slot.due_at));
  }
  if (!chart.orders || chart.orders.length === 0) return html`<p>${T.chart.none}</p>`;
  return html`<table class="mar"><thead><tr><th scope="col">${T.paper.medicine}</th>${columns.map((c) => html`<th scope="col">${day(c)}</th>`)}</tr></thead>
    <tbody>${chart.orders.map(({ row: o, state }) => html`<tr key=${o.id}><th scope="row">${o.high_alert ? '(!) ' : ''}${o.display || o.code}<br /><small>${doseText(o)} · ${o.frequency_text || ''}${state === 'on-hold' ? ` · ${T.med.held}` : ''}</small></th>
      ${columns.map(() => html`<td>${o.as_needed ? html`<small>${T.med.asNeeded}</small>` : [...(times.get(o.id) || [])].sort().map((t) => html`<span class="box">${t} ____</span>`)}</td>`)}</tr>`)}</tbody></table>`;
}

function Page({ p, chart, days, at }) {
  const e = chart.encounter;
  const facts = [ageText(chart.patient), chart.patient.sex && T.patient.sex[chart.patient.sex], born(chart.patient), (chart.identifiers || []).length ? `${T.patient.number} ${chart.identifiers[0].value}` : ''].filter(Boolean).join(' · ');
  return html`<section class="sheet" tabindex="0" aria-label=${fullName(chart.patient)}><h2>${currentBed(chart).join(' / ') || T.patient.noBed} · <span lang="">${fullName(chart.patient)}</span></h2><p>${facts}</p>
    <dl><dt>${T.patient.code}</dt><dd><b>${(e && e.code_status) || T.unknown}</b></dd><dt>${T.chart.allergies}</dt><dd><b>${allergyText(chart.allergies)}</b></dd>
      ${chart.patient.isolation ? html`<dt>${T.board.isolation}</dt><dd>${chart.patient.isolation}</dd>` : null}
      <dt>${T.chart.problems}</dt><dd>${(chart.conditions || []).map((c) => c.display || c.code).join('; ') || T.chart.none}</dd><dt>${T.chart.vitals}</dt><dd>${vitalsText(chart)}</dd>
      <dt>${T.chart.tasks}</dt><dd>${(chart.tasks || []).map((t) => `${t.description || t.code}${t.due_at ? ` (${when(t.due_at)})` : ''}`).join('; ') || T.chart.none}</dd></dl>
    <h3>${T.paper.chart(days)}</h3><${Medicines} chart=${chart} days=${days} />
    <h3>${T.paper.notes}</h3><div class="lines"></div><p class="stamp">${at}</p></section>`;
}

export function Paper({ args: [ward] }) {
  const [got, setGot] = useState(null);
  const [problem, setProblem] = useState(null);
  const [done, setDone] = useState('');
  const [days, setDays] = useState(3);
  useEffect(() => { pack(ward, (n, of) => setDone(`${n} / ${of}`)).then(setGot).catch(setProblem); }, [ward]);
  if (problem) return html`<${Failed} problem=${problem} onRetry=${() => location.reload()} />`;
  if (!got) return html`<p class="center" role="status">${T.loading} ${done}</p>`;
  const at = T.paper.asOf(`${day(got.board.now)} ${clock(got.board.now)}`, got.board.data_as_of ? when(ms(got.board.data_as_of)) : T.unknown);
  return html`<div class="paper"><div class="noprint boardhead"><h1>${T.paper.title}</h1><span class="gap"></span>
      <label>${T.paper.days} <select value=${days} onChange=${(e) => setDays(Number(e.target.value))}>${DAYS.map((d) => html`<option key=${d} value=${d}>${d}</option>`)}</select></label>
      <a class="button" href=${`#/ward/${ward}/entered`}>${T.entered.title}</a>
      <button class="main" onClick=${() => print()}>${T.paper.print}</button></div>
    <p class="noprint muted lead">${T.paper.help}</p>
    <section class="sheet" tabindex="0" aria-label=${T.paper.census}><h2>${got.ward.name}: ${T.paper.census}</h2><p class="stamp">${at}</p>
      <table><thead><tr>${[T.patient.bed, T.paper.patient, T.patient.born, T.patient.code, T.chart.allergies, 'NEWS2'].map((h) => html`<th scope="col" key=${h}>${h}</th>`)}</tr></thead>
      <tbody>${got.list.map((p, i) => html`<tr key=${p.stay.id}><td><b>${p.place && p.place.kind === 'bed' ? p.place.name : T.board.unplaced}</b></td><td lang="">${fullName(p.patient)}</td><td>${p.patient ? p.patient.birth_date : ''}</td>
        <td>${(got.charts[i].encounter && got.charts[i].encounter.code_status) || ''}</td><td>${allergyText(got.charts[i].allergies)}</td><td>${p.scored ? `${p.scored.score.missing.length ? '≥ ' : ''}${p.scored.score.total} (${when(p.scored.effective_at)})` : ''}</td></tr>`)}</tbody></table>
      <p>${T.board.free}: ${got.free.map((b) => b.name).join(', ') || T.chart.none}</p></section>
    ${got.list.map((p, i) => html`<${Page} key=${p.stay.id} p=${p} chart=${got.charts[i]} days=${days} at=${at} />`)}</div>`;
}
