// A certified OpenID provider on https://127.0.0.1:PORT with keys of its own, made anew at each start: a restart rotates them.
// argv: one JSON object {issuer, port, cert, key, modules, audience, algs, clients: {id: {secret, tenant, alg, audience}}, life}
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

const provider = new Provider(o.issuer, {
  jwks: { keys },
  clients: Object.entries(o.clients).map(([client_id, c]) => ({
    client_id, client_secret: c.secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
  })),
  clientBasedCORS: () => false,
  extraTokenClaims: (ctx, token) => ({ tenant: o.clients[token.clientId].tenant }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:everward',
      getResourceServerInfo: (ctx, resource, client) => ({
        scope: '', accessTokenFormat: 'jwt', accessTokenTTL: o.life, audience: o.clients[client.clientId].audience ?? 'everward',
        jwt: { sign: { alg: o.clients[client.clientId].alg ?? o.algs[0] } },
      }),
    },
  },
  ttl: { ClientCredentials: o.life },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
});
createServer({ cert: readFileSync(o.cert), key: readFileSync(o.key) }, provider.callback()).listen(o.port, '127.0.0.1', () => console.log('ready'));
