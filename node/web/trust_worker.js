// trust_worker.js - what trust.js registers, and takes back: it does nothing.
self.addEventListener('install', () => {});
