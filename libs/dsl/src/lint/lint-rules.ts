/**
 * What is wrong between rules, and inside one, that only an event shows. Every finding comes with that event: it is
 * found by trying the values that the rules themselves name, and judged by the same evaluation as in production, so a
 * finding is a proof. What the values do not reach is not found; a clean answer is no promise.
 */
import type { EventPattern, Json, JsonObject, RuleDocument } from '@opsloop/contracts';
import { matchesPattern } from '@opsloop/contracts';
import { evaluateCondition, toScopeValue } from '@opsloop/rules';
import { normaliseDocument } from '../normalise.js';
import { choicesOf } from './constants.js';

export interface Witness {
  event: { type: string; source: string; subject?: string; data: JsonObject };
  resource?: { path: string; labels?: JsonObject; state?: JsonObject };
}

export interface LintFinding {
  code: 'overlap' | 'contradictory' | 'shadowed' | 'unreachable' | 'tier-gap';
  severity: 'error' | 'warning';
  rule: string;
  /** The other one of two. */
  with?: string;
  pointer: string;
  message: string;
  hint: string;
  witness: Witness;
}

/** Combinations tried per rule or pair; above it each value is still tried beside the first of the others. */
const TRIES_MAX = 4_000;
/** Pairs compared: rules of one event type; a set of 300 rules on one type has as many. */
const PAIRS_MAX = 45_000;

export function lintRules(documents: readonly RuleDocument[]): LintFinding[] {
  const rules = documents
    .map((rule) => normaliseDocument(rule) as RuleDocument)
    .filter(({ mode }) => mode !== 'disabled');
  const findings = rules.flatMap(lintOne);
  let pairs = 0;
  for (const [i, a] of rules.entries())
    for (const b of rules.slice(i + 1)) {
      if (!mayMeet(a, b) || (pairs += 1) > PAIRS_MAX) continue;
      findings.push(...lintPair(a, b));
    }
  return findings;
}

// ---------------------------------------------------------------- one rule
function lintOne(rule: RuleDocument): LintFinding[] {
  const reached = new Map<number, Witness>();
  const wanted = new Map<number, { witness: Witness; by: number }>();
  let matched: Witness | undefined;
  let almost: Witness | undefined;
  let gap: Witness | undefined;
  for (const witness of witnesses([rule])) {
    const scope = scopeOf(witness);
    if (!fitsOn(rule, witness)) continue;
    almost ??= witness;
    if (!holds(rule.when, scope)) continue;
    matched ??= witness;
    if (Array.isArray(rule.tier) && rule.tier.every(({ when }) => truth(when, scope) === 'false')) gap ??= witness;
    const first = rule.branches.findIndex(({ when }) => holds(when, scope));
    if (first >= 0 && !reached.has(first)) reached.set(first, witness);
    for (const [i, { when }] of rule.branches.entries())
      if (i > first && first >= 0 && holds(when, scope) && !wanted.has(i)) wanted.set(i, { witness, by: first });
  }
  const base = { rule: rule.name };
  if (matched === undefined)
    return almost === undefined
      ? []
      : [
          {
            ...base,
            code: 'unreachable',
            severity: 'error',
            pointer: '/when',
            message: 'no event fits both "on" and "when"; the shown one fits "on"',
            hint: 'make the condition agree with the pattern',
            witness: almost,
          },
        ];
  const branches = rule.branches.flatMap(({ id }, i): LintFinding[] => {
    const other = wanted.get(i);
    if (reached.has(i) || other === undefined) return [];
    const by = rule.branches[other.by]!.id;
    const message = `branch ${id} is never taken: where it fits, ${by} has fitted before`;
    const hint = `put ${id} before ${by}, or narrow ${by}`;
    return [
      {
        ...base,
        code: 'shadowed',
        severity: 'error',
        pointer: `/branches/${i}`,
        message,
        hint,
        witness: other.witness,
      },
    ];
  });
  if (gap === undefined) return branches;
  const message = 'no entry of "tier" fits the shown event, so it counts as P3';
  const hint = 'add a last entry without "when"';
  return [
    ...branches,
    { ...base, code: 'tier-gap', severity: 'warning', pointer: '/tier', message, hint, witness: gap },
  ];
}

// ---------------------------------------------------------------- two rules
function mayMeet(a: RuleDocument, b: RuleDocument): boolean {
  return a.on.some((one) => b.on.some((other) => meet(one.type, other.type) && meet(one.subject, other.subject)));
}

/** Rough: patterns with stars may meet unless their beginnings differ. */
function meet(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return true;
  if (!a.includes('*') && !b.includes('*')) return a === b;
  if (!a.includes('*')) return matchesPattern(b, a);
  if (!b.includes('*')) return matchesPattern(a, b);
  const [left, right] = [a.slice(0, a.indexOf('*')), b.slice(0, b.indexOf('*'))];
  return left.startsWith(right) || right.startsWith(left);
}

function lintPair(a: RuleDocument, b: RuleDocument): LintFinding[] {
  for (const witness of witnesses([a, b])) {
    if (!fitsOn(a, witness) || !fitsOn(b, witness)) continue;
    const scope = scopeOf(witness);
    if (!holds(a.when, scope) || !holds(b.when, scope)) continue;
    const [left, right] = [workOf(a, scope), workOf(b, scope)];
    if (left === undefined || right === undefined) continue;
    const base = { rule: a.name, with: b.name, pointer: '/on', witness } as const;
    if (goalsExclude(a, b))
      return [
        {
          ...base,
          code: 'contradictory',
          severity: 'error',
          message: `both act on the shown event, and what ${a.name} wants undoes what ${b.name} wants`,
          hint: 'let one of them leave the event alone, or give both one goal',
        },
      ];
    // Equal work is started once: control joins it.
    if (left === right) continue;
    return [
      {
        ...base,
        code: 'overlap',
        severity: 'warning',
        message: `both act on the shown event: ${a.name} runs ${left}, ${b.name} runs ${right}`,
        hint: 'make the patterns exclude each other, or make them branches of one rule',
      },
    ];
  }
  return [];
}

