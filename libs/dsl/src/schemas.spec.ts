import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Json, JsonObject } from '@opsloop/contracts';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { describeSchema, documentSchema, editorSchema } from './index.js';

const folder = fileURLToPath(new URL('../../../dsl-schemas/', import.meta.url));
const schemas = readdirSync(folder)
  .filter((file) => file.endsWith('.schema.json'))
  .map((file) => ({
    kind: file.replace('.schema.json', ''),
    schema: JSON.parse(readFileSync(folder + file, 'utf8')) as JsonObject,
  }));

interface Property {
  path: string;
  schema: JsonObject;
  target: JsonObject;
}

/** Every property of a schema with where it stands; conditions (`if`) describe nothing. */
function propertiesOf(root: JsonObject): Property[] {
  const defs = root['$defs'] as Record<string, JsonObject>;
  const found: Property[] = [];
  const visit = (value: Json, path: string): void => {
    if (Array.isArray(value)) return value.forEach((item) => visit(item, path));
    if (value === null || typeof value !== 'object') return;
    for (const [name, member] of Object.entries((value['properties'] ?? {}) as Record<string, JsonObject>)) {
      const ref = member['$ref'] as string | undefined;
      found.push({
        path: `${path}.${name}`,
        schema: member,
        target: ref === undefined ? {} : defs[ref.split('/').at(-1)!]!,
      });
      visit(member, `${path}.${name}`);
    }
    for (const [key, member] of Object.entries(value))
      if (key === '$defs') for (const [name, def] of Object.entries(member as JsonObject)) visit(def, name);
      else if (!['properties', 'if', 'examples', 'enum', 'const', 'default'].includes(key)) visit(member, path);
  };
  visit(root, String(root['title']));
  return found;
}

/** Their guides describe them. */
const TESTS = ['flowtest', 'ruletest', 'scenario'];

describe.each(schemas.filter(({ kind }) => !TESTS.includes(kind)))('the schema of $kind', ({ schema }) => {
  const properties = propertiesOf(schema);

  it('says of each member what it is, with an example or its values', () => {
    const shown = ({ schema: own, target }: Property): boolean =>
      ['examples', 'enum', 'const'].some((key) => key in own || key in target) ||
      [own['type'], target['type']].includes('boolean');
    expect(
      properties.filter(({ schema: own, target }) => !(own['description'] ?? target['description'])).map((p) => p.path),
    ).toEqual([]);
    expect(properties.filter((one) => !shown(one)).map((one) => one.path)).toEqual([]);
  });

  it('has examples that match', () => {
    const ajv = new Ajv2020({ strict: false });
    const wrong = properties.flatMap(({ path, schema: own }) => {
      const examples = (own['examples'] ?? []) as Json[];
      if (examples.length === 0) return [];
      const validate = ajv.compile({ ...own, $defs: schema['$defs'] });
      return examples.filter((example) => !validate(example)).map((example) => `${path} ${JSON.stringify(example)}`);
    });
    expect(wrong).toEqual([]);
  });
});

describe('the reference from the schemas', () => {
  it.each([
    ['flow', 'forEach', ['lockTargets', 'targets', 'do']],
    ['flow.forEach', 'batch', ['in', 'as', 'concurrency', 'isolate']],
    ['flow.forEach.batch', 'gate', ['canary', 'size', 'max', 'pause']],
    ['flow.call', 'queue', ['with', 'timeout', 'retry']],
    ['flow.approval.approvers', 'min', ['users', 'groups']],
    ['rule.goal.observe', 'staleAfter', ['call', 'every']],
    ['rule.branches.ladder', 'within', ['run', 'attempts']],
    ['policy.freeze', 'during', ['match', 'then']],
  ])('%s shows %s', (path, name, others) => {
    const shown = describeSchema(path);
    const names = [...shown.members, ...(shown.verbs ?? [])].map((one) => one.name);
    expect(names).toEqual(expect.arrayContaining([name, ...others]));
    for (const member of shown.members) expect(member.description, member.name).not.toBe('');
  });

  it('shows values, defaults and what is required', () => {
    expect(describeSchema('flow.parallel.onError')).toMatchObject({ type: '"cancel" | "waitAll"' });
    const max = describeSchema('flow.loop').members.find(({ name }) => name === 'max');
    expect(max).toMatchObject({ required: true, type: 'object', example: { iterations: 60 } });
  });

  it('names what there is when it does not know the path', () => {
    expect(() => describeSchema('flow.foreach.batch')).toThrow(/forEach/);
    expect(() => describeSchema('flw')).toThrow(/flow/);
    expect(() => describeSchema('flow.forEach.batch.sise')).toThrow(/size/);
  });

  it('is one schema for editors, which takes every kind', () => {
    const ajv = new Ajv2020({ strict: false });
    const validate = ajv.compile(editorSchema());
    const valid = readdirSync(`${folder}examples/valid`).flatMap((kind) =>
      readdirSync(`${folder}examples/valid/${kind}`).map((file) => ({
        file: `${kind}/${file}`,
        body: JSON.parse(readFileSync(`${folder}examples/valid/${kind}/${file}`, 'utf8')) as JsonObject,
      })),
    );
    // A resource in a list of resources needs no kind; in a file it has one.
    expect(valid.filter(({ body }) => !validate(body)).map(({ file }) => file)).toEqual([]);
    expect(validate({ dsl: 'opsloop/v1', kind: 'config', name: 'x', values: {}, surprise: 1 })).toBe(false);
    expect(documentSchema('flow')['title']).toBe('Flow');
  });
});
