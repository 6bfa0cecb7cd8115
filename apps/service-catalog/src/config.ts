/** Configuration of service-catalog; the only place of this app that reads the environment. */
export interface ServiceCatalogConfig {
  /** Compiled offerings kept in memory. */
  compileCacheMax: number;
}

/** 500 compiled offerings of about 20 KB are 10 MB; a fleet seldom starts more different ones in a day. */
const COMPILE_CACHE_MAX = 500;

export function serviceCatalogConfigFromEnv(env: Record<string, string | undefined>): ServiceCatalogConfig {
  const given = Number(env['OPSLOOP_CATALOG_CACHE'] ?? COMPILE_CACHE_MAX);
  return { compileCacheMax: Number.isInteger(given) && given > 0 ? given : COMPILE_CACHE_MAX };
}

/** Injection token of {@link ServiceCatalogConfig}. */
export const CATALOG_CONFIG = Symbol('CATALOG_CONFIG');

/** Release of this app, for /openapi.json and logs. */
export const VERSION = '0.1.0';

export const readEnvironment = (): Record<string, string | undefined> => process.env;
