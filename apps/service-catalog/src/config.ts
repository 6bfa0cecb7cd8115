import { OpsError } from '@opsloop/contracts';

/** Configuration of service-catalog; the only place of this app that reads the environment. */
export interface ServiceCatalogConfig {
  /** Compiled offerings kept in memory. */
  compileCacheMax: number;
  /** Keys of the secret store: `text` holds them, `file` names the file that does. Absent: an embedded stack makes its own. */
  secretKeys?: { text: string } | { file: string };
}

/** 500 compiled offerings of about 20 KB are 10 MB; a fleet seldom starts more different ones in a day. */
const COMPILE_CACHE_MAX = 500;

export function serviceCatalogConfigFromEnv(env: Record<string, string | undefined>): ServiceCatalogConfig {
  const given = Number(env['OPSLOOP_CATALOG_CACHE'] ?? COMPILE_CACHE_MAX);
  const { OPSLOOP_SECRETS_KEY: text, OPSLOOP_SECRETS_KEY_FILE: file } = env;
  if (text !== undefined && file !== undefined)
    throw new OpsError('configuration', 'set OPSLOOP_SECRETS_KEY or OPSLOOP_SECRETS_KEY_FILE, not both');
  return {
    compileCacheMax: Number.isInteger(given) && given > 0 ? given : COMPILE_CACHE_MAX,
    ...(text === undefined ? {} : { secretKeys: { text } }),
    ...(file === undefined ? {} : { secretKeys: { file } }),
  };
}

/** Injection token of {@link ServiceCatalogConfig}. */
export const CATALOG_CONFIG = Symbol('CATALOG_CONFIG');

/** Release of this app, for /openapi.json and logs. */
export const VERSION = '0.1.0';

export const readEnvironment = (): Record<string, string | undefined> => process.env;
