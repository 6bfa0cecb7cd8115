// `npm test`: install what is missing, build, lint, check types and formatting, run every test on real servers, and
// close with one line `N passed, N failed`. Further arguments go to the test runner.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bin, build, childEnv, install, root, run, useOwnNode } from './bootstrap.mjs';

install();
useOwnNode(fileURLToPath(import.meta.url));
const args = process.argv.slice(2);
build();
if (args.length === 0) {
  run(join(bin, 'tsc'), ['-p', 'tsconfig.spec.json']);
  run(join(bin, 'prettier'), ['--check', '--log-level=warn', '.']);
  run(join(bin, 'nx'), ['run-many', '-t', 'lint', '--parallel=2', '--output-style=static']);
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
