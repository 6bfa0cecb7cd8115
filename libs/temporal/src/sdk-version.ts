import { createRequire } from 'node:module';

/** Version of the SDK: a bundle made by one version must never be run by another. */
export const version = (createRequire(import.meta.url)('@temporalio/worker/package.json') as { version: string })
  .version;
