/**
 * Embeds `dsl-schemas/*.schema.json` into `libs/dsl/src/generated`: the schemas as they are, so that the checks need no
 * files at run time, and the validators that Ajv makes of them, since making them takes longer than checking a flow of
 * 500 steps. `--check` writes nothing and exits 1 when an embedded copy is stale.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const from = join(root, 'dsl-schemas');
const to = join(root, 'libs/dsl/src/generated');
const ofDsl = createRequire(join(root, 'libs/dsl/package.json'));
const { Ajv2020 } = ofDsl('ajv/dist/2020.js');
const { default: standaloneCode } = ofDsl('ajv/dist/standalone');

const schemas = readdirSync(from)
  .filter((file) => file.endsWith('.schema.json'))
  .sort()
  .map((file) => [file.replace('.schema.json', ''), JSON.parse(readFileSync(join(from, file), 'utf8'))]);

/** Our own schemas, so strict: a typing error in one is a bug of ours, and the specs hold them against the meta-schema. */
const AJV = {
  meta: false,
  validateSchema: false,
  code: { source: true, optimize: 1 },
  strict: true,
  strictRequired: false,
  strictTypes: false,
  allErrors: true,
  verbose: true,
  $data: false,
};

/** The body of a function of `schema`, `add` and `ucs2length` that returns the validator. */
function validatorCode(schema) {
  const ajv = new Ajv2020(AJV);
  const paths = new Map();
  const walk = (value, path) => {
    if (value === null || typeof value !== 'object') return;
    const text = JSON.stringify(value);
    if (!paths.has(text)) paths.set(text, path);
    for (const [key, member] of Object.entries(value)) walk(member, `${path}[${JSON.stringify(key)}]`);
  };
  walk(schema, 'schema');
  return (
    standaloneCode(ajv, ajv.compile(schema))
      .replace(
        /^"use strict";module\.exports = (\w+);module\.exports\.default = \w+;(.*)$/s,
        '"use strict";$2return $1;',
      )
      // Named where it stands in the schema instead of written out once more.
      .replace(/const (schema\d+) = (\{.*?\});(?=const |function |return )/g, (whole, name, json) => {
        const path = paths.get(json);
        return path === undefined ? whole : `const ${name} = ${path};`;
      })
      .replaceAll('require("ajv/dist/runtime/ucs2length").default', 'ucs2length')
      // What is said of each error, once.
      .replace(
        /if\(vErrors === null\)\{vErrors = \[(err\d+)\];\}else \{vErrors\.push\(\1\);\}/g,
        'vErrors = add(vErrors,$1);',
      )
  );
}

const made = (what) =>
  `// Made by tools/gen-schemas.mjs from ${what}. Do not edit: change the schemas and run it again.`;
const files = {
  'schemas.ts': [
    made('dsl-schemas/*.schema.json'),
    '/** The JSON Schemas by document kind, as text: parsed once per kind, when it is first needed. */',
    '// prettier-ignore',
    'export const SCHEMAS: Readonly<Record<string, string>> = {',
    ...schemas.map(([kind, schema]) => `  ${kind}: ${JSON.stringify(JSON.stringify(schema))},`),
    '};',
    '',
  ],
  'validators.ts': [
    made('dsl-schemas/*.schema.json with Ajv'),
    '/** Bodies of functions that return the validator of a kind, as text: compiled once per kind, when it is first needed. */',
    '// prettier-ignore',
    'export const VALIDATORS: Readonly<Record<string, string>> = {',
    ...schemas.map(([kind, schema]) => `  ${kind}: ${JSON.stringify(validatorCode(schema))},`),
    '};',
    '',
  ],
};

for (const [name, lines] of Object.entries(files)) {
  const file = join(to, name);
  const text = lines.join('\n');
  if (process.argv.includes('--check')) {
    if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
    console.error(`libs/dsl/src/generated/${name} is stale; run: node tools/gen-schemas.mjs`);
    process.exit(1);
  }
  mkdirSync(to, { recursive: true });
  writeFileSync(file, text);
}
