// screen_board.js - which ward, and the ward at a glance.
import { html, useEffect, useMemo, useRef, useState } from './preact.js';
import { T } from './strings.js';
import { read, readAll } from './api.js';
import { held, hold, useShared, useTick } from './state.js';
import { watch } from './live.js';
import { clock, ms, now, since, when } from './time.js';
import { lastScore, rounds } from './measures.js';
import { Failed, Icon, PatientLine, Score, SyncMark, fullName, initials } from './ui.js';

const LAST = 'everward.ward'; // which ward this tablet showed last: an id, no patient
const ABOUT = new Set(['bed_stay', 'encounter', 'allergy', 'observation', 'task', 'patient', 'location', 'conflict']);
const SINGLY = 5; // so many patients are fetched one by one, more with the whole board
const RETRY_MS = 5000;
const REFRESH_MS = 1000; // the whole board at most so often; the first change is shown at once
const SINGLE_MS = 150; // one patient costs the node little, and what was just saved must not wait for the last one's acknowledgement

export function Wards() {
  const [wards, setWards] = useState(null);
  const [problem, setProblem] = useState(null);
  const chosen = location.hash === '#/wards' ? null : localStorage.getItem(LAST);
  const load = () => readAll('location?kind=eq.ward&order=name').then((list) => {
    setProblem(null);
    const only = list.length === 1 ? list[0].id : list.some((w) => w.id === chosen) ? chosen : null;
    if (only && location.hash !== '#/wards') location.replace(`#/ward/${only}`);
    else setWards(list);
  }).catch(setProblem);
  useEffect(() => { load(); }, []);
  if (problem) return html`<${Failed} problem=${problem} onRetry=${load} />`;
  if (!wards) return html`<p class="center">${T.loading}</p>`;
  return html`<h1>${T.wards.title}</h1>${wards.length === 0 ? html`<p>${T.wards.none}</p>` : null}
    <ul class="wards">${wards.map((w) => html`<li key=${w.id}><a href=${`#/ward/${w.id}`}><${Icon} name="bed" />${w.name}</a></li>`)}</ul>`;
}

const place = new Intl.Collator('en', { numeric: true });

// A day of rounds is worked out once for each reply about its patient: a change of one does not cost the others'.
const worked = new WeakMap();
function roundsOf(s) {
  if (!worked.has(s)) {
    const list = rounds(s.observations || []);
    worked.set(s, { rounds: list, scored: lastScore(list) });
  }
  return worked.get(s);
}

// The reply as cards: one for each bed with somebody in it.
export function arrange(board) {
  const bed = new Map(board.places.map((p) => [p.id, p]));
  const cards = new Map();
  for (const s of board.stays) {
    const at = bed.get(s.stay.location_id);
    const id = at && at.kind === 'bed' ? at.id : s.stay.id;
    if (!cards.has(id)) cards.set(id, { id, place: at, people: [] });
    cards.get(id).people.push({ ...s, ...roundsOf(s) });
  }
  const taken = new Set([...cards.keys()]);
  const free = board.places.filter((p) => p.kind === 'bed' && !taken.has(p.id)).sort((a, b) => place.compare(a.name, b.name));
  const all = [...cards.values()];
  const names = new Map();
  for (const c of all) for (const p of c.people) {
    const key = ((p.patient && p.patient.family_name) || '').toLocaleLowerCase();
    if (key) names.set(key, [...(names.get(key) || []), { p, c }]);
  }
  for (const same of names.values()) if (same.length > 1) for (const x of same) x.p.namesakes = same.filter((y) => y.p.stay.patient_id !== x.p.stay.patient_id);
  return { cards: all, free, ward: board.places.find((p) => p.kind === 'ward') || board.places[0] };
}

const worst = (card) => Math.max(...card.people.map((p) => (p.scored ? p.scored.score.total : -1)));
const byBed = (a, b) => place.compare(a.place ? a.place.name : '~', b.place ? b.place.name : '~');

function trendOf(list) {
  const scored = list.filter((r) => r.score && r.score.any);
  if (scored.length < 2) return '';
  const d = scored[0].score.total - scored[1].score.total;
  return d > 0 ? `↗ +${d}` : d < 0 ? `↘ −${-d}` : '→';
}

