// ui.js - the small parts that screens are made of.
import { html, useEffect, useRef } from './preact.js';
import { T } from './strings.js';
import { age, day, ms } from './time.js';

const ICONS = {
  ok: 'M4 12l5 5L20 6',
  up: 'M12 20V5M5 12l7-7 7 7',
  off: 'M3 3l18 18M6 15a4 4 0 0 1 1-8M10 5a6 6 0 0 1 8 6 3.500 3.500 0 0 1 2 6',
  warn: 'M12 3L2 20h20L12 3zM12 10v5M12 17.500v.5',
  stop: 'M8 2h8l6 6v8l-6 6H8l-6-6V8zM12 7v6M12 16v.5',
  user: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c0-5 4-7 8-7s8 2 8 7',
  clock: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3 2',
  task: 'M5 4h14v16H5zM9 10l2 2 4-4',
  bed: 'M3 6v13M3 15h18v4M21 15v-2a3 3 0 0 0-3-3H8v5',
  shield: 'M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6z',
  tablet: 'M6 2h12v20H6zM11 19h2',
};
export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${ICONS[name]} /></svg>`;

export const fullName = (p) => {
  if (!p) return T.patient.unnamed;
  return [p.family_name, p.given_names].filter(Boolean).join(', ') || T.patient.unnamed;
};
export const initials = (p) => [p && p.family_name, p && p.given_names].filter(Boolean).map((s) => [...s][0].toUpperCase() + '.').join(' ') || '?';

export function ageText(p) {
  const a = age(p && p.birth_date);
  if (!a) return '';
  return a.years >= 2 ? T.patient.years(a.years) : T.patient.months(a.months);
}

const SYNC_ICON = { unsent: 'tablet', pending: 'up', acknowledged: 'ok', contested: 'warn', quarantined: 'stop' };
// Where an entry is. "At the centre" only when the centre has acknowledged it.
export const SyncMark = ({ sync, quiet }) => (quiet && sync === 'acknowledged' ? null
  : html`<span class=${`mark mark-${sync}`}><${Icon} name=${SYNC_ICON[sync] || 'clock'} />${T.row[sync] || sync}</span>`);

export const LEVEL_SIGN = { none: '', low: '', single: '▲', medium: '▲', high: '▲▲' };
export function Score({ score, trend }) {
  if (!score) return html`<span class="score score-unknown"><b>–</b><small>NEWS2</small></span>`;
  const least = score.missing.length > 0 && score.level !== 'high';
  const word = T.vitals.level[score.level];
  return html`<span class=${`score score-${score.level}`} title=${score.missing.length ? T.vitals.incomplete(score.missing.map((k) => T.vitals.names[k]).join(', ')) : T.vitals.score}>
    <b>${least ? html`<span class="atleast" aria-label=${T.vitals.least('')}>≥</span>` : null}${score.total}</b>
    <small>NEWS2 ${trend ? html`<span class="trend">${trend}</span>` : null}</small><small class="level">${LEVEL_SIGN[score.level]} ${word}</small></span>`;
}

// Values over time as a small line; text stands beside it, so it is decoration for a screen reader.
export function Spark({ points, low, high, width = 120, height = 32 }) {
  const good = points.filter((p) => Number.isFinite(p[1]));
  if (good.length < 2) return html`<span class="muted">${T.chart.noTrend}</span>`;
  const xs = good.map((p) => p[0]), ys = good.map((p) => p[1]);
  const x0 = Math.min(...xs), x1 = Math.max(...xs);
  const margin = (Math.max(...ys) - Math.min(...ys) || 2) * 0.3;
  const y0 = Math.min(...ys) - margin, y1 = Math.max(...ys) + margin;
  const X = (x) => 4 + ((x - x0) / (x1 - x0 || 1)) * (width - 8);
  const Y = (y) => height - 4 - ((y - y0) / (y1 - y0 || 1)) * (height - 8);
  const line = good.map((p) => `${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join(' ');
  const last = good[good.length - 1];
  const top = Y(Math.min(high ?? y1, y1)), bottom = Y(Math.max(low ?? y0, y0)); // of the normal range, as far as it is in sight
  return html`<svg class="spark" viewBox=${`0 0 ${width} ${height}`} width=${width} height=${height} aria-hidden="true">
    ${low !== undefined && bottom > top && html`<rect x="0" y=${top} width=${width} height=${bottom - top} class="normal" />`}
    <polyline points=${line} /><circle cx=${X(last[0])} cy=${Y(last[1])} r="3" /></svg>`;
}

