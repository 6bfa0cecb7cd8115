import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { OpsError, TEMPORAL_NAMES } from '@opsloop/contracts';
import type { Connection } from '@temporalio/client';
import type { Log } from './log.js';
import { processStarted, stopProcess, type ProcessMark } from './processes.js';

const HOST = '127.0.0.1';
const NAMESPACE = 'default';
/** First start migrates the database file and registers the search attributes: 2–4 s on two busy cores. */
const START_WITHIN_MS = 60_000;
const POLL_MS = 50;
/** The dev server keeps ended runs for a day; links, queries and retries should work for a month. */
const RETENTION_SECONDS = 720 * 3_600;
const STOP_GRACE_MS = 10_000;
/** Tail of the child's log that stands in the error when it does not come up. */
const LOG_TAIL_CHARS = 2_000;

/**
 * Dynamic configuration of the child. A dev server limits each history shard to 20 loads per second, which makes every
 * step of a sequential workflow take 50 ms, and moves every timer at least a second ahead. With these a step takes
 * 12 ms and a timer 15 ms. A shard has no second host here, so a time shift of 1 ms harms nothing.
 */
const DYNAMIC_CONFIG: Readonly<Record<string, string>> = {
  'history.transferProcessorMaxPollRPS': '1000',
  'history.timerProcessorMaxPollRPS': '1000',
  'history.visibilityProcessorMaxPollRPS': '1000',
  'history.timerProcessorMaxTimeShift': '"1ms"',
  // A fresh search attribute is unknown for about 10 s otherwise, and starts that carry it fail.
  'system.forceSearchAttributesCacheRefreshOnRead': 'true',
};

export interface EmbeddedTemporalOptions {
  binary: string;
  /** Holds the database file and the log of the child. */
  dataDir: string;
  port: number;
  /** Absent: no Web UI. */
  uiPort?: number;
  log: Log;
}

/** What the caller records, so that the next start can stop a child that outlived its parent. */
export interface EmbeddedTemporal {
  pid: number;
  /** Start time of the process: pids are reused, a pid with its start time is not. */
  startTime: string;
  address: string;
  namespace: string;
  uiUrl?: string;
  /** Settles when the child ends; an end that nobody asked for is an outage. */
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  stop(): Promise<void>;
}

/** Arguments of the child; public for the tests and for `doctor`. */
export function embeddedTemporalArgs(options: Pick<EmbeddedTemporalOptions, 'dataDir' | 'port' | 'uiPort'>): string[] {
  const args = ['server', 'start-dev', '--ip', HOST, '--port', String(options.port), '--namespace', NAMESPACE];
  args.push('--db-filename', join(options.dataDir, 'temporal.db'));
  // Write-ahead log and one fsync per checkpoint: a start takes 7 ms instead of 13, and a crash of the process loses nothing.
  args.push('--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL');
  args.push('--log-level', 'warn', '--log-format', 'json');
  if (options.uiPort === undefined) args.push('--headless');
  else args.push('--ui-ip', HOST, '--ui-port', String(options.uiPort));
  for (const [name, type] of Object.entries(TEMPORAL_NAMES.searchAttributes))
    args.push('--search-attribute', `${name}=${type}`);
  for (const [key, value] of Object.entries(DYNAMIC_CONFIG)) args.push('--dynamic-config-value', `${key}=${value}`);
  return args;
}

/** Starts a Temporal server as a child of this process and waits until it serves. */
export async function startEmbeddedTemporal(options: EmbeddedTemporalOptions): Promise<EmbeddedTemporal> {
  mkdirSync(options.dataDir, { recursive: true });
  const logFile = join(options.dataDir, 'temporal.log');
  const child = spawnServer(options, logFile);
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
  const address = `${HOST}:${options.port}`;
  const pid = child.pid;
  if (pid === undefined) throw new OpsError('unavailable', `${options.binary} could not be started: is it executable?`);
  const mark: ProcessMark = { pid, started: processStarted(pid) ?? '' };
  const stop = async (): Promise<void> => {
    await stopProcess(mark, 'SIGTERM', STOP_GRACE_MS);
    await exited;
  };
  try {
    await waitUntilServing(address, exited);
  } catch (error) {
    await stop();
    const tail = readTail(logFile);
    const why = error instanceof Error ? error.message : String(error);
    throw new OpsError(
      'unavailable',
      `the Temporal server did not come up at ${address}: ${why}. Its log, ${logFile}, ends: ${tail}`,
      { cause: error },
    );
  }
  options.log.info('Temporal serves', {
    address,
    pid,
    ...(options.uiPort === undefined ? {} : { ui: `http://${HOST}:${options.uiPort}` }),
  });
  return {
    pid,
    startTime: mark.started,
    address,
    namespace: NAMESPACE,
    ...(options.uiPort === undefined ? {} : { uiUrl: `http://${HOST}:${options.uiPort}` }),
    exited,
    stop,
  };
}

function spawnServer(options: EmbeddedTemporalOptions, logFile: string): ChildProcess {
  const out = openSync(logFile, 'a', 0o600);
  try {
    // A group of its own: Ctrl-C in the terminal must reach only us, since the workers drain before the server stops.
    return spawn(options.binary, embeddedTemporalArgs(options), { stdio: ['ignore', out, out], detached: true });
  } finally {
    closeSync(out);
  }
}

async function waitUntilServing(address: string, exited: EmbeddedTemporal['exited']): Promise<void> {
  const ended = exited.then(({ code, signal }) => {
    throw new Error(`it ended with ${signal ?? `exit code ${code}`}`);
  });
  ended.catch(() => undefined);
  const deadline = Date.now() + START_WITHIN_MS;
  // Loaded now, since whoever asks this package for anything else need not wait for the SDK.
  const { Connection } = await import('@temporalio/client');
  // Without the SDK's own retries: the loop below is the retry, and theirs waits on a timer that outlives close() and
  // then throws where nobody can catch it.
  const connection = Connection.lazy({ address, interceptors: [] });
  try {
    for (;;) {
      try {
        await Promise.race([prepareNamespace(connection), ended]);
        return;
      } catch (error) {
        await Promise.race([delay(POLL_MS), ended]);
        if (Date.now() >= deadline) throw error;
      }
    }
  } finally {
    await connection.close();
  }
}

/** The namespace answers last of all parts, so this is the readiness check too. */
async function prepareNamespace(connection: Connection): Promise<void> {
  await connection.withDeadline(Date.now() + 2_000, async () => {
    const { config } = await connection.workflowService.describeNamespace({ namespace: NAMESPACE });
    const seconds = Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0);
    if (seconds >= RETENTION_SECONDS) return;
    const ttl = { seconds: RETENTION_SECONDS } as unknown as { seconds: Long };
    await connection.workflowService.updateNamespace({
      namespace: NAMESPACE,
      config: { workflowExecutionRetentionTtl: ttl },
    });
  });
}

/** protobuf's 64-bit integer; plain numbers are accepted at run time. */
type Long = NonNullable<
  NonNullable<
    Parameters<Connection['workflowService']['updateNamespace']>[0]['config']
  >['workflowExecutionRetentionTtl']
>['seconds'] &
  object;

function readTail(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(-LOG_TAIL_CHARS).trim() || '(empty)';
  } catch {
    return '(unreadable)';
  }
}
