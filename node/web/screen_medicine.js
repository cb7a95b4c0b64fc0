// screen_medicine.js - what is due, and giving it: the checks, the second person, the double-dose guard.
import { html, useEffect, useRef, useState } from './preact.js';
import { T } from './strings.js';
import { read, readAll, request, uuid7 } from './api.js';
import { get, useShared, useTick } from './state.js';
import { watch } from './live.js';
import { clock, moment, ms, now, since, when } from './time.js';
import { checks, isGiven } from './medicines.js';
import { Choice, Field, Icon, SyncMark } from './ui.js';
import { useChart } from './patient.js';
import { Frame, Waiting, useSave } from './screen_forms.js';
import { FromPaper, usePaper } from './from_paper.js';

const AHEAD_MS = 6 * 3600000, CLAIM_AGAIN_MS = 60000, GIVEN_HOURS = 48;
const dose = (o) => [o.dose_quantity && `${Number(o.dose_quantity)} ${o.dose_unit || ''}`, o.route].filter(Boolean).join(' · ');

const given = (patient) => readAll(`medication_administration?patient_id=eq.${patient}&effective_at=gte.${encodeURIComponent(moment(now() - GIVEN_HOURS * 3600000))}&order=-effective_at`, 1000)
  .then((list) => {
    const corrected = new Set(list.map((a) => a.corrects_id).filter(Boolean));
    return list.filter((a) => a.status !== 'entered-in-error' && !corrected.has(a.id));
  });

// The chart's panel: what is due soon or was due, with what was done about it.
export function DuePanel({ chart, id }) {
  const [list, setList] = useState([]);
  useEffect(() => { given(id).then(setList).catch(() => {}); }, [chart]);
  if (chart.due === null || chart.orders === null) return html`<section class="panel"><h2>${T.chart.medicines}</h2><p class="muted">${T.chart.notPermitted}</p></section>`;
  const orders = new Map(chart.orders.map((o) => [o.row.id, { ...o.row, state: o.state }]));
  const soon = chart.due.filter((d) => orders.has(d.slot.order_id) && ms(d.slot.due_at) < now() + AHEAD_MS && (!d.administration || ms(d.slot.due_at) > now() - 8 * 3600000));
  const needed = [...orders.values()].filter((o) => o.as_needed);
  const line = (order, slot) => {
    const done = slot ? list.filter((a) => a.slot_id === slot.id) : [];
    const twice = done.filter(isGiven).length;
    const late = slot && done.length === 0 && ms(slot.due_at) < now() - 30 * 60000;
    return html`<li key=${slot ? slot.id : order.id} class="due"><div class="what"><b>${order.display || order.code}</b> ${order.high_alert ? html`<span class="badge warn inline"><${Icon} name="warn" />${T.med.highAlert}</span>` : null}
        <br /><span class="muted">${dose(order)} · ${slot ? html`<span class=${late ? 'late' : ''}>${late ? html`<${Icon} name="clock" />${T.med.overdue} ` : ''}${when(slot.due_at)}${late ? ` · ${since(slot.due_at)}` : ''}</span>` : T.med.asNeeded}${order.state === 'on-hold' ? ` · ${T.med.held}` : ''}</span>
        ${done.map((a) => html`<p key=${a.id} class=${isGiven(a) ? '' : 'muted'}><${Icon} name=${isGiven(a) ? 'ok' : 'off'} />${isGiven(a) ? T.med.given(clock(a.effective_at)) : T.med.notGiven(clock(a.effective_at), a.reason_text || T.med.reasons[a.reason_code] || '')} ${a.source === 'back-entry' ? html`<span class="muted">${T.vitals.fromPaper}</span> ` : null}<${SyncMark} sync=${a.sync} quiet /></p>`)}
        ${twice > 1 ? html`<p class="badge warn"><${Icon} name="warn" />${T.med.twice(twice)}</p>` : null}</div>
      <a class=${`button ${late ? 'main' : ''}`} href=${slot ? `#/patient/${id}/give/${order.id}/${slot.id}` : `#/patient/${id}/give/${order.id}`}>${done.length ? T.med.open : T.med.give}</a></li>`;
  };
  return html`<section class="panel"><div class="panelhead"><h2>${T.chart.medicines}</h2></div>
    ${soon.length + needed.length === 0 ? html`<p class="muted">${T.med.notDue}</p>` : html`<ul class="rows">${soon.map((d) => line(orders.get(d.slot.order_id), d.slot))}${needed.map((o) => line(o, null))}</ul>`}</section>`;
}

