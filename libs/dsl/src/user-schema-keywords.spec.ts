import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, it } from 'vitest';
import { checkUserSchema } from './user-schema.js';
import { isPlainKeyword, misfit } from './user-schema-keywords.js';

const VALUES: unknown[] = [
  ...[null, true, false, 0, 1, -1, 1.5, '', 'a', 'object', 'nothing', [], ['a'], ['a', 'a'], [1], ['string', 'null']],
  ...[{}, { a: [] }, { a: ['b'] }, { a: ['b', 'b'] }, { a: 1 }],
];
const KEYWORDS = [
  ...['type', 'enum', 'const', 'title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly'],
  ...['format', 'multipleOf', 'maximum', 'exclusiveMaximum', 'minimum', 'exclusiveMinimum', 'maxLength', 'minLength'],
  ...['pattern', 'maxItems', 'minItems', 'uniqueItems', 'maxContains', 'minContains', 'maxProperties', 'minProperties'],
  ...['required', 'dependentRequired', '$comment'],
];

it('keywords take what the meta-schema lets them take', () => {
  const ajv = new Ajv2020({ strict: false, logger: false });
  const compiles = (schema: object): boolean => {
    try {
      ajv.compile(schema);
      return true;
    } catch {
      return false;
    }
  };
  const apart: string[] = [];
  for (const key of KEYWORDS) {
    expect(isPlainKeyword(key), key).toBe(true);
    for (const value of VALUES)
      if ((misfit(key, value) === undefined) !== compiles({ [key]: value }))
        apart.push(`${key}: ${JSON.stringify(value)}`);
  }
  expect(apart).toEqual([]);
});

it('a keyword with something else is named where it stands', () => {
  const schema = { type: 'object', properties: { n: { type: 'integer', minimum: '3' }, l: { type: 'text' } } };
  expect(checkUserSchema(schema, '/input/schema')).toMatchObject([
    { code: 'OPS1302', pointer: '/input/schema/properties/n/minimum', message: expect.stringContaining('a number') },
    { code: 'OPS1302', pointer: '/input/schema/properties/l/type' },
  ]);
});

it('the schemas of documents fit their meta-schema', () => {
  const folder = fileURLToPath(new URL('../../../dsl-schemas/', import.meta.url));
  const ajv = new Ajv2020({ strict: true, strictRequired: false, strictTypes: false });
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.schema.json'))) {
    const schema = JSON.parse(readFileSync(`${folder}${file}`, 'utf8')) as object;
    expect([file, ajv.validateSchema(schema), ajv.errors]).toEqual([file, true, null]);
  }
});
