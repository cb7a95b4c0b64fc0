// screen_entered.js - after a total failure: whose paper has been entered. A tick is a row of the table task that was done
// (code below), so that every tablet and node of the ward sees it, it is in the audit, and two ticks of one patient harm
// nobody. It counts for a day: the next failure begins with an empty list. Whoever takes it back marks it as an error.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { read, readAll, uuid7 } from './api.js';
import { useShared } from './state.js';
import { moment, now, when } from './time.js';
import { Alert, Failed, fullName, problemText } from './ui.js';
import { arrange } from './screen_board.js';
import { useSave } from './screen_forms.js';

const CODE = 'back-entry-checked', COUNTS_MS = 86400000, LOOK_MS = 10000;

const ticksOf = () => readAll(`task?code=eq.${CODE}&recorded_at=gte.${encodeURIComponent(moment(now() - COUNTS_MS))}&order=recorded_at`);

function Line({ p, tick, names, again }) {
  const [unsent] = useShared('unsent');
  const id = p.stay.patient_id;
  const s = useSave(id, null);
  const waits = unsent.some((e) => e.patient_id === id && e.label === T.entered.label);
  const [wanted, setWanted] = useState(null); // between the tap and the list that has it
  const turn = async () => {
    setWanted(!tick);
    const at = moment();
    if (tick) await s.go([{ op: 'update', table: 'task', id: tick.id, if_match: tick.etag, values: { status: 'entered-in-error' } }], T.entered.undone, [{ table: 'task', row: tick }]);
    else await s.go([{ op: 'create', table: 'task', values: { id: uuid7(), patient_id: id, encounter_id: p.stay.encounter_id, status: 'completed', intent: 'order', priority: 'routine', code: CODE, description: T.entered.label, due_at: at, effective_at: at } }], T.entered.label);
    await again();
    setWanted(null);
  };
  return html`<li><label class="tick"><input type="checkbox" checked=${wanted === null ? Boolean(tick) || waits : wanted} disabled=${wanted !== null || waits} onChange=${turn} /><span><b>${p.place && p.place.kind === 'bed' ? p.place.name : T.board.unplaced}</b> <span lang="">${fullName(p.patient)}</span>
      <small class="help">${waits ? T.row.unsent : tick ? T.entered.by(names.get(tick.recorded_by) || T.unknown, when(tick.recorded_at)) : T.entered.open}</small></span></label>
    <a class="button" href=${`#/patient/${id}`} aria-label=${`${T.entered.chart}: ${fullName(p.patient)}`}>${T.entered.chart}</a>
    ${s.refused ? html`<${Alert} title=${T.refused}><p>${problemText(s.refused)}</p><//>` : null}</li>`;
}

export function Entered({ args: [ward] }) {
  const [got, setGot] = useState(null);
  const [problem, setProblem] = useState(null);
  const look = async () => {
    try {
      const [board, ticks, staff] = await Promise.all([read(`wards/${ward}/board`), ticksOf(), readAll('staff?order=family_name')]);
      const view = arrange(board);
      setGot({ ward: view.ward, list: view.cards.flatMap((c) => c.people.map((p) => ({ ...p, place: c.place })))
        .sort((a, b) => (a.place ? a.place.name : '~').localeCompare(b.place ? b.place.name : '~', 'en', { numeric: true })),
        ticks: new Map(ticks.filter((t) => t.status === 'completed').map((t) => [t.patient_id, t])),
        names: new Map(staff.map((p) => [p.id, [p.given_names, p.family_name].filter(Boolean).join(' ')])) });
      setProblem(null);
    } catch (p) {
      setProblem(p);
    }
  };
  useEffect(() => {
    look();
    const t = setInterval(look, LOOK_MS);
    return () => clearInterval(t);
  }, [ward]);
  if (!got) return problem ? html`<${Failed} problem=${problem} onRetry=${look} />` : html`<p class="center" role="status">${T.loading}</p>`;
  const done = got.list.filter((p) => got.ticks.has(p.stay.patient_id)).length;
  return html`<div class="boardhead"><h1>${T.entered.title}</h1><span class="muted">${got.ward.name} · ${T.entered.of(done, got.list.length)}</span></div>
    <p class="muted lead">${T.entered.help}</p>
    <ul class="rows entered">${got.list.map((p) => html`<${Line} key=${p.stay.id} p=${p} tick=${got.ticks.get(p.stay.patient_id)} names=${got.names} again=${look} />`)}</ul>`;
}