function Vitals({ p }) {
  const last = p.rounds.find((r) => ['rr', 'spo2', 'sbp', 'hr', 'temp'].some((k) => k in r.values));
  if (!last) return html`<p class="muted">${T.board.noVitals}</p>`;
  const v = last.values, s = T.vitals.short;
  const part = (k, text) => html`<span><small>${s[k]}</small> ${text}</span>`;
  return html`<p class="readings">${'rr' in v && part('rr', v.rr)}${'spo2' in v && part('spo2', `${v.spo2} %`)}${v.o2 > 0 && part('o2', `${v.o2} L`)}
    ${'sbp' in v && part('sbp', `${v.sbp}/${v.dbp}`)}${'hr' in v && part('hr', v.hr)}${'temp' in v && part('temp', `${v.temp.toFixed(1)}°`)}${v.acvpu && v.acvpu !== 'A' && part('acvpu', v.acvpu)}</p>
    <p class="age muted"><${Icon} name="clock" />${when(last.effective_at)} · ${since(last.effective_at)} ${last.pending ? html`<${SyncMark} sync="pending" />` : null}</p>`;
}

export function Allergies({ list }) {
  if (!list) return null;
  const real = list.filter((a) => a.kind !== 'none-known' && a.clinical_status !== 'resolved' && a.clinical_status !== 'inactive' && a.verification_status !== 'refuted');
  if (real.length === 0)
    return list.some((a) => a.kind === 'none-known') ? html`<p class="allergy none">${T.board.noAllergies}</p>` : html`<p class="allergy unasked"><${Icon} name="warn" />${T.board.allergiesUnknown}</p>`;
  return html`<p class="allergy some"><${Icon} name="stop" /><span>${real.map((a) => a.display || a.code).join(' · ')}</span></p>`;
}

