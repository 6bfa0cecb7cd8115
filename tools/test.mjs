// `npm test`: install what is missing, build, check style, types and formatting, run the tests on real servers, and
// close with one line `N passed, N failed`. `npm run test:long` runs the long ones (`*.long.spec.ts`) instead, and the
// specs of faults in the sizes below. Further arguments go to the test runner.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bin, build, childEnv, install, root, run, runTogether, useOwnNode } from './bootstrap.mjs';

/** Some minutes more on two cores; the sizes of a release, which take hours, stand in CONTRIBUTING.md. */
const LARGER = {
  OPSLOOP_TEST_LONG: '1',
  OPSLOOP_FAULT_KILLS: '8',
  OPSLOOP_FAULT_OUTAGES: 'long',
  OPSLOOP_BUS_KILLS: '12',
  OPSLOOP_RUN_SIGNALS: '5000',
  OPSLOOP_WORKER_SEEDS: '7,11',
};

install();
useOwnNode(fileURLToPath(import.meta.url));
const [long, args] = process.argv[2] === '--long' ? [true, process.argv.slice(3)] : [false, process.argv.slice(2)];
build();
if (!long && args.length === 0) {
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
const projects = long ? ['--project=long'] : ['--project=pure', '--project=servers'];
const result = spawnSync(
  join(bin, 'vitest'),
  ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...projects, ...args],
  { cwd: root, env: { ...childEnv(), ...(long ? LARGER : {}) }, stdio: 'inherit' },
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
