/**
 * One secret, sealed: AES-256-GCM with a data key of its own and the place it belongs to as associated data, so that a
 * row copied over another one does not open. Randomness comes in as arguments.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';

export const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Where a value belongs. */
export interface Place {
  tenant: string;
  name: string;
  version: number;
}

/** JSON of a list: no two places have the same bytes. */
export function associated(purpose: 'value' | 'key', { tenant, name, version }: Place): Buffer {
  return Buffer.from(JSON.stringify(['opsloop', purpose, tenant, name, version]), 'utf8');
}

/** nonce ‖ ciphertext ‖ tag. */
export function seal(key: Buffer, nonce: Buffer, plain: Buffer, aad: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(aad);
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Throws when the key, the place or a single bit is another one. */
export function unseal(key: Buffer, sealed: Buffer, aad: Buffer): Buffer {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) throw new Error('too short to be sealed');
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES)), decipher.final()]);
}
