// outbox.js - an entry is kept on this tablet, with its idempotency key, before it is sent, and until the node has
// acknowledged it. Died in between, no answer, Wi-Fi gone: it is sent again with the same key, and counts once.
//
// Entries belong to the person who made them: they are sent in that person's session only, because the node writes
// down who. Logging out does not delete them; unpairing does (wipe).
import { get, set } from './state.js';
import { Problem, request } from './api.js';

const NAME = 'everward', STORE = 'entries';
export const ENTRIES_MAX = 500;
let db = null;
let sending = null;

function open() {
  if (!db)
    db = new Promise((good, bad) => {
      const r = indexedDB.open(NAME, 1);
      r.onupgradeneeded = () => r.result.createObjectStore(STORE, { keyPath: 'n', autoIncrement: true });
      r.onsuccess = () => good(r.result);
      r.onerror = () => bad(r.error);
    });
  return db;
}

async function transact(mode, work) {
  const t = (await open()).transaction(STORE, mode, { durability: 'strict' });
  const r = work(t.objectStore(STORE));
  return new Promise((good, bad) => {
    t.oncomplete = () => good(r && r.result);
    t.onerror = t.onabort = () => bad(t.error);
  });
}

export async function load() {
  set({ unsent: await transact('readonly', (s) => s.getAll()) });
}

const mine = (e) => get('session') && e.staff_id === get('session').staff.id;
export const waiting = () => get('unsent').filter((e) => e.state === 'unsent');

// The entry after one try: { state: 'sent', reply } or { state: 'unsent' }. Throws a Problem if the node refused it: then
// it was not written, and is not kept.
export async function save({ path = '/api/v1/transaction', body, label, patient_id = null, etag, seen = [] }) {
  if (get('unsent').length >= ENTRIES_MAX) throw new Problem(507, { code: 'tablet_full' });
  const who = get('session').staff;
  const entry = { path, body, etag, seen, label, patient_id, key: crypto.randomUUID(), at: new Date().toISOString(), staff_id: who.id, staff_name: who.name, state: 'unsent' };
  entry.n = await transact('readwrite', (s) => s.add(entry));
  await load();
  if (waiting().some((e) => e.n < entry.n && mine(e))) {
    await flush(); // in order
    if (waiting().some((e) => e.n === entry.n)) return { state: 'unsent' };
    return { state: 'sent' };
  }
  return send(entry, true);
}

// A row's version moves also when the centre has acknowledged it. If it still says what was seen on the screen, nobody
// changed anything: the entry goes out again with the version as it is now. A refusal used up no key.
const HOW = new Set(['rev', 'etag', 'sync']);
async function sameAsSeen(entry) {
  if (!entry.seen || entry.seen.length === 0) return null;
  const writes = structuredClone(entry.body.writes);
  for (const { table, row } of entry.seen) {
    const fresh = await request('GET', `/api/v1/${table}/${row.id}`);
    if (Object.keys(fresh).some((k) => !HOW.has(k) && JSON.stringify(fresh[k]) !== JSON.stringify(row[k]))) return null;
    for (const w of writes) if (w.op === 'update' && w.id === row.id) w.if_match = fresh.etag;
  }
  return { ...entry, seen: [], body: { ...entry.body, writes } };
}

async function send(entry, first) {
  try {
    const reply = await request('POST', entry.path, { body: entry.body, key: entry.key, etag: entry.etag });
    await forget(entry.n);
    return { state: 'sent', reply };
  } catch (e) {
    const p = e instanceof Problem ? e : null;
    if (!p) throw e;
    const later = p.status === 0 || p.status === 401 || p.status === 423 || p.status === 429 || p.status >= 500 || p.code === 'request_running';
    if (later) return { state: 'unsent' };
    const next = p.code === 'stale_version' ? await sameAsSeen(entry).catch(() => null) : null;
    if (next) {
      await transact('readwrite', (s) => s.put(next));
      return send(next, first);
    }
    if (first) {
      await forget(entry.n);
      throw p;
    }
    await transact('readwrite', (s) => s.put({ ...entry, state: 'refused', why: p.message, code: p.code }));
    await load();
    return { state: 'refused' };
  }
}

export async function forget(n) {
  await transact('readwrite', (s) => s.delete(n));
  await load();
}

export async function again(n) {
  const e = get('unsent').find((x) => x.n === n);
  if (!e) return;
  await transact('readwrite', (s) => s.put({ ...e, state: 'unsent', why: undefined }));
  await load();
  await flush();
}

// Sends what waits, oldest first; stops at the first that can't be sent now.
export function flush() {
  if (!sending)
    sending = (async () => {
      for (const e of waiting().filter(mine)) if ((await send(e, false)).state === 'unsent') break;
    })().finally(() => { sending = null; });
  return sending;
}

export async function wipe() {
  const d = await open();
  d.close();
  db = null;
  await new Promise((good) => {
    const r = indexedDB.deleteDatabase(NAME);
    r.onsuccess = r.onerror = r.onblocked = good;
  });
  set({ unsent: [] });
}
