import type { Json } from '@opsloop/contracts';

/** Members in the order in which people write them; the store keeps none. */
const ORDER = [
  'dsl',
  'kind',
  'id',
  'name',
  'path',
  'version',
  'title',
  'owner',
  'labels',
  'mode',
  'type',
  'effect',
  'idempotency',
  'auth',
  'every',
  'for',
  'subject',
  'input',
  'vars',
  'targets',
  'lockTargets',
  'locks',
  'on',
  'when',
  'call',
  'run',
  'per',
  'with',
  'attempts',
  'within',
  'event',
  'tier',
  'batch',
  'goal',
  'branches',
  'budget',
  'do',
  'catch',
  'finally',
  'output',
];

/** A copy with its members in reading order; unknown ones follow in alphabetical order. */
export function inReadingOrder(value: Json): Json {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(inReadingOrder);
  const rank = (key: string): number => (ORDER.includes(key) ? ORDER.indexOf(key) : ORDER.length);
  const entries = Object.entries(value).sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, member]) => [key, inReadingOrder(member)]));
}
