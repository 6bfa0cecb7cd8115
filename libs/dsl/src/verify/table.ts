/**
 * Decision tables: rows that overlap where only one may fit, and values for which none fits. Both are shown by a
 * witness: values that the conditions themselves name are tried against all rows, so every finding is a proof.
 */
import { type Json, type JsonObject, type TableDocument } from '@opsloop/contracts';
import {
  evaluateCondition,
  logicReads,
  normaliseCondition,
  operationOf,
  toScopeValue,
  type Finding,
} from '@opsloop/rules';
import { found } from './model.js';

/** Combinations tried: a table of 100 rows over three paths is done in well under a second. */
const TRIES_MAX = 4_000;

/** Findings about what fits at once and what fits nothing. Conditions that cannot be read have findings of their own. */
export function hitFindings(table: TableDocument): Finding[] {
  let whens: (Json | undefined)[];
  try {
    whens = table.rows.map((row) => (row.when === undefined ? undefined : normaliseCondition(row.when)));
  } catch {
    return [];
  }
  const findings: Finding[] = [];
  const overlaps = new Set<string>();
  let gap: JsonObject | undefined;
  for (const values of assignments(whens)) {
    const scope = scopeOf(values);
    const fits = whens.map((when) => (when === undefined ? 'true' : truth(when, scope)));
    const hits = fits.flatMap((fit, i) => (fit === 'true' ? [i] : []));
    if (table.hit === 'unique' && hits.length > 1 && !overlaps.has(`${hits[0]} ${hits[1]}`)) {
      overlaps.add(`${hits[0]} ${hits[1]}`);
      const text = `rows ${hits[0]! + 1} and ${hits[1]! + 1} both fit ${said(values)}, and "unique" allows one`;
      findings.push(
        found('OPS1091', `/rows/${hits[1]}`, text, 'make the conditions exclude each other, or use "hit": "first"'),
      );
    }
    if (hits.length === 0 && !fits.includes('error')) gap ??= values;
  }
  if (gap !== undefined && table.hit !== 'collect')
    findings.push(found('OPS1092', '/rows', `no row fits ${said(gap)}`, 'add a last row without "when"'));
  return findings;
}

function truth(when: Json, scope: Readonly<Record<string, unknown>>): 'true' | 'false' | 'error' {
  try {
    return evaluateCondition(when, scope) ? 'true' : 'false';
  } catch {
    return 'error';
  }
}

function said(values: JsonObject): string {
  const parts = Object.entries(values).map(([path, value]) => `${path} = ${JSON.stringify(value)}`);
  return parts.length === 0 ? 'anything' : parts.join(', ');
}

/** Values worth trying per path: those that stand beside it, their neighbours, something else, and nothing. */
function candidates(whens: readonly (Json | undefined)[]): Map<string, Json[]> {
  const byPath = new Map<string, Set<string>>();
  const note = (path: string, ...values: Json[]): void => {
    const known = byPath.get(path) ?? byPath.set(path, new Set()).get(path)!;
    for (const value of values) known.add(JSON.stringify(value));
  };
  for (const when of whens) {
    if (when === undefined) continue;
    for (const read of logicReads(when)) if (!read.inItem) note(read.path, null);
    collect(when, note);
  }
  return new Map([...byPath].map(([path, values]) => [path, [...values].map((one) => JSON.parse(one) as Json)]));
}

function collect(logic: Json, note: (path: string, ...values: Json[]) => void): void {
  if (Array.isArray(logic)) return logic.forEach((one) => collect(one, note));
  const operation = operationOf(logic);
  if (operation === undefined) return;
  const args = operation.args as Json[];
  const paths = args.flatMap((arg) => {
    const inner = operationOf(arg);
    return inner?.op === 'var' && typeof inner.args[0] === 'string' ? [inner.args[0]] : [];
  });
  for (const path of paths)
    for (const arg of args) {
      if (typeof arg === 'number') note(path, arg, arg - 1, arg + 1);
      else if (typeof arg === 'string') note(path, arg, `not ${arg}`);
      else if (typeof arg === 'boolean') note(path, arg, !arg);
      else if (Array.isArray(arg))
        note(path, ...arg.filter((one) => one === null || typeof one !== 'object'), 'something else');
    }
  args.forEach((arg) => collect(arg, note));
}

/** All combinations while they are few; above the bound every value still occurs, the others at their first. */
function* assignments(whens: readonly (Json | undefined)[]): Generator<JsonObject> {
  const all = [...candidates(whens)];
  const total = all.reduce((product, [, values]) => product * values.length, 1);
  if (total <= TRIES_MAX) {
    for (let n = 0; n < total; n += 1) {
      let rest = n;
      const values: JsonObject = {};
      for (const [path, choices] of all) {
        values[path] = choices[rest % choices.length]!;
        rest = Math.floor(rest / choices.length);
      }
      yield values;
    }
    return;
  }
  const longest = Math.max(...all.map(([, choices]) => choices.length));
  for (let n = 0; n < Math.min(longest * all.length, TRIES_MAX); n += 1)
    yield Object.fromEntries(
      all.map(([path, choices], i) => [path, choices[(n + i * Math.floor(n / longest)) % choices.length]!]),
    );
}

function scopeOf(values: JsonObject): Readonly<Record<string, unknown>> {
  const scope: JsonObject = {};
  for (const [path, value] of Object.entries(values)) {
    const segments = path.split('.');
    let at = scope;
    for (const segment of segments.slice(0, -1)) {
      const next = at[segment];
      at = (
        next !== null && typeof next === 'object' && !Array.isArray(next) ? next : (at[segment] = {})
      ) as JsonObject;
    }
    if (value !== null) at[segments.at(-1)!] = value;
  }
  return toScopeValue(scope) as Readonly<Record<string, unknown>>;
}
