/**
 * `opsloop up`: PostgreSQL, Temporal and the five apps on this machine, in the order in which they need each other, and
 * down again in the opposite order.
 */
import {
  defaultCacheDir,
  findTemporalBinary,
  isAlive,
  isPortFree,
  type ProcessMark,
  startEmbeddedPostgres,
  startEmbeddedTemporal,
  stopProcess,
} from '@opsloop/embedded';
import type { PlatformConfig } from '@opsloop/platform';
import type { TemporalConfig } from '@opsloop/temporal';
import type { UpOptions } from './config.js';
import { DataDir, type StackFile } from './data-dir.js';
import { VERSION } from './version.js';

const HOST = '127.0.0.1';
/** Time for running activities to end before the servers under them go away. */
const TEMPORAL_GRACE_MS = 10_000;
/** How far beyond the preferred port a free one is looked for; more busy ports than that is no coincidence. */
const PORT_TRIES = 50;
/** PostgreSQL may be one that an earlier start left, so its end is seen by looking; clients notice a lost server as fast. */
const WATCH_MS = 1_000;

export interface RunningStack {
  url: string;
  temporalUrl?: string;
  dataDir: string;
  adminKeyFile: string;
  stop(): Promise<void>;
}

export interface UpHooks {
  /** Progress for a person, one line each. */
  progress: (line: string) => void;
  /** An embedded server ended although nobody asked it to. */
  lost: (what: string) => void;
}

/** What was started, in the order in which it is stopped from the end. */
export interface Part {
  name: string;
  stop: () => Promise<void>;
}

