/** What an atom that changes things says in a dry run, in which nobody calls it. */
import { digestOf } from '@opsloop/contracts';
import type { AtomDocument, Json, JsonObject } from '@opsloop/contracts';
import type { DryRunAnswer } from '@opsloop/workflows';

/** Schemas nest no deeper in practice; a recursive one must end. */
const DEPTH_MAX = 8;

/** The example with this input, else the first one with an output, else something of the shape of the output. */
export function dryRunAnswer(atom: Pick<AtomDocument, 'examples' | 'output'>, input: Json): DryRunAnswer {
  const told = (atom.examples ?? []).filter((example) => example.output !== undefined);
  const example = told.find((one) => digestOf(one.input) === digestOf(input)) ?? told[0];
  if (example?.output !== undefined) return { output: example.output, from: 'example' };
  return { output: atom.output === undefined ? {} : stubOf(atom.output.schema), from: 'stub' };
}

/** A value that a schema describes: what it names itself, else the plainest of its type. */
export function stubOf(schema: Json | undefined, depth = 0): Json {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema) || depth > DEPTH_MAX) return {};
  for (const key of ['const', 'default'] as const) if (schema[key] !== undefined) return schema[key];
  for (const key of ['examples', 'enum'] as const) {
    const list = schema[key];
    if (Array.isArray(list) && list[0] !== undefined) return list[0];
  }
  for (const key of ['oneOf', 'anyOf'] as const) {
    const list = schema[key];
    if (Array.isArray(list) && list[0] !== undefined) return stubOf(list[0], depth + 1);
  }
  const type = Array.isArray(schema['type']) ? schema['type'][0] : schema['type'];
  switch (type) {
    case 'string':
      return 'x'.repeat(Math.min(200, Math.max(0, numberOf(schema, 'minLength', 0))));
    case 'integer':
    case 'number':
      return numberOf(schema, 'minimum', 0);
    case 'boolean':
      return false;
    case 'null':
      return null;
    case 'array':
      return Array.from({ length: Math.min(10, numberOf(schema, 'minItems', 0)) }, () =>
        stubOf(schema['items'], depth + 1),
      );
    default:
      return objectOf(schema, depth);
  }
}

function objectOf(schema: JsonObject, depth: number): JsonObject {
  const properties = schema['properties'];
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) return {};
  return Object.fromEntries(Object.entries(properties).map(([name, member]) => [name, stubOf(member, depth + 1)]));
}

function numberOf(schema: JsonObject, key: string, otherwise: number): number {
  const value = schema[key];
  return typeof value === 'number' ? value : otherwise;
}
