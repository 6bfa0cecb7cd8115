import { mergeConfig } from 'vitest/config';
import base from '../../vitest.config.js';

const config = mergeConfig(base, {});
// The projects have lists of files of their own, all of which would run as well.
delete config.test!.projects;
config.test!.globalSetup = ['libs/testing/src/global-setup.ts'];
config.test!.include = ['test/replay/record-histories.ts'];
export default config;
