// state.js - what every screen shares. No patient data outlives the page.
import { useEffect, useState } from './preact.js';

const values = {
  session: undefined, // undefined: not asked yet; null: nobody
  status: null, // as GET /api/v1/sync
  lostSince: null, // ms: the node does not answer
  unsent: [], // entries kept on this tablet (outbox.js)
  privacy: false,
  notice: null, // { kind, text } said aloud, gone after a while
  route: [],
};
const watchers = new Set();

export const get = (name) => values[name];

export function set(changes) {
  let moved = false;
  for (const [k, v] of Object.entries(changes))
    if (values[k] !== v) {
      values[k] = v;
      moved = true;
    }
  if (moved) for (const w of [...watchers]) w();
}

export function useShared(...names) {
  const [, again] = useState(0);
  useEffect(() => {
    let seen = names.map(get);
    const look = () => {
      const next = names.map(get);
      if (next.some((v, i) => v !== seen[i])) {
        seen = next;
        again((n) => n + 1);
      }
    };
    watchers.add(look);
    look();
    return () => watchers.delete(look);
  }, []);
  return names.map(get);
}

// What was shown last, so that a page is there at once, and when the Wi-Fi is gone. In memory only; gone on logout.
const HELD_MAX = 100;
const heldPages = new Map();
export const held = (name) => heldPages.get(name) || null;
export function hold(name, value) {
  heldPages.delete(name);
  heldPages.set(name, value);
  if (heldPages.size > HELD_MAX) heldPages.delete(heldPages.keys().next().value);
}
export const forgetHeld = () => heldPages.clear();

let noticeTimer = 0;
export function notice(kind, text) {
  clearTimeout(noticeTimer);
  set({ notice: { kind, text } });
  noticeTimer = setTimeout(() => set({ notice: null }), kind === 'good' ? 6000 : 20000);
}

// Words like "2 min ago" grow old by themselves.
export function useTick(seconds) {
  const [n, again] = useState(0);
  useEffect(() => {
    const t = setInterval(() => again((k) => k + 1), seconds * 1000);
    return () => clearInterval(t);
  }, []);
  return n;
}
