// time.js - moments in words. The node's clock counts, not the tablet's: api.js tells the difference.
import { ago } from './strings.js';

let offset = 0;
export const setNow = (serverMs) => { offset = serverMs - Date.now(); };
export const now = () => Date.now() + offset;
export const ms = (text) => (text ? Date.parse(text.length === 10 ? text + 'T00:00:00' : text) : NaN);

const two = (n) => String(n).padStart(2, '0');

export function clock(text) {
  const d = new Date(typeof text === 'number' ? text : ms(text));
  return isNaN(d) ? '' : `${two(d.getHours())}:${two(d.getMinutes())}`;
}

export function day(text) {
  const d = new Date(typeof text === 'number' ? text : ms(text));
  return isNaN(d) ? '' : d.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: d.getFullYear() === new Date(now()).getFullYear() ? undefined : 'numeric' });
}

// 14:02 if it is today, else 3 Nov 14:02
export function when(text) {
  const at = typeof text === 'number' ? text : ms(text);
  if (isNaN(at)) return '';
  const today = new Date(now()).toDateString() === new Date(at).toDateString();
  return today ? clock(at) : `${day(at)} ${clock(at)}`;
}

export function since(text) {
  const at = typeof text === 'number' ? text : ms(text);
  if (isNaN(at)) return '';
  const s = Math.round((now() - at) / 1000);
  if (s < 0) {
    const min = Math.round(-s / 60);
    return min < 1 ? ago.soon : min < 90 ? ago.inMin(min) : ago.inH(Math.round(min / 60));
  }
  if (s < 10) return ago.now;
  if (s < 60) return ago.s(s);
  if (s < 90 * 60) return ago.min(Math.round(s / 60));
  if (s < 36 * 3600) return ago.h(Math.round(s / 3600));
  return ago.d(Math.round(s / 86400));
}

// A moment with the offset of this place, as FHIR writes it.
export function moment(at = now()) {
  const d = new Date(at);
  const z = -d.getTimezoneOffset();
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}` +
    (z === 0 ? 'Z' : `${z < 0 ? '-' : '+'}${two(Math.floor(Math.abs(z) / 60))}:${two(Math.abs(z) % 60)}`);
}

// For <input type="datetime-local">
export const localInput = (at) => moment(at).slice(0, 16);

export function age(birth) {
  const at = ms(birth && birth.length === 4 ? birth + '-07-01' : birth && birth.length === 7 ? birth + '-15' : birth);
  if (isNaN(at)) return null;
  const b = new Date(at), n = new Date(now());
  let months = (n.getFullYear() - b.getFullYear()) * 12 + n.getMonth() - b.getMonth();
  if (n.getDate() < b.getDate()) months--;
  return { years: Math.floor(months / 12), months };
}