// "I have this dose open", told to the other tablets, and what they tell us.
function useClaims(slot) {
  const [claims, setClaims] = useState([]);
  useEffect(() => {
    if (!slot) return undefined;
    const put = (list) => setClaims((old) => [...old.filter((o) => !list.some((c) => c.staff_id === o.staff_id && c.device === o.device)), ...list].filter((c) => ms(c.until) > now()));
    const claim = () => request('POST', '/api/v1/claims', { body: { slot_id: slot } }).then((r) => setClaims(r.others)).catch(() => {});
    claim();
    const t = setInterval(claim, CLAIM_AGAIN_MS);
    const stop = watch((e) => { if (e.kind === 'claim' && e.slot_id === slot && e.staff_id !== get('session').staff.id) put([e]); });
    return () => {
      clearInterval(t);
      stop();
      request('POST', '/api/v1/claims', { body: { slot_id: slot, release: true } }).catch(() => {});
    };
  }, [slot]);
  return claims;
}

function useFacts(id, chart) {
  const [facts, setFacts] = useState(null);
  useEffect(() => {
    if (!chart) return;
    Promise.all([given(id), facts ? facts.staff : readAll('staff?order=family_name')]).then(([done, staff]) => setFacts({ done, staff }))
      .catch(() => setFacts((f) => f || { done: (chart.due || []).map((d) => d.administration).filter(Boolean), staff: [] }));
  }, [chart]);
  return facts;
}

const staffName = (s) => [s.given_names, s.family_name].filter(Boolean).join(' ') || s.username;

function Rights({ rights, setRights, chart, error }) {
  const [band, setBand] = useState('');
  const numbers = (chart.identifiers || []).map((i) => i.value);
  const scanned = (v) => {
    setBand(v);
    if (numbers.includes(v.trim())) setRights({ ...rights, patient: true });
  };
  const wrong = band.trim().length >= 6 && numbers.length > 0 && !numbers.some((n) => n.startsWith(band.trim()));
  return html`<fieldset><legend>${T.med.rights}</legend>
    <${Field} id="band" label=${T.med.scan} error=${wrong ? T.med.wrongBand : ''}><input id="band" autocomplete="off" value=${band} onInput=${(e) => scanned(e.target.value)} /><//>
    ${numbers.includes(band.trim()) ? html`<p class="good"><${Icon} name="ok" />${T.med.scanned}</p>` : null}
    ${Object.entries(T.med.right).map(([k, text]) => html`<label class="tick" key=${k}><input type="checkbox" name=${'right-' + k} checked=${!!rights[k]} onChange=${(e) => setRights({ ...rights, [k]: e.target.checked })} /><span>${text}</span></label>`)}
    ${error ? html`<p class="error"><${Icon} name="warn" />${error}</p>` : null}</fieldset>`;
}

