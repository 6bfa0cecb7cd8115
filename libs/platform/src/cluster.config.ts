import { OpsError } from '@opsloop/contracts';
import type { PlatformConfig } from './platform.config.js';

/** Shorter secrets can be guessed offline from a captured hash; `openssl rand -hex 32` gives 64 characters. */
const SECRET_CHARS_MIN = 32;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];

type Environment = Record<string, string | undefined>;

const wrong = (name: string, remedy: string): OpsError => new OpsError('configuration', `${name} ${remedy}`);

function secret(env: Environment, name: string): string {
  const value = env[name];
  if (value === undefined || value.length < SECRET_CHARS_MIN) {
    throw wrong(
      name,
      `must have at least ${SECRET_CHARS_MIN} characters and has no default; try: openssl rand -hex 32`,
    );
  }
  return value;
}

function origin(env: Environment, name: string, fallback?: string): string {
  const value = env[name] ?? fallback;
  if (value === undefined || !/^https?:\/\/[^\s/]+$/.test(value.replace(/\/+$/, ''))) {
    throw wrong(name, `is "${value ?? ''}"; write an origin such as http://control:7300`);
  }
  return value.replace(/\/+$/, '');
}

/**
 * Configuration of one app in a process of its own: `OPSLOOP_HOST`, `OPSLOOP_PORT`, `OPSLOOP_PUBLIC_URL`,
 * `OPSLOOP_ADMIN_KEY`, `OPSLOOP_SERVICE_TOKEN`, `OPSLOOP_{INGEST,DECISION,CONTROL,CATALOG}_URL`, `OPSLOOP_LOG_LEVEL`,
 * `OPSLOOP_HTTP_ALLOW`, and for tests of crashes `OPSLOOP_FAILPOINT`. Every route needs a token, so binding beyond
 * loopback is allowed; without a strong one the app does not start.
 */
export function platformConfigFromEnv(env: Environment, version: string): PlatformConfig {
  const host = env['OPSLOOP_HOST'] ?? '127.0.0.1';
  const port = Number(env['OPSLOOP_PORT'] ?? 7300);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw wrong('OPSLOOP_PORT', `is "${env['OPSLOOP_PORT']}"; write a number from 1 to 65535`);
  const logLevel = env['OPSLOOP_LOG_LEVEL'] ?? 'info';
  if (!LEVELS.includes(logLevel))
    throw wrong('OPSLOOP_LOG_LEVEL', `is "${logLevel}"; write one of ${LEVELS.join(', ')}`);
  return {
    host,
    port,
    publicUrl: origin(env, 'OPSLOOP_PUBLIC_URL', `http://${host}:${port}`),
    ...(env['OPSLOOP_ADMIN_KEY'] === undefined ? {} : { adminKey: secret(env, 'OPSLOOP_ADMIN_KEY') }),
    serviceToken: secret(env, 'OPSLOOP_SERVICE_TOKEN'),
    urls: {
      ingest: origin(env, 'OPSLOOP_INGEST_URL'),
      decision: origin(env, 'OPSLOOP_DECISION_URL'),
      control: origin(env, 'OPSLOOP_CONTROL_URL'),
      catalog: origin(env, 'OPSLOOP_CATALOG_URL'),
    },
    embedded: false,
    logLevel,
    httpAllow: (env['OPSLOOP_HTTP_ALLOW'] ?? '')
      .split(',')
      .map((s) => s.trim())
      .filter((s) => s !== ''),
    ...(env['OPSLOOP_FAILPOINT'] === undefined ? {} : { failpoint: env['OPSLOOP_FAILPOINT'] }),
    tenant: 'default',
    version,
  };
}

/** Where the database of an app in a process of its own is: `DATABASE_URL`, which has no default. */
export function databaseUrlFromEnv(env: Environment): string {
  const url = env['DATABASE_URL'];
  if (url === undefined || !/^postgres(ql)?:\/\//.test(url)) {
    throw wrong('DATABASE_URL', 'is not set to a PostgreSQL; write postgresql://user:password@host:5432/opsloop');
  }
  return url;
}
