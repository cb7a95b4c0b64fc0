// sw.js - the shell when the tablet's own Wi-Fi is gone. It keeps the app's files and nothing else: replies of /api are
// never looked at, so that no patient data lies in Cache Storage.
const CACHE = 'everward-shell-@EVERWARD_BUILD@';
const FILES = ['/', '/app/app.css', '/app/icon.svg', '/app/everward.webmanifest', '/app/app.js'];
const NETWORK_MS = 3000;

self.addEventListener('install', (e) => e.waitUntil((async () => {
  const cache = await caches.open(CACHE);
  const seen = new Set(FILES);
  // What app.js imports, and what that imports: the list can't be forgotten.
  for (const file of seen) {
    const reply = await fetch(file, { cache: 'no-cache' });
    if (!reply.ok) throw new Error(file);
    await cache.put(file, reply.clone());
    if (file.endsWith('.js')) for (const m of (await reply.text()).matchAll(/from '\.\/([\w-]+\.js)'/g)) seen.add('/app/' + m[1]);
  }
  await self.skipWaiting();
})()));

self.addEventListener('activate', (e) => e.waitUntil((async () => {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
  await self.clients.claim();
})()));

async function shell(request, path) {
  const cache = await caches.open(CACHE);
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), NETWORK_MS);
  try {
    const reply = await fetch(request, { signal: stop.signal });
    if (reply.ok) return reply;
    throw new Error(String(reply.status));
  } catch {
    return (await cache.match(path)) || Response.error();
  } finally {
    clearTimeout(timer);
  }
}

self.addEventListener('fetch', (e) => {
  const url = new URL(e.request.url);
  if (e.request.method !== 'GET' || url.origin !== location.origin) return;
  if (url.pathname === '/' || url.pathname === '/pair') e.respondWith(shell(e.request, '/'));
  else if (url.pathname.startsWith('/app/')) e.respondWith(shell(e.request, url.pathname));
});
