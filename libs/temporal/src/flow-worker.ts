import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { OpsError, TEMPORAL_NAMES } from '@opsloop/contracts';
import { Worker, type WorkerOptions } from '@temporalio/worker';
import type { Log } from './log.js';
import type { TemporalConnection } from './temporal-connection.service.js';
import { interpreterPreload, interpreterWorkflows, workflowBundle } from './workflow-bundle.js';

/** What the five applications need of the heap besides cached runs; an idle worker process was measured at 234 MB. */
const HEAP_RESERVED_MB = 400;
/** A parked run was measured at 182–272 KB; journals of larger flows take more. */
const CACHED_RUN_MB = 0.4;
const CACHED_RUNS_MIN = 50;
/** Beyond this a restart replays for minutes, and no embedded machine has so many runs in flight. */
const CACHED_RUNS_MAX = 4_000;
/**
 * Half of the space for young objects of the worker thread. V8 doubles it under load and hardly ever gives it back: to
 * 64 MB, both halves 128 MB for 50 MB of living objects. With 16 MB the thread keeps 32 MB.
 */
const THREAD_SEMI_SPACE_MB = 16;
/** Activities in flight get this long on shutdown; together with draining HTTP and the bus it stays below the usual 30 s before SIGKILL. */
const SHUTDOWN_GRACE = '10s';
const SHUTDOWN_FORCE = '15s';
/** As often as the atoms beat; a hundred long steps are then 33 small writes a second for the server. */
const HEARTBEAT_EVERY = '3s';

/**
 * How many runs a worker keeps in memory. The SDK bounds the cache by count and a full heap kills the process, so the
 * count follows from the heap; a run that is not cached costs a replay (65–122 ms per step), nothing more.
 */
export function cachedRunsFor(heapLimitBytes: number): number {
  const fits = Math.floor((heapLimitBytes / 2 ** 20 - HEAP_RESERVED_MB) / CACHED_RUN_MB);
  return Math.min(CACHED_RUNS_MAX, Math.max(CACHED_RUNS_MIN, fits));
}

/** `OPSLOOP_DEPLOYMENT=<name>:<build>` → worker deployment; unset = unversioned, which is the default on purpose. */
export function parseDeployment(text: string | undefined): { deploymentName: string; buildId: string } | undefined {
  if (text === undefined || text === '') return undefined;
  const at = text.lastIndexOf(':');
  const [deploymentName, buildId] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
  if (deploymentName === '' || buildId === '') {
    throw new OpsError(
      'configuration',
      `OPSLOOP_DEPLOYMENT is "${text}"; write <name>:<build>, for example opsloop:2026-11-21`,
    );
  }
  return { deploymentName, buildId };
}

/**
 * One embedded worker that is replaced on upgrade must pick up the open runs of its predecessor, so versioning is off
 * unless somebody runs several builds side by side; then a run stays with its build and moves on continue-as-new.
 */
function deploymentOptions(
  deployment: { deploymentName: string; buildId: string } | undefined,
): Partial<WorkerOptions> {
  if (deployment === undefined) return {};
  return {
    workerDeploymentOptions: { version: deployment, useWorkerVersioning: true, defaultVersioningBehavior: 'PINNED' },
  };
}

export interface FlowWorkerOptions {
  temporal: TemporalConnection;
  /** Local activities: reports, gates and quick atoms. The queue is never polled for others. */
  activities: object;
  cacheDir: string;
  log: Log;
  /** Default: the interpreter. */
  workflowsPath?: string;
  taskQueue?: string;
  deployment?: { deploymentName: string; buildId: string };
}

/** A worker of `opsloop-flows`: the interpreter from a cached bundle, on this process's own connection. */
export async function createFlowWorker(options: FlowWorkerOptions): Promise<Worker> {
  const bundle = await workflowBundle({
    workflowsPath: options.workflowsPath ?? interpreterWorkflows(),
    ...(options.workflowsPath === undefined ? { preload: [interpreterPreload()] } : {}),
    cacheDir: options.cacheDir,
    log: options.log,
  });
  // The SDK names no limits for its thread; V8 reads this one when a thread begins, so our own heap stays as it is.
  setFlagsFromString(`--max-semi-space-size=${THREAD_SEMI_SPACE_MB}`);
  return Worker.create({
    connection: options.temporal.connection,
    namespace: options.temporal.namespace,
    taskQueue: options.taskQueue ?? TEMPORAL_NAMES.flowQueue,
    workflowBundle: { codePath: bundle.codePath },
    activities: options.activities,
    enableNonLocalActivities: false,
    maxCachedWorkflows: cachedRunsFor(getHeapStatistics().heap_size_limit),
    shutdownGraceTime: SHUTDOWN_GRACE,
    shutdownForceTime: SHUTDOWN_FORCE,
    ...deploymentOptions(options.deployment),
  });
}

export interface AtomWorkerOptions {
  temporal: TemporalConnection;
  /** `default` answers for every activity type that has no member of its own. */
  activities: object;
  taskQueue?: string;
  /** Atoms mostly wait for others, so many may be in flight; each holds a socket or a child process. Default 100. */
  concurrency?: number;
}

/** A worker that only executes activities. */
export async function createAtomWorker(options: AtomWorkerOptions): Promise<Worker> {
  return Worker.create({
    connection: options.temporal.connection,
    namespace: options.temporal.namespace,
    taskQueue: options.taskQueue ?? TEMPORAL_NAMES.atomQueue,
    activities: options.activities,
    maxConcurrentActivityTaskExecutions: options.concurrency ?? 100,
    // Its own default is 30 s: a cancelled step would go on for so long, since a heartbeat is what brings the word.
    defaultHeartbeatThrottleInterval: HEARTBEAT_EVERY,
    maxHeartbeatThrottleInterval: HEARTBEAT_EVERY,
    shutdownGraceTime: SHUTDOWN_GRACE,
    shutdownForceTime: SHUTDOWN_FORCE,
  });
}
