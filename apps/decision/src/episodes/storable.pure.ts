import type { Json } from '@opsloop/contracts';

/**
 * PostgreSQL's jsonb refuses NUL and halves of surrogate pairs, which a target may answer. They are replaced, as in any
 * text of unknown encoding: refused, one such answer would stop every episode that is due with it.
 */
export function storable(value: Json): Json {
  // With the flag u, a surrogate that is part of a pair is no character of its own and does not match.
  if (typeof value === 'string') return value.replace(/\p{Surrogate}|\0/gu, '\ufffd');
  if (Array.isArray(value)) return value.map(storable);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [storable(key) as string, storable(one)]));
}
