import { expect, it } from 'vitest';
import { installRuntime, workflowBundle } from '../test/harness.js';

/** Measured at 1.6 MB with source map; much more means that something large has crept into the sandbox. */
const BUNDLE_CHARS_MAX = 4_000_000;

it('bundles for the sandbox: no Node module anywhere below the entry', async () => {
  installRuntime();
  // webpack refuses `node:` imports and the SDK every other built-in, so that building is the test.
  const { code } = await workflowBundle();
  expect(code.length).toBeLessThan(BUNDLE_CHARS_MAX);
});
