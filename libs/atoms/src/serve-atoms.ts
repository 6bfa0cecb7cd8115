import { failureParts, OpsError, type AtomCall, type AtomDocument, type JobCall, type Json } from '@opsloop/contracts';
import { validateInput } from '@opsloop/dsl';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { NativeConnectionOptions, Worker } from '@temporalio/worker';
import type { AtomArguments, AtomDefinition, JobDefinition } from './define-atom.js';
import { NotYet, pollOnce } from './job.js';
import { CallLocks } from './locks.js';
import { logSink } from './log-sink.js';
import { checkSize } from './output.js';
import { CallSecrets, platformSecrets, redactError, type PlatformAccess, type SecretSource } from './secrets.js';
import { fittingLines, StepLog, type LogSink } from './step-log.js';

/** As often as the platform's own worker beats. */
const HEARTBEAT_EVERY = '3s';

/** Any atom: what it takes and gives is checked against its manifest at run time. */
export type AnyAtom = AtomDefinition<never, unknown> | JobDefinition<never, unknown>;

export interface ServeOptions {
  /** `host:port` of Temporal. */
  address: string;
  namespace?: string;
  tls?: NativeConnectionOptions['tls'];
  apiKey?: string;
  /** Takes the place of the manifests' queues; needed where a queue is a template over labels. */
  queue?: string;
  /** Atoms in flight per queue. Default 100. */
  concurrency?: number;
  /**
   * Where this worker gets the values of secrets that flows hand to its atoms, and where its atoms' `log` goes: the
   * platform, with a token of the role worker. Histories hold references only, so without it a call with a secret fails
   * and says so; lines then stand only in the problems of steps that failed.
   */
  platform?: PlatformAccess;
  /** Secrets from elsewhere, instead of `platform`. */
  secrets?: SecretSource;
}

export interface AtomService {
  /** Settles when all workers have stopped; rejects when one died. */
  readonly done: Promise<void>;
  /** Stops taking work, lets what runs end (10 s), and closes the connection. */
  shutdown(): Promise<void>;
}

/** Serves atoms from this process: one worker per queue. This and `defineAtom` are the whole plug-in interface. */
export async function serveAtoms(atoms: readonly AnyAtom[], options: ServeOptions): Promise<AtomService> {
  const queues = byQueue(atoms, options.queue);
  const secrets = options.secrets ?? (options.platform === undefined ? undefined : platformSecrets(options.platform));
  const sink = options.platform === undefined ? undefined : logSink(options.platform);
  // Loaded here: most who import this package serve no atoms, and the SDK's worker is a quarter of what they would load.
  const sdk = await import('@temporalio/worker');
  const connection = await sdk.NativeConnection.connect({
    address: options.address,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    ...(options.apiKey === undefined ? {} : { apiKey: options.apiKey }),
  });
  const workers: Worker[] = [];
  for (const [taskQueue, served] of queues) {
    workers.push(
      await sdk.Worker.create({
        connection,
        namespace: options.namespace ?? 'default',
        taskQueue,
        activities: Object.assign(
          {},
          ...served.map((atom) => activitiesOf(atom, secrets, sink, options.platform)),
        ) as object,
        // Its own default is 30 s: progress and a cancel would come as late.
        defaultHeartbeatThrottleInterval: HEARTBEAT_EVERY,
        maxHeartbeatThrottleInterval: HEARTBEAT_EVERY,
        maxConcurrentActivityTaskExecutions: options.concurrency ?? 100,
        shutdownGraceTime: '10s',
      }),
    );
  }
  const done = Promise.all(workers.map((worker) => worker.run())).then(() => undefined);
  // Whoever does not await `done` must not be taken down by an unhandled rejection; they see it in shutdown().
  done.catch(() => undefined);
  return {
    done,
    shutdown: async () => {
      for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
      await done.finally(() => connection.close());
    },
  };
}

