import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import type { SourceAuth } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { authenticate } from './authenticate.js';
import { trustedProxies } from './trusted-proxies.js';

const rawBody = Buffer.from('{"a": 1}');
const hmac = (algorithm: string, encoding: 'hex' | 'base64', secret = 's3', body: Buffer | string = rawBody) =>
  createHmac(algorithm, secret).update(body).digest(encoding);
const HEX = hmac('sha256', 'hex');
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

const NOW = new Date('2026-03-01T12:00:00Z');
const PROXY = { fromTrustedProxy: true };
const BEARER: SourceAuth = { type: 'bearer', token: 'tok-1' };
const BASIC: SourceAuth = { type: 'basic', user: 'u', password: 'p:q' };
const HMAC: SourceAuth = { type: 'hmac', secret: 's3' };
const OWN: SourceAuth = {
  type: 'hmac',
  secret: 's3',
  header: 'X-Sign',
  algorithm: 'sha512',
  encoding: 'base64',
  prefix: 'v1=',
};

describe('authentication of webhooks', () => {
  it.each<[string, SourceAuth, Record<string, string>, boolean]>([
    ['none', { type: 'none' }, {}, true],
    ['bearer', BEARER, { authorization: 'Bearer tok-1' }, true],
    ['bearer, other case of the scheme', BEARER, { authorization: 'bearer tok-1' }, true],
    ['bearer, wrong', BEARER, { authorization: 'Bearer tok-2' }, false],
    ['bearer, a prefix of it', BEARER, { authorization: 'Bearer tok-' }, false],
    ['bearer, absent', BEARER, {}, false],
    ['bearer, as basic', BEARER, { authorization: 'Basic tok-1' }, false],
    ['basic', BASIC, { authorization: basic('u:p:q') }, true],
    ['basic, wrong', BASIC, { authorization: basic('u:p') }, false],
    ['hmac, hex', HMAC, { 'x-hub-signature-256': HEX }, true],
    ['hmac, upper-case hex', HMAC, { 'x-hub-signature-256': HEX.toUpperCase() }, true],
    ['hmac, usual prefix', HMAC, { 'x-hub-signature-256': `sha256=${HEX}` }, true],
    ['hmac, absent', HMAC, {}, false],
    ['hmac, empty', HMAC, { 'x-hub-signature-256': '' }, false],
    ['hmac, cut', HMAC, { 'x-hub-signature-256': HEX.slice(0, -2) }, false],
    ['hmac, one bit', HMAC, { 'x-hub-signature-256': (HEX[0] === 'a' ? 'b' : 'a') + HEX.slice(1) }, false],
    ['hmac, longer', HMAC, { 'x-hub-signature-256': `${HEX}00` }, false],
    ['hmac, odd', HMAC, { 'x-hub-signature-256': HEX.slice(0, -1) }, false],
    ['hmac, rubbish after it', HMAC, { 'x-hub-signature-256': `${HEX}zz` }, false],
    ['hmac, other secret', HMAC, { 'x-hub-signature-256': hmac('sha256', 'hex', 'other') }, false],
    [
      'hmac, of the body serialised again',
      HMAC,
      { 'x-hub-signature-256': hmac('sha256', 'hex', 's3', '{"a":1}') },
      false,
    ],
    ['hmac, base64 where hex is agreed', HMAC, { 'x-hub-signature-256': hmac('sha256', 'base64') }, false],
    ['hmac, own header, algorithm, encoding, prefix', OWN, { 'x-sign': `v1=${hmac('sha512', 'base64')}` }, true],
    ['hmac, without the agreed prefix', OWN, { 'x-sign': hmac('sha512', 'base64') }, false],
    [
      'hmac, one of several',
      OWN,
      { 'x-sign': `v1=${hmac('sha512', 'base64', 'old')},v1=${hmac('sha512', 'base64')}` },
      true,
    ],
    ['hmac, in another header', OWN, { 'x-hub-signature-256': `v1=${hmac('sha512', 'base64')}` }, false],
  ])('%s', (_what, auth, headers, passes) => {
    expect(authenticate(auth, { headers, rawBody }, { now: NOW }) !== undefined).toBe(passes);
  });
});

const seconds = (offset = 0) => String(Math.floor(NOW.getTime() / 1_000) + offset);
const SLACK: SourceAuth = {
  type: 'hmac',
  secret: ['new', 's3'],
  header: 'X-Slack-Signature',
  prefix: 'v0=',
  timestamp: { header: 'X-Slack-Request-Timestamp' },
  message: 'v0:{timestamp}:{body}',
};
const slack = (at: string, secret = 's3') => ({
  'x-slack-request-timestamp': at,
  'x-slack-signature': `v0=${hmac('sha256', 'hex', secret, `v0:${at}:${rawBody.toString()}`)}`,
});
const STRIPE: SourceAuth = {
  type: 'hmac',
  secret: 's3',
  header: 'stripe-signature',
  prefix: 'v1=',
  timestamp: { header: 'stripe-signature', prefix: 't=', tolerance: '1m' },
  message: '{timestamp}.{body}',
};
const stripe = (at: string) => ({
  'stripe-signature': `t=${at},v1=${hmac('sha256', 'hex', 's3', `${at}.${rawBody.toString()}`)}`,
});
const SYMMETRIC = Buffer.alloc(24, 7);
const STANDARD: SourceAuth = { type: 'standard-webhooks', secret: `whsec_${SYMMETRIC.toString('base64')}` };
const standard = (at: string, id = 'msg_1', key: Buffer | string = SYMMETRIC) => ({
  'webhook-id': id,
  'webhook-timestamp': at,
  'webhook-signature': `v1,${createHmac('sha256', key).update(`${id}.${at}.`).update(rawBody).digest('base64')}`,
});
const pair = generateKeyPairSync('ed25519');
const ASYMMETRIC: SourceAuth = {
  type: 'standard-webhooks',
  secret: `whpk_${pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64')}`,
};
const asymmetric = (at: string) => ({
  'webhook-id': 'msg_1',
  'webhook-timestamp': at,
  'webhook-signature': `v1,AAAA v1a,${sign(null, Buffer.from(`msg_1.${at}.${rawBody.toString()}`), pair.privateKey).toString('base64')}`,
});
const MTLS: SourceAuth = { type: 'mtls', allow: ['spiffe://prod/am', 'CN=am,O=x'] };
const NGINX: SourceAuth = {
  type: 'mtls',
  header: 'ssl-client-fingerprint',
  allow: ['ab12'],
  verified: { header: 'ssl-client-verify', value: 'SUCCESS' },
};

