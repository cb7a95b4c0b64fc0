// screen_lock.js - a paired tablet: pairing it, locking it, a PIN to open it again in the same shift.
import { html, useEffect, useRef, useState } from './preact.js';
import { T } from './strings.js';
import { request } from './api.js';
import { get, notice, set } from './state.js';
import { Field, Icon, problemText } from './ui.js';

const PAIRED = 'everward.paired';
export const isPaired = () => localStorage.getItem(PAIRED) !== null;

// An app whose tablet was revoked forgets what it has.
export async function checkPairing(wipe) {
  if (!isPaired()) return;
  try {
    await request('GET', '/api/v1/devices/self');
  } catch (p) {
    if (p.code !== 'not_paired') return;
    localStorage.removeItem(PAIRED);
    await wipe();
  }
}

export function Lock({ onIn, onOther }) {
  const [pin, setPin] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const first = useRef(null);
  useEffect(() => { if (first.current) first.current.focus(); }, []);
  async function go(e) {
    e.preventDefault();
    setBusy(true);
    setError('');
    try {
      const session = await request('POST', '/api/v1/session/unlock', { body: { pin } });
      delete session.token;
      set({ session });
      onIn();
    } catch (p) {
      if (p.code === 'not_logged_in') {
        set({ session: null });
        return;
      }
      setError(p.code === 'pin_failed' ? T.lock.failed(p.body.attempts_left) : p.status === 0 ? T.login.unreachable : problemText(p));
      setPin('');
      setBusy(false);
    }
  }
  return html`<main class="login" id="main"><form onSubmit=${go}>
    <p class="logo"><${Icon} name="shield" />${T.lock.title}</p><h1>${get('session').staff.name}</h1>
    <${Field} id="pin" label=${T.lock.pin}><input id="pin" ref=${first} type="password" inputmode="numeric" autocomplete="off" required value=${pin} onInput=${(e) => setPin(e.target.value)} /><//>
    <p class="error" role="alert">${error ? html`<${Icon} name="warn" />${error}` : null}</p>
    <button class="main" type="submit" disabled=${busy}>${T.lock.go}</button>
    <button type="button" onClick=${onOther}>${T.lock.other}</button></form></main>`;
}

// Opened by the QR code (https://node/pair#token) or, with a code typed by hand, from the login.
export function Pair() {
  const token = location.pathname === '/pair' ? location.hash.slice(1) : '';
  const [code, setCode] = useState('');
  const [name, setName] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const [done, setDone] = useState(null);
  async function go(e) {
    e.preventDefault();
    setBusy(true);
    setError('');
    try {
      const r = await request('POST', '/api/v1/devices', { body: { ...(token ? { token } : { code: code.trim() }), ...(name.trim() ? { name: name.trim() } : {}) } });
      localStorage.setItem(PAIRED, '1');
      if (token) history.replaceState(null, '', '/pair'); // it has been used
      setDone(r.device);
    } catch (p) {
      setError(p.code === 'pairing_failed' ? T.pair.failed : p.status === 0 ? T.login.unreachable : problemText(p));
      setBusy(false);
    }
  }
  if (done) return html`<main class="login" id="main"><form><h1>${T.pair.done(done.name)}</h1><a class="button main" href="/">${T.login.title}</a></form></main>`;
  return html`<main class="login" id="main"><form onSubmit=${go}><h1>${T.pair.title}</h1><p class="help">${T.pair.help}</p>
    ${token ? null : html`<${Field} id="code" label=${T.pair.code}><input id="code" autocomplete="off" autocapitalize="characters" required value=${code} onInput=${(e) => setCode(e.target.value)} /><//>`}
    <${Field} id="tablet" label=${T.pair.name}><input id="tablet" autocomplete="off" value=${name} onInput=${(e) => setName(e.target.value)} /><//>
    <p class="error" role="alert">${error ? html`<${Icon} name="warn" />${error}` : null}</p>
    <button class="main" type="submit" disabled=${busy}>${T.pair.go}</button><a class="button" href="/">${T.cancel}</a></form></main>`;
}

export function Pin() {
  const [pin, setPin] = useState('');
  const [password, setPassword] = useState('');
  const [error, setError] = useState('');
  async function go(e) {
    e.preventDefault();
    try {
      await request('PUT', '/api/v1/session/pin', { body: { pin, password } });
      set({ session: { ...get('session'), pin_set: true } });
      notice('good', T.pin.saved);
      location.hash = '#/';
    } catch (p) {
      setError(p.code === 'weak_pin' ? T.pin.weak : p.code === 'login_failed' ? T.login.failed : p.code === 'not_paired' ? T.pin.unpaired : problemText(p));
    }
  }
  return html`<form class="entry narrow" onSubmit=${go}><div class="formhead"><h1>${T.pin.title}</h1></div><p class="help">${T.pin.help}</p>
    <${Field} id="newpin" label=${T.pin.pin}><input id="newpin" type="password" inputmode="numeric" autocomplete="off" required value=${pin} onInput=${(e) => setPin(e.target.value)} /><//>
    <${Field} id="pw" label=${T.login.password}><input id="pw" type="password" autocomplete="current-password" required value=${password} onInput=${(e) => setPassword(e.target.value)} /><//>
    <p class="error" role="alert">${error}</p>
    <div class="actions"><span class="total"></span><a class="button" href="#/">${T.cancel}</a><button class="main" type="submit">${T.save}</button></div></form>`;
}
