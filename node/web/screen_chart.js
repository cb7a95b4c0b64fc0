// screen_chart.js - one patient.
import { html } from './preact.js';
import { T } from './strings.js';
import { useShared, useTick } from './state.js';
import { ms, since, when } from './time.js';
import { NEWS, isOurs, rounds, lastScore, valuesOf } from './measures.js';
import { Failed, Icon, Score, Spark, SyncMark } from './ui.js';
import { Banner, useChart } from './patient.js';
import { DuePanel } from './screen_medicine.js';
import { AlertLine, TaskLine } from './screen_forms.js';

const ORDER = ['rr', 'spo2', 'o2', 'sbp', 'hr', 'temp', 'acvpu', 'news'];
const NORMAL = { rr: [12, 20], spo2: [96, 100], sbp: [111, 219], hr: [51, 90], temp: [36.1, 38] };

// The chart's trends as rows, so that rounds and scores come out of the same place as on the board.
function rowsOf(chart) {
  const rows = [];
  for (const v of chart.vitals || []) {
    if (!isOurs(v.code)) continue;
    for (const t of v.trend)
      if (t.effective_at !== v.last.effective_at) rows.push({ id: '', code: v.code, effective_at: t.effective_at, value_decimal: t.value, value_text: t.text, value_code: t.code, components: t.components });
    rows.push(v.last);
  }
  return rows;
}

function VitalsTable({ chart }) {
  const rows = rowsOf(chart);
  const series = new Map();
  for (const r of rows)
    for (const [k, v] of Object.entries(valuesOf(r))) {
      if (!series.has(k)) series.set(k, []);
      series.get(k).push([ms(r.effective_at), v, r, valuesOf(r)]);
    }
  for (const s of series.values()) s.sort((a, b) => a[0] - b[0]);
  const scored = lastScore(rounds(rows.filter((r) => r.code !== NEWS)));
  const shown = ORDER.filter((k) => series.has(k) && k !== 'news');
  if (chart.vitals === null) return html`<p class="muted">${T.chart.notPermitted}</p>`;
  if (shown.length === 0) return html`<p class="muted">${T.board.noVitals}</p>`;
  return html`${scored ? html`<div class="scorebox"><${Score} score=${scored.score} /><p>${T.vitals.advice[scored.score.level]}
      ${scored.score.missing.length ? html`<br /><span class="muted">${T.vitals.incomplete(scored.score.missing.map((k) => T.vitals.names[k]).join(', '))}</span>` : null}
      <br /><span class="muted">${when(scored.effective_at)} · ${since(scored.effective_at)}</span></p></div>` : null}
    <table class="vitals"><thead><tr><th scope="col">${T.chart.vitals}</th><th scope="col">${T.chart.value}</th><th scope="col">${T.chart.when}</th><th scope="col" class="wideonly">${T.chart.trend}</th></tr></thead>
    <tbody>${shown.map((k) => {
      const s = series.get(k), [, v, row, all] = s[s.length - 1];
      const text = k === 'sbp' ? `${v}/${all.dbp}` : k === 'acvpu' ? T.vitals.levels[v] || v : k === 'o2' && v === 0 ? T.vitals.air : k === 'temp' ? v.toFixed(1) : String(v);
      return html`<tr key=${k}><th scope="row">${T.vitals.names[k]}</th><td><b>${text}</b> ${k === 'acvpu' || (k === 'o2' && v === 0) ? '' : html`<small>${T.vitals.units[k]}</small>`}</td>
        <td>${when(row.effective_at)} ${row.source === 'back-entry' ? html`<span class="muted">${T.vitals.fromPaper}</span> ` : null}<${SyncMark} sync=${row.sync} quiet /></td>
        <td class="wideonly">${k === 'acvpu' ? null : html`<${Spark} points=${s} low=${NORMAL[k] && NORMAL[k][0]} high=${NORMAL[k] && NORMAL[k][1]} />`}</td></tr>`;
    })}</tbody></table>`;
}

export function Section({ title, rows, line, action }) {
  return html`<section class="panel"><div class="panelhead"><h2>${title}</h2>${action || null}</div>
    ${rows === null ? html`<p class="muted">${T.chart.notPermitted}</p>` : rows.length === 0 ? html`<p class="muted">${T.chart.none}</p>`
      : html`<ul class="rows">${rows.map((r) => html`<li key=${r.id}>${line(r)}</li>`)}</ul>`}</section>`;
}

