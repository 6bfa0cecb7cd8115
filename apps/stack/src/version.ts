import { createRequire } from 'node:module';

/** Version of the whole platform: the root package's. */
export const VERSION = (createRequire(import.meta.url)('../../../package.json') as { version: string }).version;
