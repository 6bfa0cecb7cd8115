import { join } from 'node:path';
import { defaultCacheDir } from '@opsloop/embedded';

/** Where the servers of this vitest run are asked for; set by the global setup and inherited by every fork. */
const BROKER = 'OPSLOOP_TEST_SERVERS';

export function brokerUrl(): string {
  const url = process.env[BROKER];
  if (url === undefined)
    throw new Error(`${BROKER} is not set: run specs through vitest with libs/testing's global setup`);
  return url;
}

export function setBrokerUrl(url: string): void {
  process.env[BROKER] = url;
}

/** A folder of this vitest run alone, gone with it; set by the global setup and inherited by every fork. */
const FOLDER = 'OPSLOOP_TEST_FOLDER';

export function runFolder(): string {
  const folder = process.env[FOLDER];
  if (folder === undefined)
    throw new Error(`${FOLDER} is not set: run specs through vitest with libs/testing's global setup`);
  return folder;
}

export function setRunFolder(folder: string): void {
  process.env[FOLDER] = folder;
}

/** Where the product keeps its downloads; the specs share them. */
export const cacheDir = (): string => defaultCacheDir(process.env);

/**
 * Hundreds of processes load the same packages: what the first has compiled the others read. Inherited by forks and by
 * whatever they start.
 */
export function shareCompiledCode(): void {
  process.env['NODE_COMPILE_CACHE'] ??= join(cacheDir(), 'compiled');
}

/** What Java and Maven get of our environment: where programs and their settings are. */
export function javaEnvironment(): NodeJS.ProcessEnv {
  const { PATH, HOME, JAVA_HOME, MAVEN_OPTS, MAVEN_ARGS } = process.env;
  return { PATH, HOME, JAVA_HOME, MAVEN_OPTS, MAVEN_ARGS, LC_ALL: 'C.UTF-8', TZ: 'UTC' };
}

/** The longest time a delivery of the bus is kept back for; 0 as a rule. */
export const slowBusMs = (): number => Number(process.env['OPSLOOP_SPEC_SLOW_BUS'] ?? 0);

/** On a build server a suite that cannot run is a failure. */
export const onBuildServer = (): boolean => process.env['CI'] === 'true';
