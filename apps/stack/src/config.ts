import { parseArgs } from 'node:util';

/** What `opsloop up` was asked for: flags first, then the environment, then defaults. */
export interface UpOptions {
  port: number;
  dataDir: string;
  /** Temporal Web UI. */
  ui: boolean;
  logLevel: string;
  /** Someone else's PostgreSQL and Temporal instead of the embedded ones. */
  databaseUrl?: string;
  temporalAddress?: string;
  env: NodeJS.ProcessEnv;
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];
const USAGE = 'usage: opsloop up [--port 7300] [--data-dir .opsloop] [--no-ui]';

export class UsageError extends Error {}

export function upOptions(argv: string[], env: NodeJS.ProcessEnv): UpOptions {
  const flags = parseFlags(argv);
  const set = (name: string): string | undefined => env[name] || undefined;
  const port = Number(flags.port ?? set('OPSLOOP_PORT') ?? 7300);
  // Three more ports follow the first one: Temporal, its Web UI, PostgreSQL.
  if (!Number.isInteger(port) || port < 1 || port > 65_532) {
    throw new UsageError(
      `${flags.port === undefined ? 'OPSLOOP_PORT' : '--port'} ${flags.port ?? set('OPSLOOP_PORT')} is not a port between 1 and 65532. ${USAGE}`,
    );
  }
  const logLevel = set('OPSLOOP_LOG_LEVEL') ?? 'warn';
  if (!LEVELS.includes(logLevel))
    throw new UsageError(`OPSLOOP_LOG_LEVEL is "${logLevel}"; write one of ${LEVELS.join(', ')}`);
  const databaseUrl = set('DATABASE_URL');
  const temporalAddress = set('TEMPORAL_ADDRESS');
  return {
    port,
    dataDir: flags['data-dir'] ?? set('OPSLOOP_DATA_DIR') ?? '.opsloop',
    ui: flags['no-ui'] !== true,
    logLevel,
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    ...(temporalAddress === undefined ? {} : { temporalAddress }),
    env,
  };
}

function parseFlags(argv: string[]): { port?: string; 'data-dir'?: string; 'no-ui'?: boolean } {
  try {
    return parseArgs({
      args: argv,
      options: { port: { type: 'string' }, 'data-dir': { type: 'string' }, 'no-ui': { type: 'boolean' } },
    }).values;
  } catch (cause) {
    throw new UsageError(`${(cause as Error).message}. ${USAGE}`, { cause });
  }
}

export const readEnvironment = (): NodeJS.ProcessEnv => process.env;
