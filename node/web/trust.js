// trust.js - the test on /trust: does this device really trust the node? A browser lets a service worker in only under a certificate that it
// trusts by itself; one that somebody has clicked through shows the page, and nothing of it works without the line.
import { T } from './strings.js';

const place = document.getElementById('test');
const say = (state, text) => {
  place.dataset.state = state;
  place.textContent = text;
};

async function test() {
  if (!window.isSecureContext) return say('no', T.trust.insecure);
  if (!('serviceWorker' in navigator)) return say('unable', T.trust.unable);
  say('testing', T.trust.testing);
  try {
    const worker = await navigator.serviceWorker.register('/app/trust_worker.js', { scope: '/app/trust-test/' });
    await worker.unregister();
    return say('yes', T.trust.yes);
  } catch {
    return say('no', T.trust.no);
  }
}
test();
