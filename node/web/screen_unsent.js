// screen_unsent.js - what is kept on this tablet.
import { html, useState } from './preact.js';
import { T } from './strings.js';
import { get, useShared } from './state.js';
import { when } from './time.js';
import * as outbox from './outbox.js';
import { Icon } from './ui.js';

export function Unsent() {
  const [unsent] = useShared('unsent');
  const [sure, setSure] = useState(null);
  const me = get('session').staff.id;
  const again = (e) => (e.state === 'refused' ? outbox.again(e.n) : outbox.flush());
  return html`<h1>${T.outbox.title}</h1><p class="muted lead">${unsent.length ? T.outbox.help : T.outbox.none}</p>
    <ul class="panel rows">${unsent.map((e) => html`<li key=${e.n}><p><${Icon} name=${e.state === 'refused' ? 'stop' : 'tablet'} /><b>${e.label}</b> <span class="muted">${when(e.at)} ${T.outbox.of(e.staff_name)} · ${e.state === 'refused' ? T.outbox.refused : T.outbox.waiting}</span></p>
      ${e.why ? html`<p class="error">${e.why}</p>` : null}
      ${e.staff_id === me ? html`<p class="buttons"><button onClick=${() => again(e)}>${e.state === 'refused' ? T.outbox.again : T.outbox.now}</button>
        ${e.state === 'refused' ? (sure === e.n ? html`<button class="danger" onClick=${() => outbox.forget(e.n)}>${T.outbox.sure}</button>` : html`<button onClick=${() => setSure(e.n)}>${T.outbox.discard}</button>`) : null}</p>` : null}</li>`)}</ul>`;
}
