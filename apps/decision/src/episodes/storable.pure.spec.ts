import type { Json } from '@opsloop/contracts';
import { expect, it } from 'vitest';
import { storable } from './storable.pure.js';

it.each<[string, Json, Json]>([
  ['plain values stay', { a: [1, true, null, 'x'] }, { a: [1, true, null, 'x'] }],
  ['NUL', { note: 'a\u0000b' }, { note: 'a\ufffdb' }],
  ['half a pair', ['\ud83d', '\ude00x'], ['\ufffd', '\ufffdx']],
  ['a whole pair stays', '\ud83d\ude00', '\ud83d\ude00'],
  ['member names', { 'a\u0000': 1 }, { 'a\ufffd': 1 }],
])('%s', (_name, value, stored) => expect(storable(value)).toEqual(stored));