export function Give({ args: [id, orderId, slotId] }) {
  const [chart, problem, again] = useChart(id);
  const facts = useFacts(id, chart);
  const claims = useClaims(slotId);
  const [unsent] = useShared('unsent');
  const [status, setStatus] = useState('');
  const [rights, setRights] = useState({});
  const [reason, setReason] = useState('');
  const [override, setOverride] = useState('');
  const [witness, setWitness] = useState('');
  const paper = usePaper();
  const [tried, setTried] = useState(false);
  const [changed, setChanged] = useState(false);
  const warned = useRef('');
  const back = `#/patient/${id}`;
  const s = useSave(id, back);
  useTick(20);
  if (!chart || !facts) return html`<${Waiting} problem=${problem} again=${again} />`;
  const entry = (chart.orders || []).find((o) => o.row.id === orderId);
  const slot = slotId ? ((chart.due || []).find((d) => d.slot.id === slotId) || {}).slot : null;
  if (!entry || (slotId && !slot)) return html`<p class="center">${T.med.notDue} <a href=${back}>${T.back}</a></p>`;
  const order = { ...entry.row, state: entry.state };
  const names = new Map(facts.staff.map((p) => [p.id, staffName(p)]));
  const list = checks({ chart, order, slot, done: facts.done, claims, unsent, names, at: paper.ms });
  // A reason that was written before a warning appeared does not answer it.
  const warnings = list.filter((c) => c.kind === 'ask').map((c) => c.text).join('\n');
  if (warned.current !== warnings) {
    if (warned.current && override) setOverride('');
    warned.current = warnings;
  }
  const ask = status === 'completed' && list.some((c) => c.kind === 'ask');
  const me = get('session').staff.id;
  const errors = tried ? {
    status: status ? '' : T.med.chooseOutcome,
    rights: status === 'completed' && !paper.on && Object.keys(T.med.right).some((k) => !rights[k]) ? T.med.needRights : '',
    reason: status === 'not-done' && !reason ? T.med.chooseReason : '',
    override: ask && override.trim().length < 3 ? T.med.needOverride : '',
    witness: status === 'completed' && order.high_alert && !witness ? T.med.needWitness : '',
  } : {};

  async function go() {
    setTried(true);
    setChanged(false);
    if (!status || paper.error || (status === 'completed' && ((!paper.on && Object.keys(T.med.right).some((k) => !rights[k])) || (ask && override.trim().length < 3) || (order.high_alert && !witness))) || (status === 'not-done' && !reason)) return;
    if (slot) {
      // The last look before it is written: somebody may have been faster.
      const known = new Set(facts.done.map((d) => d.id));
      const fresh = await read(`medication_administration?slot_id=eq.${slot.id}&limit=20`).catch(() => null);
      if (fresh && fresh.items.some((d) => !known.has(d.id) && isGiven(d))) {
        setChanged(true);
        again();
        return;
      }
    }
    const values = { id: uuid7(), order_id: order.id, slot_id: slot && slot.id, patient_id: id, encounter_id: order.encounter_id, status, code_system: order.code_system, code: order.code, display: order.display, effective_at: moment(), ...paper.values() };
    if (status === 'completed') Object.assign(values, { dose_quantity: order.dose_quantity, dose_unit: order.dose_unit, route: order.route, witness_id: witness, reason_code: ask ? 'override' : '', reason_text: ask ? override.trim() : '' });
    else Object.assign(values, { reason_code: reason, reason_text: override.trim() || T.med.reasons[reason] });
    s.go([{ op: 'create', table: 'medication_administration', values }], T.med.label(order.display || order.code, status));
  }

  return html`<${Frame} chart=${chart} title=${T.med.title} s=${s} onSubmit=${go} back=${back}>
    <p class="medicine"><b>${order.display || order.code}</b> <span>${dose(order)}</span> ${order.high_alert ? html`<span class="badge warn inline"><${Icon} name="warn" />${T.med.highAlert}</span>` : null}</p>
    ${order.frequency_text || order.note ? html`<p class="muted">${[order.frequency_text, order.note].filter(Boolean).join(' · ')}</p>` : null}
    ${changed ? html`<p class="strip warn" role="alert"><${Icon} name="warn" />${T.med.changed}</p>` : null}
    <h3>${T.med.checks}</h3>
    <ul class="checks" aria-live="polite">${list.map((c) => html`<li class=${'check-' + c.kind}><${Icon} name=${c.kind === 'ok' ? 'ok' : c.kind === 'ask' ? 'warn' : 'clock'} />${c.text}</li>`)}</ul>
    <${Choice} name="status" legend=${T.med.outcome} options=${Object.entries(T.med.outcomes)} value=${status} onChange=${setStatus} error=${errors.status} />
    ${status ? html`<${FromPaper} paper=${paper} tried=${tried} />` : null}
    ${status === 'completed' ? html`${paper.on ? null : html`<${Rights} rights=${rights} setRights=${setRights} chart=${chart} error=${errors.rights} />`}
      ${order.high_alert ? html`<${Field} id="witness" label=${T.med.witness} error=${errors.witness}><select id="witness" value=${witness} onChange=${(e) => setWitness(e.target.value)}>
        <option value="">${T.med.chooseWitness}</option>${facts.staff.filter((p) => p.id !== me && p.active !== false).map((p) => html`<option key=${p.id} value=${p.id}>${staffName(p)}</option>`)}</select><//>` : null}
      ${ask ? html`<${Field} id="override" label=${T.med.override} help=${T.med.overrideHelp} error=${errors.override}><input id="override" value=${override} onInput=${(e) => setOverride(e.target.value)} /><//>` : null}` : null}
    ${status === 'not-done' ? html`<${Choice} name="reason" legend=${T.med.why} options=${Object.entries(T.med.reasons)} value=${reason} onChange=${setReason} error=${errors.reason} />` : null}<//>`;
}
