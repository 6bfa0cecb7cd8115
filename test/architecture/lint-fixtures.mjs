/**
 * Lints every fixture as if it stood in the place that its first line names, and prints `[{ fixture, expected, rules }]`.
 * A process of its own: the boundary rule needs the project graph that Nx has cached, and a fresh module registry.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createProjectGraphAsync } from 'nx/src/devkit-exports.js';
import { ESLint } from 'eslint';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = fileURLToPath(new URL('./fixtures/', import.meta.url));
// The boundary rule skips itself without a cached project graph; this makes one.
await createProjectGraphAsync();
const eslint = new ESLint({ cwd: root });
const results = [];
for (const fixture of readdirSync(folder).sort()) {
  const text = readFileSync(join(folder, fixture), 'utf8');
  const [, as] = /^\/\/ as: (\S+)$/m.exec(text) ?? [];
  const [, expected] = /^\/\/ rule: (\S+)$/m.exec(text) ?? [];
  const [result] = await eslint.lintText(text, { filePath: join(root, as) });
  results.push({ fixture, expected, rules: [...new Set((result?.messages ?? []).map((m) => m.ruleId ?? m.message))] });
}
process.stdout.write(JSON.stringify(results));