export function Field({ id, label, error, help, children, wide }) {
  return html`<div class=${`field ${error ? 'bad' : ''} ${wide ? 'wide' : ''}`}>
    <label for=${id}>${label}</label>${children}
    ${help ? html`<p class="help" id=${id + '-help'}>${help}</p>` : null}
    ${error ? html`<p class="error" id=${id + '-error'}><${Icon} name="warn" />${error}</p>` : null}</div>`;
}

export function Num({ id, label, unit, value, error, onInput, points, step }) {
  return html`<${Field} id=${id} label=${label} error=${error}>
    <div class="num"><input id=${id} inputmode="decimal" autocomplete="off" value=${value || ''} aria-invalid=${error ? 'true' : undefined}
      aria-describedby=${error ? id + '-error' : undefined} onInput=${(e) => onInput(e.target.value.replace(',', '.').trim())} data-step=${step} />
      <span class="unit">${unit}</span>
      ${points !== undefined ? html`<span class=${`points points-${points}`}>${T.vitals.points(points)}</span>` : null}</div><//>`;
}

// A row of choices where one may stand: radio buttons that look like buttons.
export function Choice({ name, legend, options, value, onChange, error, points }) {
  return html`<fieldset class=${`choice ${error ? 'bad' : ''}`}><legend>${legend}</legend><div class="options">
    ${options.map(([v, text]) => html`<label class=${value === v ? 'on' : ''}><input type="radio" name=${name} value=${v} checked=${value === v}
      onChange=${() => onChange(v)} /><span>${text}</span></label>`)}
    ${points !== undefined ? html`<span class=${`points points-${points}`}>${T.vitals.points(points)}</span>` : null}</div>
    ${error ? html`<p class="error"><${Icon} name="warn" />${error}</p>` : null}</fieldset>`;
}

// A message that must not be missed; takes the focus so that a screen reader says it.
export function Alert({ title, children }) {
  const ref = useRef(null);
  useEffect(() => { if (ref.current) ref.current.focus(); }, []);
  return html`<div class="alert" role="alert" tabindex="-1" ref=${ref}><${Icon} name="stop" /><div><b>${title}</b>${children}</div></div>`;
}

export function problemText(p) {
  if (!p) return '';
  if (p.status === 0) return T.error.offline;
  if (p.status === 403 && p.code === 'not_permitted') return T.error.forbidden;
  const hint = p.body && p.body.hint ? ` ${p.body.hint}` : '';
  return `${p.message}.${hint}`.replace(/\.\./g, '.');
}

export const Failed = ({ problem, onRetry }) => html`<div class="failed" role="alert"><p>${problemText(problem)}</p>
  ${problem.body && problem.body.request_id ? html`<p class="muted">${T.requestId(problem.body.request_id)}</p>` : null}
  ${onRetry ? html`<button onClick=${onRetry}>${T.retry}</button>` : null}</div>`;

export function PatientLine({ patient, privacy }) {
  const p = patient;
  return html`<span class="who"><b lang="">${privacy ? initials(p) : fullName(p)}</b>
    <span class="muted"> ${p && p.sex ? T.patient.sexShort[p.sex] : ''} ${ageText(p)}</span></span>`;
}

export const born = (p) => (p && p.birth_date ? `${T.patient.born} ${p.birth_date.length === 10 ? day(p.birth_date) : p.birth_date}` : '');
export const byTime = (column) => (a, b) => ms(b[column]) - ms(a[column]);
