// api.js - one request to the node. Nothing here knows a screen.
import { set, get } from './state.js';
import { setNow, now } from './time.js';

const TIMEOUT_MS = 10000;

// status 0: no answer came.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.code || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || (status === 0 ? 'unreachable' : 'internal');
    this.body = body;
  }
}

export function uuid7(at = now()) {
  const b = crypto.getRandomValues(new Uint8Array(16));
  let t = Math.floor(at);
  for (let i = 5; i >= 0; i--) {
    b[i] = t % 256;
    t = Math.floor(t / 256);
  }
  b[6] = (b[6] & 0x0f) | 0x70;
  b[8] = (b[8] & 0x3f) | 0x80;
  const h = [...b].map((x) => x.toString(16).padStart(2, '0')).join('');
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

export const reached = () => { if (get('lostSince') !== null) set({ lostSince: null }); };
export const lost = () => { if (get('lostSince') === null) set({ lostSince: now() }); };

export async function request(method, path, { body, key, etag, timeout = TIMEOUT_MS } = {}) {
  const headers = {};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  if (etag) headers['If-Match'] = etag;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), timeout);
  let reply, text;
  try {
    reply = await fetch(path, { method, headers, signal: stop.signal, cache: 'no-store', redirect: 'error', body: body === undefined ? undefined : JSON.stringify(body) });
    text = await reply.text();
  } catch {
    lost();
    throw new Problem(0, {});
  } finally {
    clearTimeout(timer);
  }
  reached();
  const date = Date.parse(reply.headers.get('Date') || '');
  if (!isNaN(date) && Math.abs(date - now()) > 1500) setNow(date + 500);
  let json = {};
  try {
    json = text ? JSON.parse(text) : {};
  } catch { /* not ours: the status says enough */ }
  if (!reply.ok) {
    const wait = Number(reply.headers.get('Retry-After')) || 0;
    if (json.code === 'not_logged_in') set({ session: null });
    if (reply.status === 423 && get('session')) set({ session: { ...get('session'), locked: true } });
    throw new Problem(reply.status, { ...json, retryAfter: wait });
  }
  return json;
}

export const read = (path) => request('GET', path.startsWith('/') ? path : `/api/v1/${path}`);

// All pages of a list.
export async function readAll(path, most = 5000) {
  const items = [];
  let after = '';
  do {
    const page = await read(`${path}${path.includes('?') ? '&' : '?'}limit=1000${after}`);
    items.push(...page.items);
    after = page.next ? `&after=${encodeURIComponent(page.next)}` : '';
  } while (after && items.length < most);
  return items;
}
