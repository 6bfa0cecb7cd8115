import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import canonicalize from 'canonicalize';

/** sha256 as lower-case hex. Pure JavaScript, so it works inside the workflow sandbox, which has no `crypto`. */
export function sha256Hex(text: string): string {
  return bytesToHex(sha256(utf8ToBytes(text)));
}

/** Digest of a JSON value: sha256 of its RFC 8785 canonical form. Equal documents have equal digests, whatever their member order. */
export function digestOf(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('only JSON values have a digest');
  return sha256Hex(text);
}