function byQueue(atoms: readonly AnyAtom[], override: string | undefined): Map<string, AnyAtom[]> {
  const queues = new Map<string, AnyAtom[]>();
  for (const atom of atoms) {
    const { queue, activity } = atom.manifest.worker!;
    const taskQueue = override ?? queue;
    if (taskQueue.includes('${')) {
      throw new OpsError(
        'configuration',
        `the queue of ${atom.manifest.name} is a template (${queue}); say which queue this worker serves: serveAtoms(…, { queue })`,
      );
    }
    const served = queues.get(taskQueue) ?? [];
    if (served.some((other) => other.manifest.worker!.activity === activity)) {
      throw new OpsError('configuration', `two atoms on the queue ${taskQueue} have the activity "${activity}"`);
    }
    queues.set(taskQueue, [...served, atom]);
  }
  return queues;
}

/** What a worker without access to secrets says; thrown only when a call needs one. */
const NO_ACCESS: SecretSource = {
  get: (name) => {
    throw new OpsError(
      'configuration',
      `this worker cannot resolve the secret "${name}"; give it access: serveAtoms(…, { platform: { url, token } }) with a token of the role worker`,
      { extensions: { secret: name } },
    );
  },
};

type Activity = (call: AtomCall) => Promise<Json>;

/** The activities of an atom by name: one, or of a job one for each of its parts. */
export function activitiesOf(
  atom: AnyAtom,
  source?: SecretSource,
  sink?: LogSink,
  platform?: PlatformAccess,
): Record<string, Activity> {
  const { activity } = atom.manifest.worker!;
  const one = activityOf(atom, source, sink, platform);
  if (!('start' in atom)) return { [activity]: one };
  const parts: JobCall['phase'][] = atom.cancel === undefined ? ['start', 'poll'] : ['start', 'poll', 'cancel'];
  return Object.fromEntries(
    parts.map((phase) => [`${activity}.${phase}`, (call: AtomCall) => one({ ...call, job: { ...call.job, phase } })]),
  );
}

/**
 * The activity of an atom: resolves secrets, checks input and output, answers dry runs, asks the probe before a repeat,
 * maps failures. Values of secrets leave it neither with the output nor with a heartbeat, a line or an error.
 */
export function activityOf(
  atom: AnyAtom,
  source: SecretSource = NO_ACCESS,
  sink?: LogSink,
  platform?: PlatformAccess,
): Activity {
  return async (call) => {
    const activity = Context.current();
    const secrets = new CallSecrets(source);
    const { run, step, dryRun } = call.context;
    const { attempt } = activity.info;
    const locks = new CallLocks({ run, step, attempt, dryRun }, platform, activity.cancellationSignal);
    const log = new StepLog({ run, step, attempt, sink });
    log.redact = (text) => secrets.redactText(text);
    const heartbeat = (details: Json): void => activity.heartbeat(secrets.redact(details));
    try {
      const args: AtomArguments<Json> = {
        input: checked(atom.manifest, 'input', await secrets.fill(call.input, call.secrets)),
        context: call.context,
        signal: AbortSignal.any([activity.cancellationSignal, locks.lost]),
        lock: locks.take,
        heartbeat: (progress = {}) => heartbeat({ ...progress }),
        log: (message, fields) =>
          log.line('log', fields === undefined ? message : `${message} ${JSON.stringify(fields)}`),
      };
      const output = await perform(atom, args as AtomArguments<never>, call, { info: activity.info, heartbeat });
      // A start gives the id of a job, a cancel nothing; what a dry run says would happen need not look like it.
      const unchecked = call.context.dryRun || (call.job !== undefined && call.job.phase !== 'poll');
      const fitting = unchecked ? output : checked(atom.manifest, 'output', output);
      return cleaned(checkSize(fitting, atom.manifest.name), secrets, activity);
    } catch (error) {
      if (error instanceof CancelledFailure) throw error;
      // Whatever the atom made of it: it was stopped because somebody else may be at work.
      if (locks.lost.aborted && !activity.cancellationSignal.aborted) throw failure(locks.lost.reason, log.last());
      if (activity.cancellationSignal.aborted) throw new CancelledFailure('the step was cancelled');
      if (error instanceof ApplicationFailure) throw redactFailure(error, secrets);
      throw failure(secrets.used ? redactError(error, secrets) : error, log.last());
    } finally {
      await Promise.all([locks.end(), log.close()]);
    }
  };
}

