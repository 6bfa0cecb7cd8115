import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';
import { SlowFirst } from './test/slow-first.sequencer.js';

/** Pure code and the libs that consist of it: nothing of one file is left to the next, so they may share a process. */
const PURE = ['{apps,libs}/*/src/**/*.pure.spec.ts', 'libs/{contracts,rules,dsl}/src/**/*.spec.ts'];

/** Tens of seconds each, or other languages and servers than the default stack has: `npm run test:long`. */
const LONG = '**/*.long.spec.ts';
/** Run there once more, in larger sizes (`tools/test.mjs`). */
const LARGER = ['test/faults/*.spec.ts', 'libs/bus/src/carrier.spec.ts', 'libs/workflows/src/{events,killed}.spec.ts'];
const larger = process.env['OPSLOOP_TEST_LONG'] === undefined ? [] : LARGER;

/**
 * A few processes run all of them, so that each loads the apps once: that takes a third of the CPU of the suite. A spec
 * leaves nothing behind in its process: no changed environment, no patched class, no open server.
 */
const SERVERS = {
  globalSetup: ['libs/testing/src/global-setup.ts'],
  setupFiles: process.env['OPSLOOP_SPEC_SLOW_BUS'] === undefined ? [] : ['test/slow-bus.setup.ts'],
  isolate: false,
};

export default defineConfig({
  // 'import', 'require' and 'default' must never be in this list: vitest hands it to Node as --conditions, and
  // protobufjs then loads an ESM build without Long, on which Temporal hangs.
  ssr: { resolve: { conditions: ['@opsloop/source', ...defaultServerConditions] } },
  // Specs are no part of the projects' tsconfigs, from which this would be read otherwise.
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  test: {
    projects: [
      { extends: true, test: { name: 'pure', include: PURE, isolate: false } },
      {
        extends: true,
        test: {
          name: 'servers',
          include: ['{apps,libs}/*/src/**/*.spec.ts', 'test/**/*.spec.ts'],
          exclude: [...PURE, LONG, '**/node_modules/**', '**/dist/**'],
          ...SERVERS,
        },
      },
      {
        extends: true,
        test: { name: 'long', include: [LONG, ...larger], exclude: ['**/node_modules/**', '**/dist/**'], ...SERVERS },
      },
    ],
    pool: 'forks',
    // One more than cores: what waits for its servers leaves 14 % of two cores idle otherwise.
    maxWorkers: 3,
    sequence: { sequencer: SlowFirst },
    // Several waits of `eventually` (20 s each) fit into it, so that it is they who say what did not happen.
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
