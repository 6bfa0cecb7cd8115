import { mergeConfig } from 'vitest/config';
import base from '../../vitest.config.js';

const config = mergeConfig(base, {});
config.test!.include = ['test/replay/record-histories.ts'];
export default config;
