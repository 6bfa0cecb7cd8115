import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { associated, KEY_BYTES, NONCE_BYTES, seal, unseal, type Place } from './seal.js';
import { matchesAny } from './uses.pure.js';

const place: Place = { tenant: 'default', name: 'cmdb-token', version: 3 };
const key = randomBytes(KEY_BYTES);
const sealed = seal(key, randomBytes(NONCE_BYTES), Buffer.from('s3cr3t'), associated('value', place));

describe('a sealed secret', () => {
  it('opens at its place with its key', () => {
    expect(unseal(key, sealed, associated('value', place)).toString()).toBe('s3cr3t');
    expect(sealed.includes('s3cr3t')).toBe(false);
  });

  it.each<[string, () => [Buffer, Buffer, Buffer]]>([
    ['another key', () => [randomBytes(KEY_BYTES), sealed, associated('value', place)]],
    ['another name', () => [key, sealed, associated('value', { ...place, name: 'cmdb-token2' })]],
    ['an older version', () => [key, sealed, associated('value', { ...place, version: 2 })]],
    ['another tenant', () => [key, sealed, associated('value', { ...place, tenant: 'other' })]],
    ['another purpose', () => [key, sealed, associated('key', place)]],
    ['a changed nonce', () => [key, flipped(sealed, 0), associated('value', place)]],
    ['a changed text', () => [key, flipped(sealed, NONCE_BYTES), associated('value', place)]],
    ['a changed tag', () => [key, flipped(sealed, sealed.length - 1), associated('value', place)]],
    ['a cut tag', () => [key, sealed.subarray(0, -4), associated('value', place)]],
    ['nothing', () => [key, Buffer.alloc(0), associated('value', place)]],
  ])('stays shut for %s', (_name, args) => {
    expect(() => unseal(...args())).toThrow();
  });

  it('has associated data that no two places share', () => {
    const a = associated('value', { tenant: 'a', name: 'b","c', version: 1 });
    const b = associated('value', { tenant: 'a","b', name: 'c', version: 1 });
    expect(a.equals(b)).toBe(false);
  });
});

describe('what a worker may resolve', () => {
  it.each<[string, string[], boolean]>([
    ['bmc-token', ['bmc-token'], true],
    ['bmc-token', ['bmc-*'], true],
    ['bmc-token', ['*'], true],
    ['bmc-token', ['bmc'], false],
    ['bmc-token', [], false],
    ['bmc', ['bmc-*'], false],
  ])('%s by %j: %s', (name, patterns, allowed) => {
    expect(matchesAny(name, patterns)).toBe(allowed);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= 1;
  return copy;
}
