/** The signature scheme of Standard Webhooks: `<id>.<timestamp>.<body>`, symmetric (v1) or ed25519 (v1a). */
import { createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { headerText } from '../accept/cloud-event.pure.js';
import type { HttpMessage } from '../accept/cloud-event.pure.js';
import { isWithin } from './window.pure.js';

/** Several stand there while a key rotates; the specification asks for no bound, we do. */
const SIGNATURES_MAX = 10;
const ID = /^[\x21-\x7e]{1,256}$/;
/** DER header of an ed25519 public key, whose 32 bytes follow. */
const ED25519_SPKI = Buffer.from('302a300506032b6570032100', 'hex');
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The signed text when one of the signatures is good and the time is near; else `undefined`. */
export function verifyStandardWebhook(
  secrets: readonly string[],
  request: Pick<HttpMessage, 'headers' | 'rawBody'>,
  now: Date,
  toleranceMs: number,
): Buffer | undefined {
  const id = headerText(request.headers, 'webhook-id');
  const timestamp = headerText(request.headers, 'webhook-timestamp');
  const signatures = headerText(request.headers, 'webhook-signature');
  if (id === undefined || timestamp === undefined || signatures === undefined) return undefined;
  // A dot in the id would let the same text be read as another id and time.
  if (!ID.test(id) || id.includes('.') || !/^\d{10}$/.test(timestamp) || !isWithin(timestamp, now, toleranceMs))
    return undefined;
  const text = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), request.rawBody]);
  let found = false;
  for (const one of signatures.split(/ +/, SIGNATURES_MAX)) {
    const [version, encoded] = one.split(',', 2);
    if (encoded === undefined || encoded === '' || !BASE64.test(encoded)) continue;
    const bytes = Buffer.from(encoded, 'base64');
    for (const secret of secrets) found = isGood(version!, bytes, text, secret) || found;
  }
  return found ? text : undefined;
}

function isGood(version: string, bytes: Buffer, text: Buffer, secret: string): boolean {
  if (version === 'v1' && !secret.startsWith('whpk_')) {
    const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
    const expected = createHmac('sha256', key).update(text).digest();
    return bytes.length === expected.length && timingSafeEqual(bytes, expected);
  }
  if (version !== 'v1a' || !secret.startsWith('whpk_') || bytes.length !== 64) return false;
  const key = publicKeyOf(secret);
  return key !== undefined && verify(null, text, key, bytes);
}

function publicKeyOf(secret: string): KeyObject | undefined {
  const raw = Buffer.from(secret.slice('whpk_'.length), 'base64');
  if (raw.length !== 32) return undefined;
  return createPublicKey({ key: Buffer.concat([ED25519_SPKI, raw]), format: 'der', type: 'spki' });
}
