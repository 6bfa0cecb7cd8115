import { createHmac } from 'node:crypto';
import type { SourceAuth } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { authenticates } from './authenticate.js';

const rawBody = Buffer.from('{"a": 1}');
const hmac = (algorithm: string, encoding: 'hex' | 'base64', secret = 's3', body: Buffer | string = rawBody) =>
  createHmac(algorithm, secret).update(body).digest(encoding);
const HEX = hmac('sha256', 'hex');
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

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
    expect(authenticates(auth, { headers, rawBody })).toBe(passes);
  });
});
