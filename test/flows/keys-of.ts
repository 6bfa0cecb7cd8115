/** Which keys the JSON Schema of flows knows, and which of them documents use. */
import { readFileSync } from 'node:fs';
import { VERBS } from '@opsloop/contracts';
import type { Json, JsonObject } from '@opsloop/contracts';

const schema = JSON.parse(
  readFileSync(new URL('../../dsl-schemas/flow.schema.json', import.meta.url), 'utf8'),
) as JsonObject;
const defs = schema['$defs'] as Record<string, JsonObject>;

/** Keys of every step are counted once, not once per verb. */
const COMMON = Object.keys(object(defs['step-set']!['properties'])).filter((key) => key !== 'set');
/** Schemas of people: their keys are those of JSON Schema. */
const FOREIGN = new Set(['jsonSchema', 'template', 'condition', 'labels']);

export function keysOf(flows: readonly JsonObject[]): { wanted: Set<string>; used: Set<string> } {
  const wanted = new Set<string>();
  const used = new Set<string>();
  const seen = new Set<string>();
  const visit = (at: JsonObject, value: Json | undefined, name: string): void => {
    const ref = at['$ref'];
    if (typeof ref === 'string') {
      const def = ref.split('/').at(-1)!;
      if (FOREIGN.has(def) || (value === undefined && seen.has(def))) return;
      seen.add(def);
      if (value !== undefined) used.add(def);
      return def === 'step' ? step(value) : visit(defs[def]!, value, def);
    }
    for (const branch of ['then', 'else'])
      if (isObject(at[branch]) && (value === undefined || isObject(value) === (branch === 'then')))
        visit(at[branch], value, name);
    if (isObject(at['items']))
      for (const item of Array.isArray(value) ? value : [undefined]) visit(at['items'], item, name);
    if (isObject(at['additionalProperties']))
      for (const member of isObject(value) ? Object.values(value) : [undefined])
        visit(at['additionalProperties'], member, name);
    for (const [key, member] of Object.entries(object(at['properties']))) {
      const common = /^(step-|gate$|observe$)/.test(name) && COMMON.includes(key);
      const path = common ? `step.${key}` : `${/^(gate|observe)$/.test(name) ? 'step-call' : name}.${key}`;
      const full = name === 'gate' && key === 'expect' ? 'gate.expect' : path;
      wanted.add(full);
      const given = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
      if (given !== undefined) used.add(full);
      visit(member as JsonObject, given, full);
    }
  };
  const step = (value: Json | undefined): void => {
    const verb = isObject(value) ? VERBS.find((one) => Object.hasOwn(value, one)) : undefined;
    for (const one of verb === undefined ? VERBS : [verb]) visit({ $ref: `#/$defs/step-${one}` }, value, `step-${one}`);
  };
  visit(schema, undefined, 'flow');
  for (const flow of flows) visit(schema, flow, 'flow');
  return { wanted, used };
}

function object(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
