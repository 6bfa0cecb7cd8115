/** Where the API is and with which key; the only place of the CLI that reads the environment. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EXIT, CliError } from './errors.js';

export const DEFAULT_PORT = 7300;
/** Release of the CLI. */
export const VERSION = '0.1.0';
/** Root of the checkout: dist/ and src/ lie equally deep. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Endpoint {
  url: string;
  token?: string;
  /** Data directory from which they were read. */
  from?: string;
}

/** The nearest `.opsloop/` of a running or earlier stack, upwards from `cwd`. */
export function findDataDir(cwd: string): string | undefined {
  for (let dir = resolve(cwd); ; dir = dirname(dir)) {
    if (existsSync(join(dir, '.opsloop', 'endpoint.json'))) return join(dir, '.opsloop');
    if (dirname(dir) === dir) return undefined;
  }
}

/** `OPSLOOP_URL` and `OPSLOOP_TOKEN`, else what a local stack left in its data directory. */
export function findEndpoint(env: Environment, cwd: string): Endpoint {
  const { OPSLOOP_URL: url, OPSLOOP_TOKEN: token } = env;
  if (url !== undefined && url !== '') {
    if (!/^https?:\/\/\S+$/.test(url))
      throw new CliError(
        `OPSLOOP_URL is "${url}"; write an origin such as http://127.0.0.1:${DEFAULT_PORT}`,
        EXIT.usage,
      );
    return { url, ...(token === undefined ? {} : { token }) };
  }
  const explicit = env['OPSLOOP_DATA_DIR'];
  const from = explicit === undefined ? findDataDir(cwd) : resolve(cwd, explicit);
  if (from === undefined || !existsSync(join(from, 'endpoint.json'))) {
    throw new CliError(
      'no stack was found: start one with "opsloop up", or set OPSLOOP_URL and OPSLOOP_TOKEN',
      EXIT.usage,
    );
  }
  try {
    const endpoint = JSON.parse(readFileSync(join(from, 'endpoint.json'), 'utf8')) as { url: string };
    return { url: endpoint.url, token: token ?? readFileSync(join(from, 'admin.key'), 'utf8').trim(), from };
  } catch (cause) {
    throw new CliError(
      `${from} cannot be read (${cause instanceof Error ? cause.message : String(cause)}); set OPSLOOP_URL and OPSLOOP_TOKEN`,
      EXIT.usage,
    );
  }
}
