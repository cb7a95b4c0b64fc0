// medicines.js - what speaks for and against giving this dose now. Pure, but for the clock.
import { clock, ms, now, when } from './time.js';
import { T } from './strings.js';

// Words of an allergy that stand for a class of medicines: a help for tired people, no knowledge base. What fits is asked
// about, never forbidden; what does not fit is not thereby safe.
const CLASSES = [
  [/penicillin/i, /amoxicillin|ampicillin|flucloxacillin|dicloxacillin|oxacillin|piperacillin|benzylpenicillin|phenoxymethylpenicillin|cillin\b/i],
  [/aspirin|acetylsalicyl|nsaid/i, /aspirin|acetylsalicylic|ibuprofen|naproxen|diclofenac|ketorolac|indometacin/i],
  [/cephalosporin|cef/i, /\bcef\w+|\bceph\w+/i],
  [/sulfa|sulfonamide/i, /sulfa\w+|co-trimoxazole/i],
  [/opioid|morphine|codeine/i, /morphine|codeine|oxycodone|tramadol|fentanyl/i],
  [/heparin/i, /heparin|enoxaparin|dalteparin|tinzaparin/i],
];

export function clashes(allergies, name) {
  return (allergies || []).filter((a) => a.kind !== 'none-known' && a.clinical_status !== 'inactive' && a.clinical_status !== 'resolved' && a.verification_status !== 'refuted').filter((a) => {
    const what = `${a.display || ''} ${a.code || ''}`.toLowerCase();
    const short = what.replace(/allergy|to|allergic/g, ' ').trim();
    return (short.length > 3 && name.toLowerCase().includes(short)) || what.includes(name.toLowerCase().split(' ')[0])
      || CLASSES.some(([allergen, medicine]) => allergen.test(what) && medicine.test(name));
  });
}

const EARLY_MS = 60 * 60000, LATE_MS = 60 * 60000;
export const isGiven = (a) => a.status === 'completed' || a.status === 'in-progress';

// { kind: 'ok' | 'ask', text }; 'ask' needs a reason if the dose is given all the same. at: when it is, or was, given; of a dose
// from paper there may be later ones already.
export function checks({ chart, order, slot, done, claims, unsent, names, at = now() }) {
  const out = [];
  const add = (kind, text) => out.push({ kind, text });
  const name = order.display || order.code;
  const clash = clashes(chart.allergies, name);
  if (clash.length) add('ask', T.med.clash(clash.map((a) => `${a.display}${a.reaction_text ? ` (${a.reaction_text})` : ''}`).join(', ')));
  else if (!chart.allergies || chart.allergies.length === 0) add('ask', T.med.noAllergyInfo);
  else add('ok', T.med.okAllergy);
  const here = slot ? done.filter((d) => d.slot_id === slot.id) : [];
  for (const d of here.filter(isGiven)) add('ask', T.med.already(when(d.effective_at), names.get(d.recorded_by)));
  if (slot && unsent.some((e) => JSON.stringify(e.body).includes(slot.id))) add('ask', T.med.waitingHere);
  const away = (d) => Math.abs(ms(d.effective_at) - at);
  const last = done.filter((d) => isGiven(d) && d.order_id === order.id && !here.includes(d)).sort((a, b) => away(a) - away(b))[0];
  const gap = Number(order.period_hours) * 3600000;
  if (last && gap > 0 && away(last) < gap * 0.6) add('ask', (ms(last.effective_at) > at ? T.med.another : T.med.tooSoon)(when(last.effective_at)));
  else add('ok', T.med.okInterval(last ? when(last.effective_at) : ''));
  if (slot && here.length === 0) {
    const due = ms(slot.due_at);
    if (due - at > EARLY_MS) add('ask', T.med.early(when(slot.due_at)));
    else if (at - due > LATE_MS) add('note', T.med.late(when(slot.due_at)));
    else add('ok', T.med.okDue(clock(slot.due_at)));
  }
  if (order.state === 'hold' || order.state === 'on-hold') add('ask', T.med.onHold);
  for (const c of claims) add('note', T.med.claimed(c.name, clock(ms(c.until) - 120000)));
  return out;
}
