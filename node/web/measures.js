// measures.js - vital signs as rows: which code is which measure, what is plausible, from rows to a score and back.
import { moment, ms, now } from './time.js';
import { news2 } from './news2.js';
import { T } from './strings.js';
import { uuid7 } from './api.js';

const LOINC = 'http://loinc.org', UCUM = 'http://unitsofmeasure.org', SNOMED = 'http://snomed.info/sct';
export const BP = '85354-9', NEWS = '1104051000000101', SCALE2_METHOD = 'NEWS2 SpO2 scale 2';

// least, most: beyond that nobody lives, it is a slip of the finger. low, high: possible, but asked about.
export const MEASURES = {
  rr: { code: '9279-1', display: 'Respiratory rate', unit: 'breaths/minute', ucum: '/min', least: 0, most: 100, low: 6, high: 45, digits: 0 },
  spo2: { code: '59408-5', display: 'Oxygen saturation in Arterial blood by Pulse oximetry', unit: '%', ucum: '%', least: 20, most: 100, low: 75, high: 100, digits: 0 },
  o2: { code: '3151-8', display: 'Inhaled oxygen flow rate', unit: 'L/min', ucum: 'L/min', least: 0, most: 80, low: 0, high: 60, digits: 1 },
  sbp: { code: '8480-6', display: 'Systolic blood pressure', unit: 'mmHg', ucum: 'mm[Hg]', least: 20, most: 350, low: 60, high: 240, digits: 0 },
  dbp: { code: '8462-4', display: 'Diastolic blood pressure', unit: 'mmHg', ucum: 'mm[Hg]', least: 10, most: 250, low: 30, high: 140, digits: 0 },
  hr: { code: '8867-4', display: 'Heart rate', unit: 'beats/minute', ucum: '/min', least: 0, most: 350, low: 30, high: 200, digits: 0 },
  temp: { code: '8310-5', display: 'Body temperature', unit: '°C', ucum: 'Cel', least: 20, most: 46, low: 34, high: 41, digits: 1 },
  acvpu: { code: '67775-7', display: 'Level of responsiveness' },
};
const CODES = Object.fromEntries(Object.entries(MEASURES).map(([k, m]) => [m.code, k]));
CODES['2708-6'] = 'spo2';
CODES['80288-4'] = 'acvpu';

const number = (v) => (v === null || v === undefined || v === '' ? NaN : Number(v));

// One row, or one part of a trend, as measures: { sbp: 120, dbp: 80 }.
export function valuesOf(row) {
  if (row.code === BP) {
    const out = {};
    for (const c of row.components || []) {
      const k = CODES[c.code && c.code.coding && c.code.coding[0] && c.code.coding[0].code];
      if (k && c.valueQuantity) out[k] = number(c.valueQuantity.value);
    }
    return out;
  }
  if (row.code === NEWS) return { news: number(row.value_decimal) };
  const k = CODES[row.code];
  if (!k) return {};
  if (k === 'acvpu') return { acvpu: row.value_code || (row.value_text || '').slice(0, 1).toUpperCase() };
  return { [k]: number(row.value_decimal) };
}

export const isOurs = (code) => code === BP || code === NEWS || code in CODES;

// Rounds of measuring: what was measured within 20 minutes belongs together. Newest first.
const ROUND_MS = 20 * 60000;
export function rounds(rows) {
  const corrected = new Set(rows.map((r) => r.corrects_id).filter(Boolean));
  const sorted = rows.filter((r) => isOurs(r.code) && !corrected.has(r.id)).sort((a, b) => ms(b.effective_at) - ms(a.effective_at) || (a.id < b.id ? 1 : -1)); // of one moment the one written last
  const out = [];
  for (const r of sorted) {
    const at = ms(r.effective_at);
    let round = out[out.length - 1];
    if (!round || round.at - at > ROUND_MS) {
      round = { at, effective_at: r.effective_at, values: {}, pending: false, scale2: false };
      out.push(round);
    }
    for (const [k, v] of Object.entries(valuesOf(r))) if (!(k in round.values)) round.values[k] = v;
    round.pending = round.pending || r.sync === 'pending';
    round.scale2 = round.scale2 || r.method === SCALE2_METHOD;
  }
  for (const r of out) r.score = scoreOf(r);
  return out;
}