const allergyLine = (a) => html`<span class=${a.kind === 'none-known' ? '' : 'strong'}>${a.kind === 'none-known' ? T.board.noAllergies : a.display || a.code}</span>
  ${a.criticality ? html`<span class="muted"> ${a.criticality}</span>` : null} ${a.reaction_text ? html`<span> · ${a.reaction_text}</span>` : null} ${a.source === 'back-entry' ? html`<span class="muted">${T.vitals.fromPaper}</span> ` : null}<${SyncMark} sync=${a.sync} quiet />`;
const problemLine = (c) => html`${c.display || c.code} <span class="muted">${c.clinical_status || ''}</span> <${SyncMark} sync=${c.sync} quiet />`;
const noteLine = (n) => html`<p class="muted">${[n.title || n.kind, when(n.effective_at), n.source === 'back-entry' && T.vitals.fromPaper].filter(Boolean).join(' · ')} <${SyncMark} sync=${n.sync} quiet /></p><p class="body">${n.body}</p>`;
const taskLine = (t) => html`<div class="due"><div class="what">${t.priority === 'urgent' ? html`<${Icon} name="warn" />` : null}${t.description || t.code} ${t.due_at ? html`<span class="muted">${when(t.due_at)} · ${since(t.due_at)}</span>` : null} ${t.source === 'back-entry' ? html`<span class="muted">${T.vitals.fromPaper}</span> ` : null}<${SyncMark} sync=${t.sync} quiet /></div><${TaskLine} task=${t} patient_id=${t.patient_id} /></div>`;

export function Chart({ args: [id] }) {
  const [chart, problem, again] = useChart(id);
  const [unsent] = useShared('unsent');
  useTick(30);
  if (!chart && problem && problem.status === 403) return html`<${Failed} problem=${problem} /><p>${T.glass.offer} <a class="button" href=${`#/glass/${id}`}>${T.glass.title}</a></p>`;
  if (!chart) return problem ? html`<${Failed} problem=${problem} onRetry=${again} />` : html`<p class="center">${T.loading}</p>`;
  const add = (what, text) => html`<a class="button" href=${`#/patient/${id}/${what}`}>${text}</a>`;
  const mine = unsent.filter((e) => e.patient_id === id);
  return html`<${Banner} chart=${chart} action=${add('move', T.chart.move)} />
    ${chart.conflicts && chart.conflicts.length ? html`<p class="strip warn"><${Icon} name="warn" /><span>${T.chart.conflict(chart.conflicts.length)}</span> <a class="button" href="#/decisions">${T.chart.decide}</a></p>` : null}
    ${(chart.alerts || []).map((a) => html`<${AlertLine} key=${a.id} alert=${a} patient_id=${id} onSeen=${again} />`)}
    ${mine.map((e) => html`<p class="strip wait" key=${e.n}><${Icon} name="tablet" /><span>${e.label} · ${when(e.at)}</span> <${SyncMark} sync="unsent" /></p>`)}
    ${problem && problem.status !== 0 ? html`<${Failed} problem=${problem} onRetry=${again} />` : null}
    <div class="chart">
      <section class="panel first"><div class="panelhead"><h2>${T.chart.vitals}</h2><a class="button main" href=${`#/patient/${id}/vitals`}>${T.chart.enterVitals}</a></div><${VitalsTable} chart=${chart} /></section>
      <div class="stack"><${DuePanel} chart=${chart} id=${id} />
      <${Section} title=${T.chart.tasks} rows=${chart.tasks} line=${taskLine} action=${add('task', T.chart.addTask)} />
      <${Section} title=${T.chart.allergies} rows=${chart.allergies} line=${allergyLine} action=${add('allergy', T.chart.addAllergy)} />
      <${Section} title=${T.chart.problems} rows=${chart.conditions} line=${problemLine} />
      <${Section} title=${T.chart.notes} rows=${chart.notes} line=${noteLine} action=${add('note', T.chart.addNote)} /></div>
    </div>`;
}
