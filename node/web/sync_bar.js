// sync_bar.js - on every page, in plain words: what is saved where. "At the centre" is never said before the centre has
// acknowledged it.
import { html } from './preact.js';
import { T } from './strings.js';
import { useShared, useTick } from './state.js';
import { ms, since, when } from './time.js';
import { Icon } from './ui.js';

export function words(status, lostSince) {
  if (lostSince !== null) return { kind: 'lost', icon: 'off', text: T.sync.lost(when(lostSince)), more: status ? T.sync.lostShown : '' };
  if (!status) return { kind: 'none', icon: 'clock', text: T.sync.connecting };
  if (status.training) return { kind: 'current', icon: 'ok', text: T.sync.training };
  if (status.state === 'offline' || !status.online) return { kind: 'offline', icon: 'off', text: T.sync.offline(when(status.last_contact_at || status.since), status.pending) };
  if (status.state === 'attention' && !status.conflicts_open && !status.quarantined) return { kind: 'attention', icon: 'warn', text: T.sync.attention, more: status.reason };
  if (status.pending > 0) return { kind: 'syncing', icon: 'up', text: T.sync.syncing(status.pending) };
  if (status.state === 'syncing') return { kind: 'syncing', icon: 'up', text: T.sync.catchingUp };
  const contact = [status.last_contact_at, status.last_pull_at, status.last_push_at].filter(Boolean).sort((a, b) => ms(b) - ms(a))[0];
  return { kind: 'current', icon: 'ok', text: T.sync.current(contact ? since(contact) : T.sync.noTime) };
}

export function SyncBar() {
  const [status, lostSince, unsent, session] = useShared('status', 'lostSince', 'unsent', 'session');
  useTick(5);
  const w = words(status, lostSince);
  const waiting = unsent.filter((e) => e.state === 'unsent').length;
  const refused = unsent.length - waiting;
  const link = (href, kind, icon, text) => html`<a class=${`chip chip-${kind}`} href=${session ? href : undefined}><${Icon} name=${icon} />${text}</a>`;
  return html`<div class=${`syncbar sync-${w.kind}`} role="region" aria-label=${T.sync.label}>
    <p class="state" role="status" aria-live="polite"><${Icon} name=${w.icon} /><span>${w.text}${w.more ? html` <span class="more">${w.more}</span>` : null}</span></p>
    ${waiting > 0 ? link('#/unsent', 'wait', 'tablet', T.sync.unsent(waiting)) : null}
    ${refused > 0 ? link('#/unsent', 'bad', 'stop', T.sync.refused(refused)) : null}
    ${status && status.conflicts_open > 0 ? link('#/decisions', 'warn', 'warn', T.sync.decide(status.conflicts_open)) : null}
    ${status && status.quarantined > 0 ? link('#/node', 'warn', 'stop', T.sync.quarantined(status.quarantined)) : null}
    ${status && !status.complete ? html`<span class="chip chip-wait"><${Icon} name="clock" />${T.sync.filling}</span>` : null}
  </div>`;
}
