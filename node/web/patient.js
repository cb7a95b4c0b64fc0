// patient.js - one patient's chart, kept fresh, and the banner that stands over every page about a patient.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { read } from './api.js';
import { held, hold, useShared } from './state.js';
import { watch } from './live.js';
import { Icon, SyncMark, ageText, born, fullName, initials } from './ui.js';
import { Allergies } from './screen_board.js';

const REFRESH_MS = 1000;

export function useChart(id) {
  const [chart, setChart] = useState(held('chart ' + id));
  const [problem, setProblem] = useState(null);
  const [turn, setTurn] = useState(0);
  const [session] = useShared('session');
  const glass = ((session && session.break_glass) || []).map((g) => g.id).join(); // once it ends, the chart is asked for anew
  useEffect(() => {
    let over = false, timer = 0, last = 0, running = false, dirty = false;
    const run = async () => {
      timer = 0;
      running = true;
      dirty = false;
      last = Date.now();
      try {
        const c = await read(`patients/${id}/chart`);
        hold('chart ' + id, c);
        if (!over) { setChart(c); setProblem(null); }
      } catch (p) {
        const barred = p.status === 403 || p.status === 404;
        if (barred) hold('chart ' + id, null);
        if (barred && !over) setChart(null);
        if (!over) setProblem(p);
      }
      running = false;
      if (dirty) plan();
    };
    const plan = () => {
      dirty = true;
      if (!timer && !running && !over) timer = setTimeout(run, Math.max(0, last + REFRESH_MS - Date.now()));
    };
    run();
    const stop = watch((e) => { if (e.kind === 'reset' || e.patient_id === id || (e.table === 'patient' && e.id === id)) plan(); });
    return () => { over = true; stop(); clearTimeout(timer); };
  }, [id, turn, glass]);
  return [chart, problem, () => setTurn(turn + 1)];
}

export const currentBed = (chart) => (chart.beds || []).map((b) => b.location && b.location.name).filter(Boolean);

export function Banner({ chart, action }) {
  const [privacy] = useShared('privacy');
  const p = chart.patient;
  const numbers = (chart.identifiers || []).map((i) => i.value);
  const beds = currentBed(chart);
  const e = chart.encounter;
  return html`<section class="banner" aria-label=${fullName(p)}>
    <div class="line"><h1><span lang="">${privacy ? initials(p) : fullName(p)}</span></h1>
      <span class="facts">${[p.sex && T.patient.sex[p.sex], ageText(p), born(p), numbers.length ? `${T.patient.number} ${numbers[0]}` : ''].filter(Boolean).join(' · ')}</span>
      <span class="bedname"><${Icon} name="bed" />${beds.length ? beds.join(' / ') : T.patient.noBed}</span><span class="gap"></span>${action || null}</div>
    <div class="line marks"><${Allergies} list=${chart.allergies} />
      ${e && e.code_status ? html`<span class="badge code">${T.patient.code}: ${e.code_status}</span>` : null}
      ${p.isolation ? html`<span class="badge iso"><${Icon} name="shield" />${T.board.isolation}: ${p.isolation}</span>` : null}
      ${p.deceased ? html`<span class="badge code">${T.patient.deceased}</span>` : null}
      ${p.sync !== 'acknowledged' ? html`<${SyncMark} sync=${p.sync} />` : null}</div></section>`;
}
