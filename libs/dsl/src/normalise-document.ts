/** The stored form of a document: every condition as JSONLogic, whether it was written so or as text. */
import type { Json } from '@opsloop/contracts';
import { normaliseCondition } from '@opsloop/rules';

/** Returns a copy in which each condition slot holds JSONLogic. Everything else stays as it was written. */
export function normaliseDocument<T>(document: T): T {
  return walk(document as Json, '', []) as T;
}

function walk(value: Json, key: string, above: readonly string[]): Json {
  if ((above.length > 0 && DATA.has(key))) return value;
  if (typeof value === 'string' && isConditionSlot(key, above)) return normaliseCondition(value);
  if (value === null || typeof value !== 'object') return value;
  const path = [...above, key];
  if (Array.isArray(value)) return value.map((item) => walk(item, key, above));
  if (isConditionSlot(key, above)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, walk(member, name, path)]));
}

const SLOTS: ReadonlySet<string> = new Set(['if', 'when', 'until', 'while', 'expect']);

function isConditionSlot(key: string, above: readonly string[]): boolean {
  const parent = above[above.length - 1];
  if (key === 'goal') return parent === 'reconcile';
  if (key === 'state') return parent === 'goal';
  // `wait.until` is a time, and an http atom's `expect` a list of statuses.
  if (key === 'until') return parent !== 'wait';
  if (key === 'expect') return parent !== 'http';
  return SLOTS.has(key);
}

/** Members that hold data or templates of the author: nothing inside them is a condition, whatever it is called. */
const DATA: ReadonlySet<string> = new Set(
  'with set output schema data details collect body headers labels values vars meta examples env stdin return mapping'.split(' '),
);
