// from_paper.js - what was written on paper during an outage and is entered now: when it was, and who did it, apart from who
// enters it. source is 'back-entry'; recorded_at and recorded_by are the node's and cannot be chosen.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { readAll } from './api.js';
import { get } from './state.js';
import { localInput, moment, now } from './time.js';
import { Field } from './ui.js';

export function usePaper() {
  const [v, set] = useState({ on: false, at: '', by: '' });
  const at = v.at ? new Date(v.at).getTime() : NaN;
  const error = !v.on ? '' : Number.isNaN(at) ? T.required : at > now() ? T.paperEntry.future : '';
  const values = () => (v.on ? { source: 'back-entry', effective_at: moment(at), performed_by: v.by } : {});
  return { ...v, ms: v.on && !Number.isNaN(at) ? at : undefined, put: (k, x) => set({ ...v, [k]: x }), error, values };
}

export function FromPaper({ paper, tried }) {
  const [staff, setStaff] = useState([]);
  useEffect(() => { if (paper.on && !staff.length) readAll('staff?order=family_name').then(setStaff).catch(() => {}); }, [paper.on]);
  const me = get('session').staff.id;
  const error = tried ? paper.error : '';
  return html`<label class="tick"><input type="checkbox" name="paper" checked=${paper.on} onChange=${(e) => paper.put('on', e.target.checked)} /><span>${T.vitals.paper}<small class="help">${T.paperEntry.help}</small></span></label>
    ${paper.on ? html`<div class="fields"><${Field} id="paper-at" label=${T.paperEntry.at} error=${error}><input id="paper-at" type="datetime-local" value=${paper.at} max=${localInput(now())} aria-invalid=${error ? 'true' : undefined} onInput=${(e) => paper.put('at', e.target.value)} /><//>
      <${Field} id="paper-by" label=${T.paperEntry.by}><select id="paper-by" value=${paper.by} onChange=${(e) => paper.put('by', e.target.value)}><option value="">${T.vitals.byMe}</option>${staff.filter((p) => p.id !== me).map((p) => html`<option key=${p.id} value=${p.id}>${[p.given_names, p.family_name].filter(Boolean).join(' ')}</option>`)}</select><//></div>` : null}`;
}
