import type { Json, JsonObject } from '@opsloop/contracts';
import { outputProblem } from '@opsloop/dsl';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { surelyFits } from './answers.pure.js';

const NAMES = ['a', 'b', 'c'];
const value = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<Json>(null, true, false, 0, 1, -1, 2, 7, 1.5, '', 'a', 'bb', 'ccc', '12'),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie('value'), { maxKeys: 3, noNullPrototype: true }),
  ),
})).value;

const name = fc.constantFrom(...NAMES);
const count = fc.integer({ min: 0, max: 3 });
const bound = fc.integer({ min: -2, max: 3 });

/** Every keyword that a document may use, except `format`, `multipleOf` and `$ref`, which have cases of their own. */
const schema = fc.letrec<{ schema: JsonObject }>((tie) => {
  const one = tie('schema');
  const some = fc.array(one, { minLength: 1, maxLength: 3 });
  const map = fc.dictionary(name, one, { maxKeys: 3, noNullPrototype: true });
  const type = fc.constantFrom('null', 'boolean', 'number', 'integer', 'string', 'array', 'object');
  const plain = {
    type: fc.oneof(type, fc.uniqueArray(type, { minLength: 1, maxLength: 3 })),
    enum: fc.uniqueArray(value, {
      minLength: 1,
      maxLength: 4,
      comparator: (a, b) => JSON.stringify(a) === JSON.stringify(b),
    }),
    const: value,
    minimum: bound,
    maximum: bound,
    exclusiveMinimum: bound,
    exclusiveMaximum: bound,
    minLength: count,
    maxLength: count,
    pattern: fc.constantFrom('^a', 'b$', '^[0-9]{1,3}$'),
    minItems: count,
    maxItems: count,
    uniqueItems: fc.boolean(),
    minProperties: count,
    maxProperties: count,
    required: fc.uniqueArray(name),
    dependentRequired: fc.dictionary(name, fc.uniqueArray(name), { maxKeys: 2, noNullPrototype: true }),
  };
  const nested = {
    items: one,
    contains: one,
    additionalProperties: fc.oneof(fc.boolean(), one),
    unevaluatedProperties: fc.oneof(fc.boolean(), one),
    unevaluatedItems: fc.oneof(fc.boolean(), one),
    propertyNames: one,
    not: one,
    if: one,
    then: one,
    else: one,
    prefixItems: some,
    allOf: some,
    anyOf: some,
    oneOf: some,
    properties: map,
    patternProperties: fc.dictionary(fc.constantFrom('^a', '[bc]'), one, { maxKeys: 2, noNullPrototype: true }),
    dependentSchemas: map,
  };
  const leaf = fc.record(plain, { requiredKeys: [] });
  /** Few keywords at a time: with all of them nothing fits. */
  const few = (arb: fc.Arbitrary<JsonObject>): fc.Arbitrary<JsonObject> =>
    fc.tuple(arb, fc.array(fc.nat(), { maxLength: 3 })).map(([all, picks]) =>
      Object.fromEntries(
        picks.flatMap((n) =>
          Object.entries(all)
            .slice(n % (Object.keys(all).length || 1))
            .slice(0, 1),
        ),
      ),
    );
  return {
    schema: fc.oneof(
      { maxDepth: 2, withCrossShrink: true },
      few(leaf as fc.Arbitrary<JsonObject>),
      few(fc.record({ ...plain, ...nested }, { requiredKeys: [] }) as fc.Arbitrary<JsonObject>),
    ),
  };
}).schema;

it('judges every schema and answer as the services do', () => {
  let fitting = 0;
  fc.assert(
    fc.property(schema, value, (given, answer) => {
      const expected = outputProblem(given, answer, 'x') === undefined;
      fitting += expected ? 1 : 0;
      expect(surelyFits(given, answer)).toBe(expected);
    }),
    // The services compile each schema, some 10 ms; 2,000 were tried when this was written.
    { numRuns: 300, seed: 11 },
  );
  expect(fitting).toBeGreaterThan(30);
  expect(fitting).toBeLessThan(270);
});

it.each<[string, JsonObject, Json]>([
  ['a format, of which each validator has its own idea', { type: 'string', format: 'email' }, 'a@b.example'],
  ['a format deep inside', { properties: { a: { anyOf: [{ format: 'ipv4' }] } } }, { a: '10.0.0.1' }],
  ['a fraction of a fraction, which each divides in its own way', { multipleOf: 0.1 }, 0.3],
  ['a default that makes it whole', { required: ['a'], properties: { a: { default: 1 } } }, {}],
  ['a reference to nowhere', { $ref: '#/$defs/none' }, {}],
  ['a reference in circles', { $ref: '#' }, {}],
])('leaves to the services: %s', (_name, given, answer) => {
  expect(surelyFits(given, answer)).toBe(false);
});

it('follows references into the schema itself, and keeps nothing in it', () => {
  const given: JsonObject = {
    $ref: '#/$defs/tree',
    $defs: { tree: { type: 'object', properties: { kids: { type: 'array', items: { $ref: '#/$defs/tree' } } } } },
  };
  const before = JSON.stringify(given);
  expect(surelyFits(given, { kids: [{ kids: [] }] })).toBe(true);
  expect(surelyFits(given, { kids: [{ kids: [1] }] })).toBe(false);
  expect(JSON.stringify(given)).toBe(before);
});
