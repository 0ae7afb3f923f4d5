// Other people's clients at a simulated Exact Online: node clients.mjs CLIENT <settings.json
// The settings are baseUrl, clientID, clientSecret and callbackURL. A request for /test/advance at
// baseUrl lets 570 seconds pass. Each line that is printed is what one call led to.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const settings = JSON.parse(readFileSync(0, 'utf8'));
const { baseUrl, clientID, clientSecret, callbackURL } = settings;
const authorize = '/api/oauth2/auth', token = '/api/oauth2/token';

// A browser whose user is signed in and allows everything.
async function browse(url) {
  const reply = await fetch(url, { redirect: 'manual' });
  return new URL(reply.headers.get('location'));
}

const advance = () => fetch(baseUrl + '/test/advance');

// npm's passport-exact, used as passport uses a strategy. With settings.code it redeems that code;
// without, it signs in first.
async function passport() {
  const { Strategy } = require('passport-exact');
  const strategy = new Strategy({ baseUrl, clientID, clientSecret, callbackURL },
    (access, refresh, profile, done) => done(null, profile));
  const authenticate = query => new Promise((resolve, reject) => {
    Object.assign(strategy, { redirect: url => resolve(url), success: user => resolve(user),
      fail: info => reject(new Error(`refused: ${info}`)), error: reject });
    strategy.authenticate({ query, headers: {}, connection: {} });
  });
  const code = settings.code || (await browse(await authenticate({}))).searchParams.get('code');
  const { _json, _xml, ...profile } = await authenticate({ code });
  console.log(JSON.stringify(profile));
}

function simpleOAuth2(secret) {
  const { AuthorizationCode } = require('simple-oauth2');
  const client = new AuthorizationCode({
    client: { id: clientID, secret },
    auth: { tokenHost: baseUrl, authorizePath: authorize, tokenPath: token },
    options: { authorizationMethod: 'body' },
  });
  const plain = t => ({ type: t.token.token_type, life: Number(t.token.expires_in), refresh: t.token.refresh_token });
  return {
    address: state => client.authorizeURL({ redirect_uri: callbackURL, state }),
    exchange: async url => plain(await client.getToken({ code: new URL(url).searchParams.get('code'), redirect_uri: callbackURL })),
    refresh: async refresh_token => plain(await client.createToken({ refresh_token }).refresh()),
    refusal: e => [e.output.statusCode, e.data.payload],
  };
}

async function openidClient(secret) {
  const oidc = await import('openid-client');
  const config = new oidc.Configuration({ issuer: baseUrl, authorization_endpoint: baseUrl + authorize, token_endpoint: baseUrl + token },
    clientID, undefined, oidc.ClientSecretPost(secret));
  oidc.allowInsecureRequests(config);
  const plain = t => ({ type: t.token_type, life: t.expires_in, refresh: t.refresh_token });
  return {
    address: state => oidc.buildAuthorizationUrl(config, { redirect_uri: callbackURL, state }),
    exchange: async (url, expectedState) => plain(await oidc.authorizationCodeGrant(config, url, { expectedState })),
    refresh: async t => plain(await oidc.refreshTokenGrant(config, t)),
    refusal: e => [e.status, e.cause],
  };
}

// client-oauth2 authenticates by HTTP Basic. Its errors, and grant's, have no status.
function clientOAuth2(secret) {
  const ClientOAuth2 = require('client-oauth2');
  const client = new ClientOAuth2({ clientId: clientID, clientSecret: secret, redirectUri: callbackURL,
    authorizationUri: baseUrl + authorize, accessTokenUri: baseUrl + token });
  const plain = t => ({ type: t.tokenType, life: Number(t.data.expires_in), refresh: t.refreshToken });
  return {
    address: state => client.code.getUri({ state }),
    exchange: async (url, state) => plain(await client.code.getToken(url.href, { state })),
    refresh: async t => plain(await client.createToken('', t, 'bearer', { expires_in: 0 }).refresh()),
    refusal: e => ['', e.body],
  };
}

// grant signs in, and has no refresh.
function grant(secret) {
  const flow = require('grant/lib/grant')({ config: { exact: { oauth: 2, key: clientID, secret, redirect_uri: callbackURL,
    state: 'some-state', transport: 'state', authorize_url: baseUrl + authorize, access_url: baseUrl + token } } });
  return {
    address: async () => (await flow({ method: 'GET', params: { provider: 'exact' } })).location,
    exchange: async url => {
      const { state: { response: { error, raw } } } = await flow({ method: 'GET', params: { provider: 'exact', override: 'callback' },
        query: Object.fromEntries(url.searchParams), session: { provider: 'exact', state: 'some-state' } });
      if (error) throw error;
      return { type: raw.token_type, life: Number(raw.expires_in) };
    },
    refusal: e => ['', e],
  };
}

// A sign-in, a refresh, and each mistake that a client can make.
async function life(connect) {
  const client = await connect(clientSecret);
  const say = async (what, call) => {
    try {
      const t = await call();
      console.log(`${what}: ${t.type} ${t.life}`);
      return t.refresh;
    } catch (e) {
      const [status, body] = client.refusal(e);
      console.log(`${what}: ${[status, body.error, body.error_description].filter(Boolean).join(' ')}`);
    }
  };
  const back = await browse(await client.address('some-state'));
  const first = await say('code', () => client.exchange(back, 'some-state'));
  await say('code again', () => client.exchange(back, 'some-state'));
  if (client.refresh) {
    await say('too early', () => client.refresh(first));
    await advance();
    const second = await say('in time', () => client.refresh(first));
    await say('old', () => client.refresh(first));
    await advance();
    await say('again in time', () => client.refresh(second));
  }
  const raw = new URL(await browse(await client.address('some-state')));
  raw.searchParams.set('code', raw.searchParams.get('code').replace('!', '%21'));
  await say('code not decoded', () => client.exchange(raw, 'some-state'));
  const stranger = await connect('wrongSecret1');
  await say('wrong secret', () => stranger.exchange(back, 'some-state'));
}

const lives = { 'simple-oauth2': simpleOAuth2, 'openid-client': openidClient, 'client-oauth2': clientOAuth2, grant };
await (process.argv[2] === 'passport' ? passport() : life(lives[process.argv[2]]));