function cleaned(output: Json, secrets: CallSecrets, { log }: Context): Json {
  const before = secrets.found;
  const clean = secrets.redact(output);
  if (secrets.found > before) log.warn('the output of this atom held a secret; it was taken out');
  return clean;
}

/** An atom may throw a failure of Temporal's own; its text goes into the history like any other. */
function redactFailure(error: ApplicationFailure, secrets: CallSecrets): ApplicationFailure {
  if (!secrets.used) return error;
  return ApplicationFailure.create({
    message: secrets.redactText(error.message),
    ...(error.type == null ? {} : { type: error.type }),
    ...(error.nonRetryable == null ? {} : { nonRetryable: error.nonRetryable }),
    details: secrets.redact((error.details ?? []) as Json[]),
    ...(error.nextRetryDelay == null ? {} : { nextRetryDelay: error.nextRetryDelay }),
    ...(error.category == null ? {} : { category: error.category }),
  });
}

interface Around {
  info: Context['info'];
  heartbeat: (details: Json) => void;
}

async function perform(atom: AnyAtom, args: AtomArguments<never>, call: AtomCall, around: Around): Promise<Json> {
  const { manifest, check } = atom;
  if (args.context.dryRun && manifest.effect !== 'read') {
    if (check !== undefined) return (await check.call(atom, args)) as Json;
    return manifest.examples?.find((example) => example.output !== undefined)?.output ?? { dryRun: true };
  }
  if ('start' in atom) return performJob(atom, args, call.job!, around);
  if (manifest.idempotency === 'probe' && around.info.attempt > 1 && atom.probe !== undefined) {
    const earlier = await atom.probe.call(atom, args);
    if (earlier.done) return earlier.output as Json;
  }
  return (await atom.execute.call(atom, args)) as Json;
}

async function performJob(
  atom: JobDefinition<never, unknown>,
  args: AtomArguments<never>,
  { phase, id = '', attempts }: JobCall,
  { info, heartbeat }: Around,
): Promise<Json> {
  if (phase === 'start') return (await atom.start.call(atom, args)) as unknown as Json;
  const about = { ...args, id };
  if (phase === 'cancel') {
    await atom.cancel?.call(atom, about);
    return null;
  }
  return pollOnce({ heartbeatDetails: info.heartbeatDetails as unknown, heartbeat }, attempts, async () => {
    const state = await atom.poll.call(atom, about);
    if (state.done) return state.output as Json;
    const { percent, message } = state;
    throw new NotYet({
      ...(percent === undefined ? {} : { percent }),
      ...(message === undefined ? {} : { message: message.slice(0, 200) }),
    });
  });
}

/** Input gets the schema's defaults; a value that does not fit is the caller's mistake (input) or the atom's (output). */
function checked(manifest: AtomDocument, side: 'input' | 'output', value: Json): Json {
  const schema = manifest[side]?.schema;
  if (schema === undefined) return value ?? null;
  const { errors, value: complete } = validateInput(schema, value ?? null);
  if (errors.length === 0) return side === 'input' ? complete : value;
  throw failure(
    new OpsError(
      'validation',
      `the ${side} of ${manifest.name} does not match its schema: ${errors.map((e) => `${e.pointer || '/'} ${e.message}`).join('; ')}`,
      { errors },
    ),
  );
}

function failure(error: unknown, said: readonly string[] = []): ApplicationFailure {
  const parts = failureParts(error);
  return ApplicationFailure.create({
    message: parts.message,
    type: parts.type,
    nonRetryable: parts.nonRetryable,
    details: [said.length === 0 ? parts.problem : { ...parts.problem, log: fittingLines(said) }],
    ...(parts.retryAfterMs === undefined ? {} : { nextRetryDelay: parts.retryAfterMs }),
  });
}
