import { expect, it } from 'vitest';
import { installRuntime, workflowBundle } from '../test/harness.js';

/** Measured at 4.5 million with the source map inside, a tenth of it RE2JS; much more means that something large has crept in. */
const BUNDLE_CHARS_MAX = 6_000_000;

it('bundles for the sandbox: no Node module anywhere below the entry', async () => {
  installRuntime();
  // webpack refuses `node:` imports and the SDK every other built-in, so that building is the test.
  const { code } = await workflowBundle();
  expect(code.length).toBeLessThan(BUNDLE_CHARS_MAX);
});
