// training.js - the watermark of a training node: on every screen and every printed page. The node itself says it, in the
// page it serves (node/api/web.c), so that it stands there before anybody has logged in and while the Wi-Fi is gone.
import { html } from './preact.js';
import { T } from './strings.js';

export const isTraining = document.querySelector('meta[name="everward-training"]') !== null;

export function Training() {
  if (!isTraining) return null;
  document.title = `${T.training} · ${T.app}`;
  return html`<section class="training" aria-label=${T.trainingLabel}>${T.training}</section><div class="watermark" aria-hidden="true">${Array.from({ length: 12 }, () => html`<span data-text=${T.training}></span>`)}</div>`;
}
