// screen_vitals.js - one round of vital signs on one screen; the score counts along.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { readAll } from './api.js';
import { get, notice } from './state.js';
import { localInput, now } from './time.js';
import { news2 } from './news2.js';
import { MEASURES, checkEntered, numbers, toWrites } from './measures.js';
import { save } from './outbox.js';
import { Alert, Choice, Failed, Field, Num, Score, problemText } from './ui.js';
import { Banner, useChart } from './patient.js';

const LATE_MS = 15 * 60000; // older than that: was it on paper?

export function Vitals({ args: [id] }) {
  const [chart, problem, again] = useChart(id);
  const [entered, setEntered] = useState({});
  const [oxygen, setOxygen] = useState('');
  const [scale2, setScale2] = useState(false);
  const [atText, setAt] = useState('');
  const [sure, setSure] = useState(false);
  const [paper, setPaper] = useState(false);
  const [by, setBy] = useState('');
  const [staff, setStaff] = useState([]);
  useEffect(() => { if (paper && !staff.length) readAll('staff?order=family_name').then(setStaff).catch(() => {}); }, [paper]);
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState(null);
  if (!chart) return problem ? html`<${Failed} problem=${problem} onRetry=${again} />` : html`<p class="center">${T.loading}</p>`;

  const put = (k) => (v) => {
    setEntered((e) => ({ ...e, [k]: v }));
    setSure(false);
  };
  const any = Object.keys(MEASURES).some((k) => entered[k]);
  const all = { ...entered, o2: oxygen === 'air' ? '0' : oxygen === 'oxygen' ? entered.o2 : '' };
  const at = atText ? new Date(atText).getTime() : now();
  const { errors, doubts } = checkEntered(all, at);
  const shown = tried ? errors : {};
  const valid = Object.fromEntries(Object.entries(all).filter(([k]) => !errors[k]));
  const score = news2(numbers(valid, scale2));
  const pts = (k) => (k in score.parts ? score.parts[k] : undefined);
  const num = (k, label) => html`<${Num} id=${k} label=${label || T.vitals.names[k]} unit=${T.vitals.units[k]} value=${entered[k]} error=${shown[k]} onInput=${put(k)} points=${pts(k)} />`;

  async function go(e) {
    e.preventDefault();
    setTried(true);
    setRefused(null);
    if (busy || Object.keys(errors).length || (doubts.length && !sure)) {
      const bad = document.querySelector('[aria-invalid]') || document.getElementById('sure');
      if (bad) bad.focus();
      return;
    }
    setBusy(true);
    try {
      const writes = toWrites(id, chart.encounter ? chart.encounter.id : undefined, all, scale2, at);
      if (paper) for (const w of writes) Object.assign(w.values, { source: 'back-entry' }, by ? { performed_by: by } : {});
      const done = await save({ body: { writes }, label: T.vitals.title, patient_id: id });
      if (done.state === 'sent') notice('good', T.vitals.savedHere);
      else notice('wait', T.vitals.keptHere);
      location.hash = `#/patient/${id}`;
    } catch (p) {
      setRefused(p);
      setBusy(false);
    }
  }

  return html`<${Banner} chart=${chart} />
    <form class="entry" onSubmit=${go} novalidate>
      <div class="formhead"><h2>${T.vitals.title}</h2></div>
      ${refused ? html`<${Alert} title=${T.refused}><p>${problemText(refused)}</p><//>` : null}
      <div class="fields">
        ${num('rr')}${num('spo2')}
        <div class="pair">${num('sbp', T.vitals.systolic)}${num('dbp', T.vitals.diastolic)}</div>
        ${num('hr')}${num('temp')}
      </div>
      <${Choice} name="acvpu" legend=${T.vitals.names.acvpu} options=${Object.entries(T.vitals.levels)} value=${entered.acvpu} onChange=${put('acvpu')} points=${pts('acvpu')} />
      <${Choice} name="o2" legend=${T.vitals.names.o2} options=${[['air', T.vitals.air], ['oxygen', T.vitals.onOxygen]]} value=${oxygen} onChange=${setOxygen} points=${pts('o2')} />
      ${oxygen === 'oxygen' ? html`<div class="fields">${html`<${Num} id="o2flow" label=${T.vitals.flow} unit=${T.vitals.units.o2} value=${entered.o2} error=${shown.o2} onInput=${put('o2')} />`}</div>` : null}
      <label class="tick"><input type="checkbox" checked=${scale2} onChange=${(e) => setScale2(e.target.checked)} /><span>${T.vitals.scale2}<small class="help">${T.vitals.scale2Help}</small></span></label>
      <div class="fields"><${Field} id="at" label=${T.vitals.at} error=${shown.at}><div class="num"><input id="at" type="datetime-local" value=${atText || localInput(now())} max=${localInput(now())} aria-invalid=${shown.at ? 'true' : undefined}
        onInput=${(e) => setAt(e.target.value)} /></div><//></div>
      ${now() - at > LATE_MS ? html`<label class="tick"><input type="checkbox" name="paper" checked=${paper} onChange=${(e) => setPaper(e.target.checked)} /><span>${T.vitals.paper}<small class="help">${T.vitals.paperHelp}</small></span></label>
        ${paper ? html`<div class="fields"><${Field} id="by" label=${T.vitals.by}><select id="by" value=${by} onChange=${(e) => setBy(e.target.value)}><option value="">${T.vitals.byMe}</option>${staff.filter((p) => p.id !== get('session').staff.id).map((p) => html`<option key=${p.id} value=${p.id}>${[p.given_names, p.family_name].filter(Boolean).join(' ')}</option>`)}</select><//></div>` : null}` : null}
      ${doubts.length ? html`<div class="doubts">${doubts.map((d) => html`<p>${d}</p>`)}
        <label class="tick"><input id="sure" type="checkbox" checked=${sure} aria-invalid=${tried && !sure ? 'true' : undefined} onChange=${(e) => setSure(e.target.checked)} /><span>${T.vitals.confirm}</span></label></div>` : null}
      ${shown.all ? html`<p class="error" role="alert">${shown.all}</p>` : null}
      <div class="actions"><div class="total" role="status" aria-live="polite">${score.any && any ? html`<${Score} score=${score} /><span class="advice">${score.missing.length ? T.vitals.incomplete(score.missing.map((k) => T.vitals.names[k]).join(', ')) : T.vitals.advice[score.level]}</span>` : html`<span class="muted">${T.vitals.score}</span>`}</div>
        <a class="button" href=${`#/patient/${id}`}>${T.cancel}</a><button class="main" type="submit" disabled=${busy}>${busy ? T.saving : T.save}</button></div>
    </form>`;
}
