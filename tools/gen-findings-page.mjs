/**
 * Writes `docs/findings.md` from the table of codes in `libs/dsl/src/verify/registry.ts`. `--check` writes nothing and
 * exits 1 when the page is stale.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const to = join(root, 'docs/findings.md');
const { FINDINGS } = await import(join(root, 'libs/dsl/src/verify/registry.ts'));

const groups = [...new Set(Object.values(FINDINGS).map(({ group }) => group))];
const escape = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
const text = [
  '# Findings',
  '',
  'What `opsloop validate`, `plan` and the API say about documents. A code never changes its meaning. An **error** keeps a',
  'document from being stored, a **warning** does not. Made by `tools/gen-findings-page.mjs` from the table of codes.',
  '',
  ...groups.flatMap((group) => [
    `## ${group}`,
    '',
    '| code | | what | why | what to do |',
    '|---|---|---|---|---|',
    ...Object.entries(FINDINGS)
      .filter(([, finding]) => finding.group === group)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(
        ([code, { severity, title, why, fix }]) =>
          `| <a id="${code}"></a>${code} | ${severity} | ${escape(title)} | ${escape(why)} | ${escape(fix)} |`,
      ),
    '',
  ]),
].join('\n');

if (process.argv.includes('--check')) {
  if ((existsSync(to) ? readFileSync(to, 'utf8') : '') !== text) {
    console.error('docs/findings.md is stale; run: node tools/gen-findings-page.mjs');
    process.exit(1);
  }
} else writeFileSync(to, text);
