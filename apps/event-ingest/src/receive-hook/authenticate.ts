/** Authentication of a webhook by its source's `auth`: over the raw bytes, in constant time. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { SourceAuth } from '@opsloop/contracts';
import { headerText } from '../accept/cloud-event.pure.js';
import type { HttpMessage } from '../accept/cloud-event.pure.js';

/** Signatures looked at in one header: two or three stand there while a secret rotates. */
const SIGNATURES_MAX = 10;
const HEX = /^(?:[0-9a-f]{2})+$/i;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Header of an HMAC source that names none: GitHub's, which most senders copied. */
export const DEFAULT_HMAC_HEADER = 'x-hub-signature-256';

/** True when the request proves that it comes from this source. */
export function authenticates(auth: SourceAuth, request: Pick<HttpMessage, 'headers' | 'rawBody'>): boolean {
  switch (auth.type) {
    case 'none':
      return true;
    case 'bearer':
      return credentialIs(request, 'bearer', auth.token);
    case 'basic':
      return credentialIs(request, 'basic', Buffer.from(`${auth.user}:${auth.password}`).toString('base64'));
    case 'hmac':
      return signed(auth, request);
  }
}

function credentialIs(request: Pick<HttpMessage, 'headers'>, scheme: string, expected: string): boolean {
  const [, given, credential] = /^(\S+) +(\S+) *$/.exec(headerText(request.headers, 'authorization') ?? '') ?? [];
  return given?.toLowerCase() === scheme && credential !== undefined && equal(sha256(credential), sha256(expected));
}

function signed(
  auth: Extract<SourceAuth, { type: 'hmac' }>,
  request: Pick<HttpMessage, 'headers' | 'rawBody'>,
): boolean {
  const algorithm = auth.algorithm ?? 'sha256';
  const header = headerText(request.headers, (auth.header ?? DEFAULT_HMAC_HEADER).toLowerCase());
  if (header === undefined) return false;
  const expected = createHmac(algorithm, auth.secret).update(request.rawBody).digest();
  // Without a configured prefix the usual `sha256=` may stand there or not.
  const prefixes = auth.prefix === undefined ? [`${algorithm}=`, ''] : [auth.prefix];
  return header
    .split(/[\s,]+/, SIGNATURES_MAX)
    .flatMap((part) => {
      const prefix = prefixes.find((one) => part.startsWith(one));
      return prefix === undefined ? [] : [decode(part.slice(prefix.length), auth.encoding ?? 'hex')];
    })
    .some((bytes) => bytes !== undefined && equal(bytes, expected));
}

/** Strict: Buffer.from would read `zz` as nothing and stop at the first bad character. */
function decode(text: string, encoding: 'hex' | 'base64'): Buffer | undefined {
  return (encoding === 'hex' ? HEX : BASE64).test(text) ? Buffer.from(text, encoding) : undefined;
}

function equal(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Equal lengths for the comparison, whatever was sent. */
function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
