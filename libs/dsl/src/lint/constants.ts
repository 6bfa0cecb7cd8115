/** Values worth trying for each path that a rule reads: those it names, their neighbours, something else, and nothing. */
import type { EventPattern, Json, JsonObject, RuleDocument } from '@opsloop/contracts';
import { logicReads, operationOf } from '@opsloop/rules';

export type Choices = Map<string, Json[]>;

/** Patterns, conditions, tiers and branches of a rule. */
export function choicesOf(rules: readonly RuleDocument[]): Choices {
  const byPath = new Map<string, Map<string, Json>>();
  const note = (path: string, ...values: (Json | undefined)[]): void => {
    const known = byPath.get(path) ?? byPath.set(path, new Map()).get(path)!;
    for (const value of values) if (value !== undefined) known.set(JSON.stringify(value), value);
  };
  for (const rule of rules) {
    for (const entry of rule.on) notePattern(entry, note);
    for (const logic of conditionsOf(rule)) {
      for (const read of logicReads(logic)) if (!read.inItem) note(read.path, null);
      noteLogic(logic, note);
    }
  }
  // A rule on everything is about something, too.
  if (!byPath.has('event.type')) note('event.type', 'any.thing');
  note('event.source', 'somewhere');
  return new Map([...byPath].map(([path, values]) => [path, [...values.values()]]));
}

export function conditionsOf(rule: RuleDocument): Json[] {
  const tiers = Array.isArray(rule.tier) ? rule.tier.flatMap(({ when }) => when ?? []) : [];
  return [rule.when, ...tiers, ...rule.branches.map(({ when }) => when)].filter((when) => when !== undefined);
}

type Note = (path: string, ...values: (Json | undefined)[]) => void;

function notePattern(entry: EventPattern, note: Note): void {
  // Any text that fits: stars stand for something short, and for nothing.
  for (const field of ['type', 'source', 'subject'] as const) {
    const pattern = entry[field];
    if (pattern !== undefined) note(`event.${field}`, pattern.replaceAll('*', 'x'));
  }
  noteData(entry.data ?? {}, 'event.data', note);
}

function noteData(data: JsonObject, at: string, note: Note): void {
  for (const [name, expected] of Object.entries(data)) {
    const path = `${at}.${name}`;
    if (Array.isArray(expected)) note(path, ...expected);
    else if (expected !== null && typeof expected === 'object') noteData(expected, path, note);
    else note(path, expected, ...others(expected));
  }
}

function noteLogic(logic: Json, note: Note): void {
  if (Array.isArray(logic)) return logic.forEach((one) => noteLogic(one, note));
  const operation = operationOf(logic);
  if (operation === undefined) return;
  const args = operation.args as Json[];
  const paths = args.flatMap((arg) => {
    const inner = operationOf(arg);
    return inner?.op === 'var' && typeof inner.args[0] === 'string' ? [inner.args[0]] : [];
  });
  for (const path of paths)
    for (const arg of args) {
      if (Array.isArray(arg))
        note(path, ...arg.filter((one) => one === null || typeof one !== 'object'), 'something else');
      else if (arg !== null && typeof arg !== 'object') note(path, arg, ...others(arg));
    }
  args.forEach((arg) => noteLogic(arg, note));
}

function others(value: Json): Json[] {
  if (typeof value === 'number') return [value - 1, value + 1];
  if (typeof value === 'boolean') return [!value];
  return typeof value === 'string' ? [`not ${value}`] : [];
}
