/**
 * The embedded PostgreSQL: a child of the stack on loopback, its data in `<data dir>/postgres`. It survives a `kill -9`
 * of the stack; the next start adopts it, so there is never a second postmaster on one data directory.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { postgresBinaries } from './postgres-binaries.js';
import { isAlive, markOf, stopProcess, type ProcessMark } from './processes.js';
import { serverEnvironment } from './config.js';

/** WAL recovery after a power cut of a large data directory takes a while; a healthy start takes 0.3 s. */
const START_DEADLINE_MS = 60_000;
/** A fast shutdown writes one checkpoint. */
const STOP_GRACE_MS = 15_000;

export interface EmbeddedPostgres {
  url: string;
  /** The same over the socket in its data directory, which costs both sides half of what TCP does; without one, as `url`. */
  socketUrl: string;
  port: number;
  mark: ProcessMark;
  stop(): Promise<void>;
}

export interface EmbeddedPostgresOptions {
  dataDir: string;
  port: number;
  log: (line: string) => void;
  /** Further server settings, such as `fsync: 'off'` for tests. */
  settings?: Record<string, string>;
}

export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const dir = join(options.dataDir, 'postgres');
  const password = ensureCluster(dir, options);
  const running = livingPostmaster(dir);
  if (running !== undefined) {
    options.log(`PostgreSQL of an earlier start is still running (pid ${running.mark.pid}): adopted`);
    return finish(dir, running.port, running.mark, password);
  }
  rmSync(join(dir, 'postmaster.pid'), { force: true });
  const mark = spawnPostmaster(dir, options);
  return finish(dir, options.port, mark, password);
}

const socketOf = (dir: string, port: number): string => join(dir, `.s.PGSQL.${port}`);
/** The operating system refuses longer names of sockets (108 bytes on Linux, 104 on macOS). */
const SOCKET_PATH_MAX = 100;

async function finish(dir: string, port: number, mark: ProcessMark, password: string): Promise<EmbeddedPostgres> {
  const base = `postgres://opsloop:${password}@127.0.0.1:${port}`;
  await waitUntilReady(`${base}/postgres`, mark, dir);
  await createDatabase(`${base}/postgres`);
  return {
    url: `${base}/opsloop`,
    socketUrl: existsSync(socketOf(dir, port)) ? `${base}/opsloop?host=${encodeURIComponent(dir)}` : `${base}/opsloop`,
    port,
    mark,
    // SIGINT = fast shutdown: open sessions are ended, nothing committed is lost.
    stop: () => stopProcess(mark, 'SIGINT', STOP_GRACE_MS),
  };
}

function ensureCluster(dir: string, options: EmbeddedPostgresOptions): string {
  const passwordFile = join(options.dataDir, 'postgres.password');
  if (existsSync(join(dir, 'PG_VERSION')) && existsSync(passwordFile)) return readFileSync(passwordFile, 'utf8').trim();
  options.log('creating the PostgreSQL data directory');
  // A start that was killed inside initdb leaves half a directory, which initdb refuses.
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const password = randomBytes(24).toString('base64url');
  initdb(dir, password);
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  return password;
}

function initdb(dir: string, password: string): void {
  const owner = serverAccount();
  if (owner !== undefined) chownSync(dir, owner.uid, owner.gid);
  const pwfile = join(dirname(dir), 'initdb.pw');
  writeFileSync(pwfile, `${password}\n`, { mode: 0o600 });
  if (owner !== undefined) chownSync(pwfile, owner.uid, owner.gid);
  try {
    // C collation: paths compare byte by byte everywhere; UTF8 whatever the host's locale is.
    const args = [
      '--pgdata',
      dir,
      '--auth=scram-sha-256',
      '--username=opsloop',
      `--pwfile=${pwfile}`,
      '--encoding=UTF8',
    ];
    const result = spawnSync(postgresBinaries().initdb, [...args, '--locale=C', '--no-instructions'], {
      ...owner,
      encoding: 'utf8',
      env: serverEnvironment(),
    });
    if (result.status !== 0) throw new Error(`initdb failed: ${hint(result.error?.message ?? result.stderr)}`);
  } finally {
    rmSync(pwfile, { force: true });
  }
}

