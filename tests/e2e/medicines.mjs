// medicines.mjs - the checks before a dose, as a function: node medicines.mjs; ends with 0 if all hold.
import assert from 'node:assert/strict';
import { checks } from '../../node/web/medicines.js';

const HOUR = 3600000, noon = Date.parse('2026-05-04T12:00:00Z');
const iso = (ms) => new Date(ms).toISOString();
const order = { id: 'o', display: 'Paracetamol', period_hours: '6', state: 'active' };
const chart = { allergies: [{ kind: 'none-known' }] };
const gave = (ms) => ({ id: iso(ms), order_id: 'o', status: 'completed', effective_at: iso(ms) });
const asked = (at, done, slot = null) => checks({ chart, order, slot, done, claims: [], unsent: [], names: new Map(), at }).filter((c) => c.kind === 'ask').map((c) => c.text);

assert.deepEqual(asked(noon, [gave(noon - 6 * HOUR)]), []);
assert.match(asked(noon, [gave(noon - HOUR)]).join(), /Last given only/);
// from paper: what counts is when it was given, and a dose that was given since is as near as one before
assert.deepEqual(asked(noon - 12 * HOUR, [gave(noon - HOUR)]), []);
assert.match(asked(noon - 3 * HOUR, [gave(noon - HOUR)]).join(), /Another dose was given/);
assert.match(asked(noon - 3 * HOUR, [], { id: 's', due_at: iso(noon) }).join(), /Not due before/);
assert.deepEqual(asked(noon, [], { id: 's', due_at: iso(noon) }), []);
console.log('ok');
