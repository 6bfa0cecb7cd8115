/** `npx vitest run --config test/bench/long-flows.config.ts`: flows of the largest sizes; `LONG_FLOWS_SCALE=0.1` for a tenth. */
import { mergeConfig } from 'vitest/config';
import base from '../../vitest.config.js';

const config = mergeConfig(base, {});
// The projects have lists of files of their own, all of which would run as well.
delete config.test!.projects;
config.test!.globalSetup = ['libs/testing/src/global-setup.ts'];
config.test!.include = ['test/bench/long-flows.ts'];
config.test!.testTimeout = 3_600_000;
config.test!.env = { LONG_FLOWS_SCALE: process.env['LONG_FLOWS_SCALE'] ?? '1' };
export default config;
