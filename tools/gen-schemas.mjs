/**
 * Embeds `dsl-schemas/*.schema.json` into `libs/dsl/src/generated/schemas.ts`, so that the checks need no files at run
 * time. `--check` writes nothing and exits 1 when the embedded copy is stale.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const from = join(root, 'dsl-schemas');
const to = join(root, 'libs/dsl/src/generated/schemas.ts');

const schemas = readdirSync(from)
  .filter((file) => file.endsWith('.schema.json'))
  .sort()
  .map((file) => [file.replace('.schema.json', ''), JSON.parse(readFileSync(join(from, file), 'utf8'))]);

const text = [
  '// Made by tools/gen-schemas.mjs from dsl-schemas/*.schema.json. Do not edit: change the schemas and run it again.',
  '/** The JSON Schemas by document kind, as text: parsed once per kind, when it is first needed. */',
  '// prettier-ignore',
  'export const SCHEMAS: Readonly<Record<string, string>> = {',
  ...schemas.map(([kind, schema]) => `  ${kind}: ${JSON.stringify(JSON.stringify(schema))},`),
  '};',
  '',
].join('\n');

if (process.argv.includes('--check')) {
  const current = existsSync(to) ? readFileSync(to, 'utf8') : '';
  if (current !== text) {
    console.error('libs/dsl/src/generated/schemas.ts is stale; run: node tools/gen-schemas.mjs');
    process.exit(1);
  }
} else {
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, text);
}