/** What the rule would run first. */
function workOf(rule: RuleDocument, scope: Scope): string | undefined {
  const branch = rule.branches.find(({ when }) => holds(when, scope));
  const rung = branch?.ladder[0];
  return rung === undefined ? undefined : (rung.run ?? rung.call);
}

/** No state is good for both, as far as the values that they name can tell, and each is good somewhere. */
function goalsExclude(a: RuleDocument, b: RuleDocument): boolean {
  if (a.goal === undefined || b.goal === undefined) return false;
  const asRule = (goal: Json): RuleDocument => ({ ...a, on: [], when: goal, branches: [] });
  const states = [...assignments(choicesOf([asRule(a.goal.state), asRule(b.goal.state)]))].map(scopeFrom);
  const good = states.map((scope) => [holds(a.goal!.state, scope), holds(b.goal!.state, scope)] as const);
  return good.some(([x]) => x) && good.some(([, y]) => y) && !good.some(([x, y]) => x && y);
}

// ---------------------------------------------------------------- events that could be
type Scope = Readonly<Record<string, unknown>>;

function* witnesses(rules: readonly RuleDocument[]): Generator<Witness> {
  for (const values of assignments(choicesOf(rules))) yield witnessFrom(values);
}

function witnessFrom(values: JsonObject): Witness {
  const { event = {}, resource } = nested(values) as { event?: JsonObject; resource?: JsonObject };
  const { type = 'any.thing', source = 'somewhere', subject, data = {}, ...rest } = event;
  const path = subject ?? resource?.['path'];
  return {
    event: {
      type: String(type),
      source: String(source),
      ...(path == null ? {} : { subject: String(path) }),
      data: data as JsonObject,
      ...rest,
    },
    ...(resource === undefined && path == null ? {} : { resource: { ...resource, path: String(path ?? 'host/x') } }),
  };
}

function scopeOf(witness: Witness): Scope {
  const { event, resource } = witness;
  const whole = { event, ...(resource === undefined ? {} : { resource: { labels: {}, state: {}, ...resource } }) };
  return toScopeValue(whole) as Scope;
}

function scopeFrom(values: JsonObject): Scope {
  return toScopeValue(nested(values)) as Scope;
}

function nested(values: JsonObject): JsonObject {
  const scope: JsonObject = {};
  for (const [path, value] of Object.entries(values)) {
    if (value === null) continue;
    const segments = path.split('.');
    let at = scope;
    for (const segment of segments.slice(0, -1)) {
      const next = at[segment];
      const isObject = next !== null && typeof next === 'object' && !Array.isArray(next);
      at = (isObject ? next : (at[segment] = {})) as JsonObject;
    }
    at[segments.at(-1)!] = value;
  }
  return scope;
}

/** All combinations while they are few. */
function* assignments(choices: ReadonlyMap<string, readonly Json[]>): Generator<JsonObject> {
  const all = [...choices];
  const total = all.reduce((product, [, values]) => product * values.length, 1);
  if (total > TRIES_MAX) {
    const longest = Math.max(...all.map(([, values]) => values.length));
    for (let n = 0; n < Math.min(longest * longest * all.length, TRIES_MAX); n += 1)
      yield Object.fromEntries(
        all.map(([path, values], i) => [path, values[(n * (i + 1) + Math.floor(n / longest)) % values.length]!]),
      );
    return;
  }
  for (let n = 0; n < total; n += 1) {
    let rest = n;
    yield Object.fromEntries(
      all.map(([path, values]) => {
        const value = values[rest % values.length]!;
        rest = Math.floor(rest / values.length);
        return [path, value];
      }),
    );
  }
}

// ---------------------------------------------------------------- judging
function fitsOn(rule: RuleDocument, { event }: Witness): boolean {
  return rule.on.some((entry) => fitsEntry(entry, event));
}

function fitsEntry({ type, source, subject, data }: EventPattern, event: Witness['event']): boolean {
  const text = (pattern: string | undefined, value: string | undefined): boolean =>
    pattern === undefined || (value !== undefined && matchesPattern(pattern, value));
  return (
    text(type, event.type) &&
    text(source, event.source) &&
    text(subject, event.subject) &&
    (data === undefined || fitsData(data, event.data))
  );
}

function fitsData(expected: Json, actual: Json | undefined): boolean {
  if (Array.isArray(expected)) return expected.some((one) => fitsData(one, actual));
  if (expected === null || typeof expected !== 'object') return expected === actual;
  if (actual === null || typeof actual !== 'object' || Array.isArray(actual)) return false;
  return Object.entries(expected).every(([name, value]) => fitsData(value, actual[name]));
}

function holds(when: Json | undefined, scope: Scope): boolean {
  return truth(when, scope) === 'true';
}

/** `error`: the rule would say so itself, which is another matter. */
function truth(when: Json | undefined, scope: Scope): 'true' | 'false' | 'error' {
  if (when === undefined) return 'true';
  try {
    return evaluateCondition(when, scope) ? 'true' : 'false';
  } catch {
    return 'error';
  }
}