// Imported rounds without "on oxygen" are on air, as the record says nothing else; consciousness is never guessed.
function scoreOf(round) {
  const v = { ...round.values, scale2: round.scale2 };
  const measured = ['rr', 'spo2', 'sbp', 'hr', 'temp'].some((k) => k in v);
  if (measured && !('o2' in v)) v.o2 = 0;
  return measured ? news2(v) : null;
}

export const lastScore = (list) => list.find((r) => r.score && r.score.any) || null;

// Rows to write for what was entered. entered: { rr: '18', … }, texts as typed; scale2.
export function toWrites(patient_id, encounter_id, entered, scale2, at) {
  const effective_at = moment(at);
  const common = { patient_id, encounter_id, status: 'final', category: 'vital-signs', code_system: LOINC, effective_at };
  const writes = [];
  const add = (values) => writes.push({ op: 'create', table: 'observation', values: { id: uuid7(), ...common, ...values } });
  for (const k of ['rr', 'spo2', 'o2', 'hr', 'temp'])
    if (entered[k] !== undefined && entered[k] !== '') {
      const m = MEASURES[k];
      add({ code: m.code, display: m.display, value_decimal: String(entered[k]), value_unit: m.unit, value_unit_code: m.ucum, method: k === 'spo2' && scale2 ? SCALE2_METHOD : undefined });
    }
  if (entered.sbp) {
    const part = (k) => ({
      code: { coding: [{ system: LOINC, code: MEASURES[k].code, display: MEASURES[k].display }] },
      valueQuantity: { value: Number(entered[k]), unit: 'mmHg', system: UCUM, code: 'mm[Hg]' },
    });
    add({ code: BP, display: 'Blood pressure panel', components: [part('sbp'), part('dbp')] });
  }
  if (entered.acvpu) add({ code: MEASURES.acvpu.code, display: MEASURES.acvpu.display, value_code: entered.acvpu, value_text: T.vitals.levels[entered.acvpu] });
  const score = news2(numbers(entered, scale2));
  if (score.missing.length === 0)
    add({ code: NEWS, code_system: SNOMED, display: 'NEWS2 total score', value_decimal: String(score.total), value_json: { scale: scale2 ? 2 : 1, inputs: numbers(entered, scale2), points: score.parts } });
  for (const w of writes) for (const c of Object.keys(w.values)) if (w.values[c] === undefined || w.values[c] === null) delete w.values[c];
  return writes;
}

export function numbers(entered, scale2) {
  const out = { scale2 };
  for (const k of ['rr', 'spo2', 'o2', 'sbp', 'hr', 'temp']) if (entered[k] !== undefined && entered[k] !== '') out[k] = Number(entered[k]);
  if (entered.acvpu) out.acvpu = entered.acvpu;
  return out;
}

// What is wrong with the texts as typed: { errors: {measure: text}, doubts: [text] }.
export function checkEntered(entered, at) {
  const errors = {}, doubts = [];
  for (const [k, m] of Object.entries(MEASURES)) {
    const text = entered[k];
    if (k === 'acvpu' || text === undefined || text === '') continue;
    const name = k === 'sbp' ? T.vitals.systolic : k === 'dbp' ? T.vitals.diastolic : T.vitals.names[k];
    const v = Number(text);
    if (!/^\d{1,3}(\.\d{1,2})?$/.test(text)) errors[k] = T.vitals.number(name);
    else if (v < m.least || v > m.most) errors[k] = T.vitals.impossible(name, m.least, m.most);
    else if (v < m.low || v > m.high) doubts.push(T.vitals.unlikely(name, `${text} ${m.unit === '%' ? '%' : T.vitals.units[k]}`));
  }
  if (!!entered.sbp !== !!entered.dbp) errors.sbp = errors.sbp || T.vitals.both;
  else if (entered.sbp && !errors.sbp && !errors.dbp && Number(entered.dbp) >= Number(entered.sbp)) errors.dbp = T.vitals.order;
  if (at > now() + 5 * 60000) errors.at = T.vitals.future;
  if (!Object.keys(MEASURES).some((k) => entered[k])) errors.all = T.vitals.nothing;
  return { errors, doubts };
}