function hint(stderr: string): string {
  const text = stderr.trim().split('\n').slice(-4).join(' ');
  return /permission denied|EACCES/i.test(text)
    ? `${text} — as root, PostgreSQL runs as user "postgres", which must be able to reach the data directory; choose one it can with --data-dir, or start as another user`
    : text;
}

/** The postmaster that `postmaster.pid` names, if it lives and answers; its first line is the pid, its fourth the port. */
function livingPostmaster(dir: string): { mark: ProcessMark; port: number } | undefined {
  const file = join(dir, 'postmaster.pid');
  if (!existsSync(file)) return undefined;
  const lines = readFileSync(file, 'utf8').split('\n');
  const mark = markOf(Number(lines[0]));
  const port = Number(lines[3]);
  if (mark === undefined || !Number.isInteger(port) || port <= 0 || !runsPostgres(mark.pid)) return undefined;
  return { mark, port };
}

/** After a reboot the recorded pid may be anybody's. */
function runsPostgres(pid: number): boolean {
  try {
    return execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).includes('postgres');
  } catch {
    return existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('postgres');
  }
}

function spawnPostmaster(dir: string, options: EmbeddedPostgresOptions): ProcessMark {
  const { postgres } = postgresBinaries();
  const logFile = join(dirname(dir), 'postgres.log');
  const log = openSync(logFile, 'a', 0o600);
  chmodSync(logFile, 0o600);
  const owner = serverAccount();
  const settings = {
    listen_addresses: '127.0.0.1',
    // In the data directory, which nobody else may enter; none where its path is too long for one.
    unix_socket_directories: Buffer.byteLength(socketOf(dir, options.port)) > SOCKET_PATH_MAX ? '' : quoted(dir),
    max_connections: '60',
    // Sized for a laptop: the working set of a demo fits, and a company brings its own PostgreSQL.
    shared_buffers: '128MB',
    // A frozen consumer must let go of its rows within the promised 5 s of redelivery.
    idle_in_transaction_session_timeout: '5s',
    log_min_messages: 'warning',
    ...options.settings,
  };
  const args = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const child = spawn(postgres, ['-D', dir, '-p', String(options.port), ...args], {
    ...owner,
    // Its own process group: Ctrl-C in the terminal reaches the stack alone, which drains before it stops PostgreSQL.
    detached: true,
    stdio: ['ignore', log, log],
    env: serverEnvironment(),
  });
  child.unref();
  if (child.pid === undefined) throw new Error('PostgreSQL could not be started');
  const mark = markOf(child.pid);
  if (mark === undefined) throw new Error(`PostgreSQL ended at once; see ${logFile}`);
  return mark;
}

/** A list of directories may hold commas and blanks inside quotes. */
const quoted = (dir: string): string => `"${dir.replaceAll('"', '""')}"`;

/** PostgreSQL refuses to run as root, so there it runs as `postgres`, an account that a root-only container gets made. */
function serverAccount(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string): number =>
    Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8', stdio: 'pipe' }));
  try {
    return { uid: id('-u'), gid: id('-g') };
  } catch {
    execFileSync('useradd', [
      '--system',
      '--user-group',
      '--no-create-home',
      '--shell',
      '/usr/sbin/nologin',
      'postgres',
    ]);
    return { uid: id('-u'), gid: id('-g') };
  }
}

async function waitUntilReady(url: string, mark: ProcessMark, dir: string): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.end();
      return;
    } catch (cause) {
      await client.end().catch(() => undefined);
      const log = `${dirname(dir)}/postgres.log`;
      if (!isAlive(mark)) throw new Error(`PostgreSQL ended while it started; see ${log}`, { cause });
      if (Date.now() > deadline) throw new Error(`PostgreSQL did not answer within 60 s; see ${log}`, { cause });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

async function createDatabase(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const found = await client.query("SELECT 1 FROM pg_database WHERE datname = 'opsloop'");
    if (found.rowCount === 0) await client.query('CREATE DATABASE opsloop');
  } finally {
    await client.end();
  }
}

/** Statements on a connection of their own, one after the other; the rows of the last one. */
export async function runSql(url: string, statements: readonly string[]): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) rows = (await client.query<Record<string, unknown>>(statement)).rows;
    return rows;
  } finally {
    await client.end();
  }
}
