import type { Json, JsonObject } from '@opsloop/contracts';
import { normaliseCondition, pointerTo } from '@opsloop/rules';

type Change = (condition: Json, pointer: string) => Json;

/** Members that hold a condition, wherever a step, a branch or an event filter has them. */
export const CONDITIONS: ReadonlySet<string> = new Set(['if', 'when', 'until', 'while', 'goal', 'expect', 'filter']);
/** Members that hold data of the author: whatever stands in them is no condition. */
const DATA: ReadonlySet<string> = new Set([
  'with',
  'set',
  'output',
  'data',
  'details',
  'collect',
  'correlate',
  'vars',
  'input',
  'meta',
  'labels',
  'return',
  'targets',
  'locks',
  'form',
  'values',
  'body',
  'headers',
  'match',
  'raise',
  'in',
  'key',
  // Its `until` is a time.
  'wait',
]);

/** Applies `change` to every condition of a document; shares what it does not change. */
export function mapConditions<T>(document: T, change: Change): T {
  const doc = document as unknown as JsonObject;
  if (doc === null || typeof doc !== 'object') return document;
  if (doc['kind'] === 'flow') return mapMembers(doc, '', change) as unknown as T;
  if (doc['kind'] === 'rule') return mapRule(doc, change) as unknown as T;
  if (doc['kind'] === 'atom') return mapPoll(doc, change) as unknown as T;
  if (doc['kind'] === 'table' && Array.isArray(doc['rows']))
    return { ...doc, rows: mapWhen(doc['rows'], '/rows', change) } as unknown as T;
  return document;
}

function mapMembers(value: Json, pointer: string, change: Change): Json {
  if (Array.isArray(value)) return value.map((item, i) => mapMembers(item, pointerTo(pointer, i), change));
  if (value === null || typeof value !== 'object') return value;
  const result: JsonObject = {};
  for (const [key, member] of Object.entries(value)) {
    const at = pointerTo(pointer, key);
    // A loop's `while` is a condition; an http `expect` list of statuses is not, but stands in no flow.
    result[key] = CONDITIONS.has(key) ? change(member, at) : DATA.has(key) ? member : mapMembers(member, at, change);
  }
  return result;
}

function mapRule(rule: JsonObject, change: Change): JsonObject {
  const result = { ...rule };
  if (rule['when'] !== undefined) result['when'] = change(rule['when'], '/when');
  if (Array.isArray(rule['tier'])) result['tier'] = mapWhen(rule['tier'], '/tier', change);
  if (Array.isArray(rule['branches'])) result['branches'] = mapWhen(rule['branches'], '/branches', change);
  const goal = rule['goal'];
  if (isObject(goal) && goal['state'] !== undefined)
    result['goal'] = { ...goal, state: change(goal['state'], '/goal/state') };
  return result;
}

/** An atom has conditions only where it polls a job. */
function mapPoll(atom: JsonObject, change: Change): JsonObject {
  const job = atom['job'];
  if (!isObject(job) || !isObject(job['poll'])) return atom;
  const poll = { ...job['poll'] };
  for (const member of ['failed', 'done'])
    if (poll[member] !== undefined) poll[member] = change(poll[member], `/job/poll/${member}`);
  return { ...atom, job: { ...job, poll } };
}

function mapWhen(entries: Json[], pointer: string, change: Change): Json[] {
  return entries.map((entry, i) =>
    isObject(entry) && entry['when'] !== undefined
      ? { ...entry, when: change(entry['when'], `${pointer}/${i}/when`) }
      : entry,
  );
}

export function isObject(value: unknown): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** The stored form of a document: conditions as JSONLogic, nothing for editors. Throws `expression` for a text that cannot be parsed. */
export function normaliseDocument<T>(document: T): T {
  const { $schema, ...rest } = document as unknown as { $schema?: unknown };
  return mapConditions($schema === undefined ? document : (rest as unknown as T), normaliseCondition);
}
