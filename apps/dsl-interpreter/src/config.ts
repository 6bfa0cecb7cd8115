import { readFileSync } from 'node:fs';
import { defaultCacheDir, parseDeployment } from '@opsloop/temporal';
import { OpsError } from '@opsloop/contracts';

/** Configuration of dsl-interpreter; the only place of this app that reads the environment. */
export interface DslInterpreterConfig {
  /** Keeps the bundled workflow code between starts. */
  cacheDir: string;
  /** Several builds side by side: runs stay with the build that started them. */
  deployment?: { deploymentName: string; buildId: string };
  /** Atoms in flight in this process. */
  atomConcurrency: number;
  /** PATH of scripts, and where their sandbox is looked for. */
  path: string;
  unsafeHostExec: boolean;
  scriptNetwork: boolean;
  /** `OPSLOOP_SECRET_<NAME>`. */
  secrets: Readonly<Record<string, string>>;
}

/** Atoms mostly wait for their targets; a hundred sockets are nothing, a hundred scripts would be. */
const ATOM_CONCURRENCY = 100;

export function dslInterpreterConfigFromEnv(env: Record<string, string | undefined>): DslInterpreterConfig {
  const concurrency = Number(env['OPSLOOP_ATOM_CONCURRENCY'] ?? ATOM_CONCURRENCY);
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 10_000) {
    throw new OpsError(
      'configuration',
      `OPSLOOP_ATOM_CONCURRENCY is "${env['OPSLOOP_ATOM_CONCURRENCY']}"; write a number from 1 to 10000`,
    );
  }
  const deployment = parseDeployment(env['OPSLOOP_DEPLOYMENT']);
  const secrets = Object.entries(env).filter(
    (e): e is [string, string] => e[0].startsWith('OPSLOOP_SECRET_') && e[1] !== undefined,
  );
  return {
    cacheDir: defaultCacheDir(env),
    ...(deployment === undefined ? {} : { deployment }),
    atomConcurrency: concurrency,
    path: env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
    unsafeHostExec: flag(env, 'OPSLOOP_UNSAFE_HOST_EXEC'),
    scriptNetwork: flag(env, 'OPSLOOP_SCRIPT_NETWORK'),
    secrets: Object.fromEntries(secrets),
  };
}

/** `true` or `false`; a typing error must not open or close a door silently. */
function flag(env: Record<string, string | undefined>, name: string): boolean {
  const value = env[name] ?? 'false';
  if (value !== 'true' && value !== 'false')
    throw new OpsError('configuration', `${name} is "${value}"; write true or false`);
  return value === 'true';
}

export const readEnvironment = (): Record<string, string | undefined> => process.env;

/** Injection token of {@link DslInterpreterConfig}. */
export const INTERPRETER_CONFIG = Symbol('INTERPRETER_CONFIG');

/** Version of this package, for the API pages and logs. */
export const VERSION = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
