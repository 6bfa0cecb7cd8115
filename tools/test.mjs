// `npm test`: install what is missing, build, check style, types and formatting, run every test on real servers, and
// close with one line `N passed, N failed`. Further arguments go to the test runner.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bin, build, childEnv, install, root, run, runTogether, useOwnNode } from './bootstrap.mjs';

install();
useOwnNode(fileURLToPath(import.meta.url));
const args = process.argv.slice(2);
build();
if (args.length === 0) {
  // The linter reads the graph of projects that Nx has kept, which is missing or old on a fresh checkout.
  run(join(bin, 'nx'), ['show', 'projects', '--json'], {}, 'ignore');
  // One linter for all projects parses each file once; one per project (`npm run lint`, which Nx caches) takes four
  // times as long the first time.
  await runTogether([
    ['tsc', '-p', 'tsconfig.spec.json'],
    ['prettier', '--check', '--log-level=warn', '.'],
    ['eslint', 'apps', 'libs'],
  ]);
}
const scratch = mkdtempSync(join(tmpdir(), 'opsloop-test-'));
const report = join(scratch, 'report.json');
const result = spawnSync(
  join(bin, 'vitest'),
  ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...args],
  { cwd: root, env: childEnv(), stdio: 'inherit' },
);
const counts = readCounts(report);
rmSync(scratch, { recursive: true, force: true });
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed\n`);
process.exit(result.status === 0 && counts.failed === 0 && counts.passed > 0 ? 0 : 1);

/** A file that failed to load has no tests in it, so it counts as one failure. */
function readCounts(file) {
  try {
    const json = JSON.parse(readFileSync(file, 'utf8'));
    const broken = json.testResults.filter((f) => f.status === 'failed' && f.assertionResults.length === 0).length;
    return { passed: json.numPassedTests, failed: json.numFailedTests + broken };
  } catch (error) {
    process.stderr.write(`opsloop: the test runner left no report: ${error.message}\n`);
    return { passed: 0, failed: 1 };
  }
}
