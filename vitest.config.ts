import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';
import { SlowFirst } from './test/slow-first.sequencer.js';

export default defineConfig({
  // 'import', 'require' and 'default' must never be in this list: vitest hands it to Node as --conditions, and
  // protobufjs then loads an ESM build without Long, on which Temporal hangs.
  ssr: { resolve: { conditions: ['@opsloop/source', ...defaultServerConditions] } },
  // Specs are no part of the projects' tsconfigs, from which this would be read otherwise.
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  test: {
    include: ['{apps,libs}/*/src/**/*.spec.ts', 'test/**/*.spec.ts'],
    pool: 'forks',
    // Two cores: more forks than that only slow the servers that the tests talk to.
    maxWorkers: 2,
    sequence: { sequencer: SlowFirst },
    testTimeout: 30_000,
    hookTimeout: 120_000,
    globalSetup: ['libs/testing/src/global-setup.ts'],
  },
});