describe('authentication with a time, by several secrets, and by a proxy', () => {
  it.each<[string, SourceAuth, Record<string, string>, boolean, object?]>([
    ['any of several secrets', SLACK, slack(seconds()), true],
    ['the new secret', SLACK, slack(seconds(), 'new'), true],
    ['a secret that is gone', SLACK, slack(seconds(), 'older'), false],
    ['too old', SLACK, slack(seconds(-301)), false],
    ['from the future', SLACK, slack(seconds(301)), false],
    [
      'another time than the signed one',
      SLACK,
      { ...slack(seconds()), 'x-slack-request-timestamp': seconds(1) },
      false,
    ],
    ['no time', SLACK, { 'x-slack-signature': slack(seconds())['x-slack-signature'] }, false],
    ['a time that is none', SLACK, slack('now'), false],
    ['time and signature in one header', STRIPE, stripe(seconds()), true],
    ['the same, outside its own tolerance', STRIPE, stripe(seconds(-61)), false],
    ['token in a header', { type: 'token', header: 'X-Key', token: ['a', 'b'] }, { 'x-key': 'b' }, true],
    ['another token', { type: 'token', header: 'X-Key', token: ['a', 'b'] }, { 'x-key': 'c' }, false],
    ['two passwords', { type: 'basic', user: 'u', password: ['a', 'b'] }, { authorization: basic('u:a') }, true],
    ['a token in the query', BEARER, {}, true, { accessToken: 'tok-1' }],
    ['a wrong one in the query', BEARER, {}, false, { accessToken: 'tok' }],
    ['Standard Webhooks', STANDARD, standard(seconds()), true],
    ['Standard Webhooks, other id', STANDARD, { ...standard(seconds()), 'webhook-id': 'msg_2' }, false],
    ['Standard Webhooks, dot moved from time to id', STANDARD, standard(seconds(), 'a.b'), false],
    ['Standard Webhooks, old', STANDARD, standard(seconds(-301)), false],
    ['Standard Webhooks, other key', STANDARD, standard(seconds(), 'msg_1', 'x'), false],
    ['Standard Webhooks, ed25519', ASYMMETRIC, asymmetric(seconds()), true],
    [
      'Standard Webhooks, HMAC with the public key',
      ASYMMETRIC,
      standard(seconds(), 'msg_1', ASYMMETRIC.secret as string),
      false,
    ],
    ['certificate by URI', MTLS, { 'x-forwarded-client-cert': 'Hash=ab;URI=spiffe://prod/am' }, true, PROXY],
    ['certificate by subject', MTLS, { 'x-forwarded-client-cert': 'Hash=a;Subject="CN=am,O=x"' }, true, PROXY],
    ['certificate from a stranger', MTLS, { 'x-forwarded-client-cert': 'URI=spiffe://prod/am' }, false],
    [
      'certificate that the client put before the proxy’s',
      MTLS,
      { 'x-forwarded-client-cert': 'URI=spiffe://prod/am,Hash=cd;URI=spiffe://prod/evil' },
      false,
      PROXY,
    ],
    ['another certificate', MTLS, { 'x-forwarded-client-cert': 'URI=spiffe://prod/am2' }, false, PROXY],
    ['fingerprint', NGINX, { 'ssl-client-fingerprint': 'ab12', 'ssl-client-verify': 'SUCCESS' }, true, PROXY],
    [
      'fingerprint, not verified',
      NGINX,
      { 'ssl-client-fingerprint': 'ab12', 'ssl-client-verify': 'FAILED' },
      false,
      PROXY,
    ],
    ['fingerprint, nothing said', NGINX, { 'ssl-client-fingerprint': 'ab12' }, false, PROXY],
  ])('%s', (_what, auth, headers, passes, context = {}) => {
    expect(authenticate(auth, { headers, rawBody }, { now: NOW, ...context }) !== undefined).toBe(passes);
  });

  it('believes only proxies that are named', () => {
    const isTrusted = trustedProxies(['10.0.0.0/8', 'fd00::/8', '192.0.2.7']);
    const peers = ['10.1.2.3', '::ffff:10.1.2.3', 'fd00::1', '192.0.2.7', '192.0.2.8', '11.0.0.1', '::1', undefined];
    expect(peers.map(isTrusted)).toEqual([true, true, true, true, false, false, false, false]);
    expect(() => trustedProxies(['10.0.0.0/99'])).toThrow(/OPSLOOP_TRUSTED_PROXIES/);
  });
});
