// live.js - one stream of events from the node: what was written elsewhere, and how the node stands to the centre.
import { set } from './state.js';
import { lost, reached } from './api.js';

let source = null;
const watchers = new Set();

const tell = (event) => { for (const w of [...watchers]) w(event); };

export function watch(fn) {
  watchers.add(fn);
  return () => watchers.delete(fn);
}

export function open(onBack) {
  close();
  source = new EventSource('/api/v1/events');
  source.addEventListener('open', () => {
    reached();
    onBack();
  });
  source.addEventListener('status', (e) => set({ status: JSON.parse(e.data) }));
  source.addEventListener('row', (e) => tell({ kind: 'row', ...JSON.parse(e.data) }));
  source.addEventListener('left', (e) => tell({ kind: 'left', ...JSON.parse(e.data) }));
  source.addEventListener('claim', (e) => tell({ kind: 'claim', ...JSON.parse(e.data) }));
  source.addEventListener('reset', () => tell({ kind: 'reset' }));
  source.addEventListener('error', () => {
    lost();
    // Refused rather than cut off (session over, node starting): the browser gives up, so we ask again ourselves.
    if (source && source.readyState === EventSource.CLOSED) {
      const dead = source;
      setTimeout(() => { if (source === dead) open(onBack); }, 2000);
    }
  });
}

export function close() {
  if (source) source.close();
  source = null;
}
