// A certified OpenID provider on https://127.0.0.1:PORT with keys of its own, made anew at each start: a restart rotates them.
// argv: one JSON object {issuer, port, cert, key, modules, audience, algs, clients: {id: {secret, tenant, alg, audience, redirect}}, life}; a client with redirect is one that people log in by, at a page of
// two fields (login, which becomes the subject; people holds {subject: tenant}, "" for one whom the provider refuses) and one button.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const o = JSON.parse(process.argv[2]);
const { default: Provider } = await import(pathToFileURL(`${o.modules}/oidc-provider/lib/index.js`));

const make = { RS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };
const keys = o.algs.map((alg) => ({
  ...generateKeyPairSync(...make[alg]).privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg,
}));

const people = o.people ?? {};
const provider = new Provider(o.issuer, {
  jwks: { keys },
  clients: Object.entries(o.clients).map(([client_id, c]) => ({
    client_id, client_secret: c.secret, ...(c.redirect
      ? { grant_types: ['authorization_code'], redirect_uris: [c.redirect], response_types: ['code'] }
      : { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }),
  })),
  claims: { openid: ['sub', 'tenant'] },
  pkce: { methods: ['S256'], required: () => true },
  cookies: { keys: ['a key for tests'] },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, tenant: people[sub] }) }),
  interactions: { url: (ctx, interaction) => `/login/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid');
    await grant.save();
    return grant;
  },
  clientBasedCORS: () => false,
  extraTokenClaims: (ctx, token) => ({ tenant: o.clients[token.clientId].tenant }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx) => (ctx.oidc.client.responseTypes.length ? undefined : 'urn:everward'),
      getResourceServerInfo: (ctx, resource, client) => ({
        scope: '', accessTokenFormat: 'jwt', accessTokenTTL: o.life, audience: o.clients[client.clientId].audience ?? 'everward',
        jwt: { sign: { alg: o.clients[client.clientId].alg ?? o.algs[0] } },
      }),
    },
  },
  ttl: { ClientCredentials: o.life },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
});
const callback = provider.callback();
async function page(req, res) {
  if (req.method === 'GET') {
    res.setHeader('Content-Type', 'text/html; charset=utf-8');
    res.end(`<!doctype html><html lang="en"><title>Hospital account</title><h1>Hospital account</h1><form method="post">
      <label>Account <input name="login" autofocus></label><button>Go on</button></form></html>`);
    return;
  }
  let body = '';
  for await (const piece of req) body += piece;
  const sub = new URLSearchParams(body).get('login') ?? '';
  await provider.interactionFinished(req, res, people[sub]
    ? { login: { accountId: sub, remember: false } } : { error: 'access_denied', error_description: 'not this one' }, { mergeWithLastSubmission: false });
}
createServer({ cert: readFileSync(o.cert), key: readFileSync(o.key) },
  (req, res) => (req.url.startsWith('/login/') ? page(req, res).catch((e) => { res.statusCode = 500; res.end(String(e)); }) : callback(req, res))).listen(o.port, '127.0.0.1', () => console.log('ready'));