function Person({ p, privacy }) {
  const encounter = (p.encounters || [])[0];
  const due = (p.tasks || []).filter((t) => !t.due_at || ms(t.due_at) <= now() + 3600000);
  const contested = [p.stay, p.patient].some((r) => r && r.sync === 'contested');
  return html`<a class="person" href=${`#/patient/${p.stay.patient_id}`}>
    <span class="name"><${PatientLine} patient=${p.patient} privacy=${privacy} /></span>
    ${p.namesakes ? html`<span class="badge warn"><${Icon} name="warn" />${T.board.same(p.namesakes.map((x) => `${privacy ? initials(x.p.patient) : fullName(x.p.patient)} (${x.c.place ? x.c.place.name : T.patient.noBed})`).join('; '))}</span>` : null}
    ${contested ? html`<${SyncMark} sync="contested" />` : null}
    <${Allergies} list=${p.allergies} />
    ${p.patient && p.patient.isolation ? html`<span class="badge iso"><${Icon} name="shield" />${T.board.isolation}: ${p.patient.isolation}</span>` : null}
    ${encounter && encounter.code_status ? html`<span class="badge code">${T.patient.code}: ${encounter.code_status}</span>` : null}
    <${Vitals} p=${p} />
    ${p.tasks && p.tasks.length ? html`<span class=${`tasks ${due.length ? 'due' : 'muted'}`}><${Icon} name="task" />${due.length ? T.board.tasks(due.length) : T.board.tasksLater(p.tasks.length)}</span>` : null}</a>`;
}

function Card({ card, ward, privacy }) {
  const top = [...card.people].sort((a, b) => (b.scored ? b.scored.score.total : -1) - (a.scored ? a.scored.score.total : -1))[0];
  const name = card.place && card.place.kind === 'bed' ? card.place.name.replace(new RegExp(`^${ward.name.replace(/[^\w ]/g, '.')} `), '') : T.board.unplaced;
  return html`<li class=${`card level-${top.scored ? top.scored.score.level : 'unknown'} ${card.people.length > 1 ? 'contested' : ''}`}>
    <div class="head"><h2>${name}</h2>${card.people.length === 1 ? html`<${Score} score=${top.scored && top.scored.score} trend=${trendOf(top.rounds)} />` : null}</div>
    ${card.people.length > 1 ? html`<p class="badge warn two"><${Icon} name="warn" />${T.board.two(card.people.length)}</p>` : null}
    ${card.people.map((p) => html`<${Person} key=${p.stay.id} p=${p} privacy=${privacy} />`)}</li>`;
}

// The cards' nodes; one whose people are as they were is not drawn anew (preact passes over a node that it has seen).
function useCards(cards, ward, privacy) {
  const tick = useTick(30);
  const kept = useRef(new Map());
  const next = new Map();
  for (const c of cards) {
    const about = [tick, privacy, ward.name, c.place && c.place.name, ...c.people.flatMap((p) => [p.rounds, (p.namesakes || []).map((x) => x.p.stay.id + (x.c.place ? x.c.place.name : '')).join()])];
    const was = kept.current.get(c.id);
    const same = was && was.about.length === about.length && was.about.every((v, i) => v === about[i]);
    next.set(c.id, same ? was : { about, node: html`<${Card} key=${c.id} card=${c} ward=${ward} privacy=${privacy} />` });
  }
  kept.current = next;
  return [...next.values()].map((k) => k.node);
}

// The board as it is at the node, kept fresh: first change at once, then at most once a second; some patients' where that is enough.
function useBoard(id) {
  const [board, setBoard] = useState(held('board ' + id));
  const [problem, setProblem] = useState(null);
  const shown = useRef(board);
  useEffect(() => {
    let over = false, timer = 0, next = 0, all = false, running = false;
    const patients = new Set();
    const keep = (b) => {
      shown.current = b;
      hold('board ' + id, b);
      setBoard(b);
      setProblem(null);
    };
    const patch = (patient, part) => keep({ ...shown.current, data_as_of: part.data_as_of, now: part.now,
      stays: [...shown.current.stays.filter((s) => s.stay.patient_id !== patient), ...part.stays] });
    const run = async () => {
      timer = 0;
      if (running || over) return;
      running = true;
      const some = !all && shown.current && patients.size <= SINGLY ? [...patients] : [];
      next = Date.now() + (some.length ? SINGLE_MS : REFRESH_MS);
      all = false;
      patients.clear();
      try {
        for (const one of some) {
          const b = await read(`wards/${id}/board?patient_id=${one}`);
          if (!over) patch(one, b);
        }
        const b = some.length ? null : await read(`wards/${id}/board`);
        if (b && !over) keep(b);
      } catch (p) {
        for (const one of some) patients.add(one);
        if (!some.length) all = true;
        next = Date.now() + RETRY_MS;
        if (!over) setProblem(p);
      }
      running = false;
      if (patients.size || all) plan();
    };
    const plan = () => { if (!timer && !running) timer = setTimeout(run, Math.max(0, next - Date.now())); };
    all = true;
    run();
    const stop = watch((e) => {
      if (e.kind !== 'reset' && !ABOUT.has(e.table)) return;
      if (e.kind === 'row' && e.patient_id && e.table !== 'bed_stay') patients.add(e.patient_id);
      else all = true;
      plan();
    });
    return () => { over = true; stop(); clearTimeout(timer); };
  }, [id]);
  return [board, problem];
}

export function Board({ args: [id] }) {
  const [board, problem] = useBoard(id);
  const [privacy] = useShared('privacy');
  const [sick, setSick] = useState(false);
  useEffect(() => localStorage.setItem(LAST, id), [id]);
  const view = useMemo(() => board && arrange(board), [board]);
  const cards = view ? [...view.cards].sort(sick ? (a, b) => worst(b) - worst(a) || byBed(a, b) : byBed) : [];
  const nodes = useCards(cards, view ? view.ward : {}, privacy);
  if (!view) return problem ? html`<${Failed} problem=${problem} onRetry=${() => location.reload()} />` : html`<p class="center">${T.loading}</p>`;
  return html`<div class="boardhead"><h1>${view.ward.name}</h1><span class="muted">${T.board.patients(view.cards.reduce((n, c) => n + c.people.length, 0))} · ${T.board.asOf(clock(ms(board.now)))}</span>
      <span class="gap"></span><button class="plain" aria-pressed=${sick} onClick=${() => setSick(!sick)}>${sick ? T.board.sortBed : T.board.sortScore}</button><a class="button plain" href=${`#/ward/${id}/paper`}>${T.nav.print}</a><a class="button plain" href="#/wards">${T.nav.wards}</a></div>
    ${problem && problem.status !== 0 ? html`<${Failed} problem=${problem} />` : null}
    ${cards.length === 0 ? html`<p>${T.board.empty}</p>` : null}
    <ul class="board">${nodes}</ul>
    ${view.free.length ? html`<p class="free"><b>${T.board.free}:</b> ${view.free.map((b) => b.name.replace(view.ward.name + ' ', '')).join(', ')}</p>` : null}`;
}
