// screen_login.js - who are you.
import { html, useEffect, useRef, useState } from './preact.js';
import { T } from './strings.js';
import { request } from './api.js';
import { get, set, useShared } from './state.js';
import { Field, Icon } from './ui.js';
import { isPaired } from './screen_lock.js';

function why(p) {
  if (p.status === 0) return T.login.unreachable;
  if (p.code === 'login_delayed') return T.login.delayed(p.body.retryAfter || 60);
  if (p.code === 'offline_credentials_expired') return T.login.expired;
  if (p.code === 'login_failed') return T.login.failed;
  if (p.code === 'hospital_account') return T.login.accountOnly;
  return p.message;
}

// How the hospital's account has answered (node/api/oidc_login.c leads here). A refusal leads on to no other way by itself.
const outcome = () => (location.hash.match(/^#\/signin\/(refused|failed|away)$/) || [])[1];

export function Login({ onIn, onAway, idle }) {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [shown, setShown] = useState(false);
  const [busy, setBusy] = useState(false);
  const came = outcome();
  const [error, setError] = useState(came ? { refused: T.login.refused, failed: T.login.signinFailed, away: T.login.away }[came] : '');
  const [account, setAccount] = useState(false); // an identity provider is configured and reachable
  const [unsent] = useShared('unsent');
  const first = useRef(null);
  useEffect(() => { if (first.current) first.current.focus(); }, []);
  useEffect(() => {
    request('GET', '/auth/oidc').then((o) => setAccount(o.configured && o.reachable)).catch(() => {});
  }, []);
  const others = [...new Map(unsent.map((e) => [e.staff_id, e.staff_name])).entries()];

  async function go(e) {
    e.preventDefault();
    if (busy) return;
    setBusy(true);
    setError('');
    try {
      const session = await request('POST', '/api/v1/session', { body: { name: name.trim(), password } });
      delete session.token; // the cookie has it, where no script reads it
      set({ session });
      onIn();
    } catch (p) {
      setError(why(p));
      setPassword('');
      setBusy(false);
    }
  }
  return html`<main class="login" id="main">
    <form onSubmit=${go}>
      <p class="logo"><img src="/app/icon.svg" alt="" width="40" height="40" /> ${T.app}</p>
      <h1>${T.login.title}</h1>
      ${idle ? html`<p class="note">${T.login.idle}</p>` : null}
      ${others.map(([id, who]) => html`<p class="note"><${Icon} name="tablet" />${T.login.other(unsent.filter((e) => e.staff_id === id).length, who)}</p>`)}
      ${account ? html`<p><a class="button main account" href="/auth/oidc/start" onClick=${onAway}>${T.login.account}</a></p>` : null}
      <p class="error" role="alert">${error ? html`<${Icon} name="warn" />${error}` : null}</p>
      ${came === 'refused' ? null : html`${account ? html`<p class="note">${T.login.or}</p>` : null}
      <${Field} id="name" label=${T.login.name}><input id="name" ref=${first} autocomplete="username" autocapitalize="none" spellcheck=${false} required value=${name}
        onInput=${(e) => setName(e.target.value)} /><//>
      <${Field} id="password" label=${T.login.password}><div class="num"><input id="password" type=${shown ? 'text' : 'password'} autocomplete="current-password" required value=${password}
        onInput=${(e) => setPassword(e.target.value)} /><button type="button" class="plain" aria-pressed=${shown} onClick=${() => setShown(!shown)}>${shown ? T.login.hide : T.login.show}</button></div><//>
      <button class="main" type="submit" disabled=${busy}>${busy ? T.login.going : T.login.go}</button>
      <p class="help">${T.login.help}</p>`}
      <p class="links">${isPaired() ? null : html`<a href="#/pair">${T.pair.link}</a> · `}<a href="/trust">${T.login.trust}</a> · <a href="/openapi.json">${T.login.programs}</a></p>
    </form></main>`;
}
