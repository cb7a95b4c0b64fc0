// screen_glass.js - seeing a patient whom one's ward does not show: with a reason, for an hour, in red, reviewed later.
import { html, useEffect, useState } from './preact.js';
import { T } from './strings.js';
import { read, request } from './api.js';
import { get, set, useShared, useTick } from './state.js';
import { clock, ms, now } from './time.js';
import { Alert, Choice, Field, Icon, problemText } from './ui.js';

const G = T.glass;
const LEAST = 10;

export function Glass({ args: [id] }) {
  const [reasons, setReasons] = useState([]);
  const [reason, setReason] = useState('');
  const [text, setText] = useState('');
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState(null);
  const [key] = useState(() => crypto.randomUUID());
  useEffect(() => { read('break-glass/reasons').then((r) => setReasons(r.items)).catch(setRefused); }, []);
  const short = new TextEncoder().encode(text.trim()).length < LEAST;
  async function go(e) {
    e.preventDefault();
    setTried(true);
    if (!reason || short || busy) return;
    setBusy(true);
    setRefused(null);
    try {
      await request('POST', '/api/v1/break-glass', { body: { patient_id: id, reason, text: text.trim() }, key });
      set({ session: { ...get('session'), ...(await read('session')) } });
      location.hash = `#/patient/${id}`;
    } catch (p) {
      setRefused(p);
      setBusy(false);
    }
  }
  return html`<form class="entry narrow glass" novalidate onSubmit=${go}><div class="formhead"><h1>${G.title}</h1></div><p>${G.lead}</p>
    ${refused ? html`<${Alert} title=${T.refused}><p>${problemText(refused)}</p><//>` : null}
    <${Choice} name="reason" legend=${G.reason} options=${reasons.map((r) => [r.code, r.text])} value=${reason} onChange=${setReason} error=${tried && !reason ? T.required : ''} />
    <${Field} id="why" label=${G.text} error=${tried && short ? G.more : ''}><textarea id="why" rows="3" value=${text} onInput=${(e) => setText(e.target.value)}></textarea><//>
    <div class="actions"><span class="total"></span><a class="button" href="#/">${T.cancel}</a><button class="danger" type="submit" disabled=${busy}>${G.go}</button></div></form>`;
}

export function GlassBanner() {
  const [session] = useShared('session');
  const tick = useTick(20);
  const open = (session && session.break_glass) || [];
  useEffect(() => {
    if (open.some((g) => ms(g.ends_at) <= now())) read('session').then((s) => set({ session: s })).catch(() => {});
  }, [tick]);
  const end = async (g) => {
    await request('DELETE', `/api/v1/break-glass/${g.id}`).catch(() => {});
    const s = await read('session').catch(() => null);
    if (s) set({ session: s });
    location.hash = '#/';
  };
  return open.map((g) => html`<div class="glassbar" role="status" key=${g.id}><${Icon} name="warn" /><span>${G.banner(clock(g.ends_at))}</span> <a class="button" href=${`#/patient/${g.patient_id}`}>${T.board.open}</a><button onClick=${() => end(g)}>${G.end}</button></div>`);
}