export async function startStack(options: UpOptions, hooks: UpHooks): Promise<RunningStack> {
  const dir = new DataDir(options.dataDir);
  dir.prepare();
  dir.assertFree();
  if (!(await isPortFree(options.port))) {
    throw new Error(`port ${options.port} is in use; stop what listens there or choose another with --port`);
  }
  const parts: Part[] = [];
  const stop = async (): Promise<void> => {
    for (const part of parts.splice(0).reverse()) {
      // What comes after must not stay behind because this one would not go.
      await part
        .stop()
        .catch((error: unknown) => hooks.progress(`${part.name} did not stop in order: ${messageOf(error)}`));
    }
  };
  try {
    return { ...(await startParts(options, dir, hooks, parts)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  options: UpOptions,
  dir: DataDir,
  hooks: UpHooks,
  parts: Part[],
): Promise<Omit<RunningStack, 'stop'>> {
  const url = `http://${HOST}:${options.port}`;
  const old = dir.readStackFile();
  // One that outlived its stack holds the database file and our ports, and polls for workers of the past.
  if (old?.temporal !== undefined) await stopProcess(old.temporal, 'SIGTERM', TEMPORAL_GRACE_MS);
  const ports = await choosePorts(options.port, old);
  const marks: { postgres?: ProcessMark; temporal?: ProcessMark } = {};
  const save = (): void => dir.writeStackFile({ url, ports, ...marks });
  save();

  const servers = settleBoth(
    database(options, dir, ports, hooks, parts, marks, save),
    temporalServer(options, dir, ports, hooks, parts, marks, save),
  );
  // The code of the apps is loaded while the servers start, which are processes of their own.
  const [{ startApps }, [databaseUrl, temporal]] = await settleBoth(import('./apps.js'), servers);
  hooks.progress('starting the five apps');
  const platform = platformConfig(options, dir, url, ports);
  await startApps({ platform, temporal, databaseUrl, env: options.env }, parts);
  return {
    url,
    dataDir: dir.path,
    adminKeyFile: dir.file('admin.key'),
    ...(temporal.uiUrl === undefined ? {} : { temporalUrl: temporal.uiUrl }),
  };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Waits for both, so that what did start is known and stopped when the other one failed. */
async function settleBoth<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [first, second] = await Promise.allSettled([a, b]);
  if (first.status === 'rejected') throw first.reason;
  if (second.status === 'rejected') throw second.reason;
  return [first.value, second.value];
}

async function database(
  options: UpOptions,
  dir: DataDir,
  ports: StackFile['ports'],
  hooks: UpHooks,
  parts: Part[],
  marks: { postgres?: ProcessMark },
  save: () => void,
): Promise<string> {
  if (options.databaseUrl !== undefined) return options.databaseUrl;
  hooks.progress('starting PostgreSQL');
  const postgres = await startEmbeddedPostgres({ dataDir: dir.path, port: ports.postgres, log: hooks.progress });
  const watch = setInterval(() => {
    if (isAlive(postgres.mark)) return;
    clearInterval(watch);
    hooks.lost('PostgreSQL');
  }, WATCH_MS);
  watch.unref();
  parts.unshift({
    name: 'PostgreSQL',
    stop: () => {
      clearInterval(watch);
      return postgres.stop();
    },
  });
  ports.postgres = postgres.port;
  marks.postgres = postgres.mark;
  save();
  return postgres.socketUrl;
}

async function temporalServer(
  options: UpOptions,
  dir: DataDir,
  ports: StackFile['ports'],
  hooks: UpHooks,
  parts: Part[],
  marks: { temporal?: ProcessMark },
  save: () => void,
): Promise<TemporalConfig> {
  if (options.temporalAddress !== undefined) return (await import('./apps.js')).temporalConfigFromEnv(options.env);
  const log = {
    debug: () => undefined,
    info: (message: string) => hooks.progress(message),
    warn: (message: string) => hooks.progress(message),
    error: (message: string) => hooks.progress(message),
  };
  const { path: binary } = await findTemporalBinary(log, defaultCacheDir(options.env));
  hooks.progress('starting Temporal');
  const server = await startEmbeddedTemporal({
    binary,
    dataDir: dir.file('temporal'),
    port: ports.temporal,
    ...(options.ui ? { uiPort: ports.temporalUi } : {}),
    log,
  });
  let stopping = false;
  parts.unshift({
    name: 'Temporal',
    stop: () => {
      stopping = true;
      return server.stop();
    },
  });
  void server.exited.then(() => stopping || hooks.lost('Temporal'));
  marks.temporal = { pid: server.pid, started: server.startTime };
  save();
  return {
    address: server.address,
    namespace: server.namespace,
    ...(server.uiUrl === undefined ? {} : { uiUrl: server.uiUrl }),
  };
}

function platformConfig(options: UpOptions, dir: DataDir, url: string, ports: StackFile['ports']): PlatformConfig {
  const { env } = options;
  return {
    host: HOST,
    port: options.port,
    publicUrl: url,
    adminKey: env['OPSLOOP_ADMIN_KEY'] ?? dir.key('admin.key'),
    serviceToken: dir.key('service.key'),
    urls: { ingest: url, decision: url, control: url, catalog: url },
    embedded: true,
    logLevel: options.logLevel,
    httpAllow: (env['OPSLOOP_HTTP_ALLOW'] ?? '')
      .split(',')
      .map((s) => s.trim())
      .filter((s) => s !== ''),
    ownPorts: Object.values(ports),
    dataDir: dir.path,
    ...(env['OPSLOOP_FAILPOINT'] === undefined ? {} : { failpoint: env['OPSLOOP_FAILPOINT'] }),
    tenant: 'default',
    version: VERSION,
  };
}

/** The ports of the last start while they are free, so that bookmarks keep working; else the next free ones. */
async function choosePorts(http: number, old: StackFile | undefined): Promise<StackFile['ports']> {
  const taken = new Set([http]);
  const pick = async (preferred: number): Promise<number> => {
    for (let port = preferred; port < preferred + PORT_TRIES; port++) {
      if (!taken.has(port) && (await isPortFree(port))) {
        taken.add(port);
        return port;
      }
    }
    throw new Error(
      `no free port from ${preferred} to ${preferred + PORT_TRIES - 1}; choose another start with --port`,
    );
  };
  const keep = old !== undefined && old.ports.http === http ? old.ports : undefined;
  return {
    http,
    temporal: await pick(keep?.temporal ?? http + 1),
    temporalUi: await pick(keep?.temporalUi ?? http + 2),
    // One that outlived its stack is adopted where it listens.
    postgres:
      old?.postgres !== undefined && isAlive(old.postgres)
        ? old.ports.postgres
        : await pick(keep?.postgres ?? http + 3),
  };
}
