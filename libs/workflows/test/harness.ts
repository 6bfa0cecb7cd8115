/**
 * A worker for specs: the real interpreter on a real server, with one stubbed activity behind every name. Each harness
 * has a namespace of its own, since the queue names are fixed and specs run side by side.
 */
import { randomUUID } from 'node:crypto';
import { readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Context } from '@temporalio/activity';
import { Client, type WorkflowHandle } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { NativeConnection, Runtime, DefaultLogger, Worker, bundleWorkflowCode } from '@temporalio/worker';
import { stepKey, TEMPORAL_NAMES, workflowIdOf } from '@opsloop/contracts';
import type {
  AtomCall,
  CompiledFlow,
  FlowDocument,
  Json,
  JsonObject,
  PinnedAtom,
  RunContext,
  RunInput,
  RunOutcome,
  SteerAct,
  SteerAnswer,
  SteerRequest,
  StepRecord,
} from '@opsloop/contracts';
import { createTestNamespace, eventually, runFolder, testRunInput } from '@opsloop/testing';

/** One call of any activity, in the order in which they began. */
export interface Recorded {
  type: string;
  argument: AtomCall & JsonObject;
  attempt: number;
  taskQueue: string;
  activityId: string;
}

/**
 * Whether a step is called for the first time, and not again because a person said so. Counting calls would not do: one
 * that timed out on a busy machine may never have reached the stub.
 */
export const beforeVerdict = ({ context: { run, step, key } }: AtomCall): boolean => key === stepKey(run, step, 0);

export type Stub = (call: AtomCall & JsonObject, n: number) => unknown;

export interface RunOptions {
  input?: Json;
  context?: Partial<RunContext>;
  config?: Record<string, JsonObject>;
  atoms?: Record<string, Partial<PinnedAtom>>;
  flows?: Record<string, CompiledFlow>;
  attributes?: boolean;
  byDigest?: boolean;
  /** State of an earlier Temporal run of this run. */
  carried?: JsonObject;
  /** What operators had said of the run to which this sub-flow belongs. */
  steering?: JsonObject;
  /** Events after which the run goes on in a new Temporal run. */
  continueAfter?: number;
  /** How long a task that was lost with its worker keeps the next one waiting; 10 s unless said otherwise. */
  taskTimeout?: '3s';
}

export type WorkflowBundle = { code: string };
let bundle: Promise<WorkflowBundle> | undefined;
/** The bundle from sources, built once per vitest run: webpack needs 3–5 s of CPU, and some twenty specs need it. */
export function workflowBundle(): Promise<WorkflowBundle> {
  bundle ??= keptBundle();
  return bundle;
}

/** When the newest of the sources was written: under `--watch` a bundle of before must not serve. */
async function lastChange(): Promise<number> {
  const libs = fileURLToPath(new URL('../..', import.meta.url));
  const times = ['contracts', 'rules', 'dsl', 'workflows'].map(async (lib) => {
    const files = await readdir(join(libs, lib, 'src'), { recursive: true });
    return Promise.all(files.map(async (file) => (await stat(join(libs, lib, 'src', file))).mtimeMs));
  });
  return Math.max(...(await Promise.all(times)).flat());
}

async function keptBundle(): Promise<WorkflowBundle> {
  const path = join(runFolder(), `interpreter-${await lastChange()}.cjs`);
  const kept = await readFile(path, 'utf8').catch(() => undefined);
  if (kept !== undefined) return { code: kept };
  const { code } = await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('../src/workflows.ts', import.meta.url)),
    preloadModules: [fileURLToPath(new URL('../src/preload.ts', import.meta.url))],
    logger: new DefaultLogger('ERROR'),
    webpackConfigHook: (config) => ({
      ...config,
      resolve: {
        ...config.resolve,
        conditionNames: ['@opsloop/source', '...'],
        extensionAlias: { '.js': ['.ts', '.js'] },
      },
    }),
  });
  // Written beside and renamed, so that a spec in another process never reads half a bundle.
  const partial = `${path}.${process.pid}`;
  await writeFile(partial, code);
  await rename(partial, path);
  return { code };
}

/** A flow whose references are all pinned; atoms are `native` mutating ones unless said otherwise. */
export function compiled(
  doc: Partial<FlowDocument> & Pick<FlowDocument, 'do'>,
  options: Pick<RunOptions, 'atoms' | 'flows'> = {},
): CompiledFlow {
  const flow: FlowDocument = { dsl: 'opsloop/v1', kind: 'flow', name: 'test/flow', version: '1.0.0', ...doc };
  const atoms: Record<string, PinnedAtom> = {};
  for (const ref of atomRefs(flow)) atoms[ref] = pinned(ref);
  for (const [ref, patch] of Object.entries(options.atoms ?? {})) atoms[ref] = { ...pinned(ref), ...patch };
  for (const atom of Object.values(atoms))
    if (atom.compensate) atoms[atom.compensate.call] ??= pinned(atom.compensate.call);
  return { ir: 1, flow, digest: 'd', atoms, flows: options.flows ?? {} };
}

function pinned(ref: string): PinnedAtom {
  const name = ref.split('@')[0]!;
  return {
    name,
    version: '1.0.0',
    effect: 'mutate',
    idempotency: 'native',
    execution: 'activity',
    activity: name,
    retry: { initialInterval: '1ms', maximumAttempts: 3 },
    timeout: { startToClose: '20s' },
  };
}

function atomRefs(value: unknown, found = new Set<string>()): Set<string> {
  if (Array.isArray(value)) for (const entry of value) atomRefs(entry, found);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, entry] of Object.entries(value)) {
      if (key === 'call' && typeof entry === 'string') found.add(entry);
      else atomRefs(entry, found);
    }
  }
  return found;
}

export interface Run {
  id: string;
  handle: WorkflowHandle;
  firstRunId: string;
  /** An operator's act on it. */
  steer(act: SteerAct): Promise<SteerAnswer>;
  /** How often it went on in a new Temporal run so far; the list of runs may be a moment late. */
  continued(): Promise<number>;
  hasContinued(times: number): Promise<void>;
  /** Result, or the failure's problem. */
  end(): Promise<{ status: string; output?: Json; problem?: JsonObject }>;
  steps(): Promise<StepRecord[]>;
  step(path: string): Promise<StepRecord | undefined>;
  outcome(): RunOutcome;
  /** Calls of atoms in order, `name` or `name:path`. */
  calls(): string[];
}

/** What names no run in its request, so that nobody can say whose it is. */
const OF_NO_RUN: ReadonlySet<string> = new Set([TEMPORAL_NAMES.cacheActivity, TEMPORAL_NAMES.outputActivity]);

export class Harness {
  readonly recorded: Recorded[] = [];
  private readonly stubs = new Map<string, Stub>();
  private readonly counts = new Map<string, number>();
  /** Whose a run is, for those that were started by a part. */
  private readonly owners = new Map<string, Harness>();
  private whole: Harness | undefined;
  private end!: (reason: Error) => void;
  /** Ends the answers that never come: a worker waits for them when it stops. */
  private readonly ended = new Promise<never>((_resolve, reject) => (this.end = reject));
  private workers: { worker: Worker; running: Promise<void> }[] = [];

  private constructor(
    readonly connection: NativeConnection,
    readonly client: Client,
    readonly namespace: string,
    private readonly cache: number | undefined,
  ) {}

  /** Without a cache every workflow task replays the whole history: what a killed worker leaves to the next. */
  static async start(options: { cache?: number } = {}): Promise<Harness> {
    installRuntime();
    const { address, namespace } = await createTestNamespace('h', { searchAttributes: true });
    const connection = await NativeConnection.connect({ address });
    const harness = new Harness(connection, new Client({ connection, namespace }), namespace, options.cache);
    await harness.startWorkers();
    return harness;
  }

  /** A part for a case beside others: it has the workers of the whole, and answers and records of its own runs alone. */
  part(): Harness {
    const part = new Harness(this.connection, this.client, this.namespace, this.cache);
    part.whole = this;
    return part;
  }

  async startWorkers(queues: string[] = [TEMPORAL_NAMES.flowQueue, TEMPORAL_NAMES.atomQueue]): Promise<void> {
    for (const taskQueue of queues) {
      const worker = await Worker.create({
        connection: this.connection,
        namespace: this.namespace,
        taskQueue,
        ...(taskQueue === TEMPORAL_NAMES.flowQueue ? { workflowBundle: await workflowBundle() } : {}),
        activities: { default: (argument: AtomCall & JsonObject) => this.answer(argument) },
        shutdownForceTime: '3s',
        // What a stopped worker has taken along goes to the next one after this, instead of 10 s.
        stickyQueueScheduleToStartTimeout: '1s',
        ...(this.cache === undefined ? {} : { maxCachedWorkflows: this.cache }),
      });
      this.workers.push({ worker, running: worker.run() });
    }
  }

  async stopWorkers(): Promise<void> {
    const stopping = this.workers;
    this.workers = [];
    for (const { worker } of stopping) worker.shutdown();
    await Promise.all(stopping.map(({ running }) => running.catch(() => undefined)));
  }

  async stop(): Promise<void> {
    this.ended.catch(() => undefined);
    this.end(new Error('the spec has ended'));
    await this.stopWorkers();
    await this.connection.close();
  }

  /** Answers of one activity; unstubbed atoms answer `{ ok: true }`. */
  on(type: string, stub: Stub): this {
    const of = OF_NO_RUN.has(type) ? (this.whole ?? this) : this;
    of.stubs.set(type, stub);
    return this;
  }

  reset(): void {
    this.stubs.clear();
    this.counts.clear();
    this.recorded.length = 0;
  }

  private answer(argument: AtomCall & JsonObject): Promise<unknown> {
    const run = argument.context?.run ?? argument['run'];
    return (this.owners.get(String(run)) ?? this).answerOwn(argument);
  }

  private async answerOwn(argument: AtomCall & JsonObject): Promise<unknown> {
    const { activityType, attempt, taskQueue, activityId } = Context.current().info;
    this.recorded.push({ type: activityType, argument, attempt, taskQueue, activityId });
    const n = (this.counts.get(activityType) ?? 0) + 1;
    this.counts.set(activityType, n);
    const stub = this.stubs.get(activityType);
    if (stub !== undefined) return Promise.race([stub(argument, n), (this.whole ?? this).ended]);
    if (activityType === TEMPORAL_NAMES.claimActivity) return { granted: true, fence: '77' };
    return activityType.startsWith('opsloop.') ? null : { ok: true };
  }

  async run(
    doc: (Partial<FlowDocument> & Pick<FlowDocument, 'do'>) | CompiledFlow,
    options: RunOptions = {},
  ): Promise<Run> {
    const ir = 'ir' in doc ? doc : compiled(doc, options);
    const id = randomUUID();
    this.whole?.owners.set(id, this);
    const { context } = testRunInput(ir, id);
    const input: RunInput = {
      context: {
        ...context,
        startedAt: '2026-01-02T03:04:05.000Z',
        ...options.context,
      },
      ...(options.byDigest === true ? { irDigest: ir.digest } : { ir }),
      input: options.input ?? {},
      config: options.config ?? {},
      ...(options.carried === undefined ? {} : { carried: options.carried }),
      ...(options.steering === undefined ? {} : { steering: options.steering }),
      ...(options.continueAfter === undefined ? {} : { continueAfter: options.continueAfter }),
    };
    const handle = await this.client.workflow.start(ir.flow.name, {
      taskQueue: TEMPORAL_NAMES.flowQueue,
      workflowId: workflowIdOf(ir.flow.name, id),
      args: [input],
      ...(options.taskTimeout === undefined ? {} : { workflowTaskTimeout: options.taskTimeout }),
      ...(options.attributes === true
        ? { typedSearchAttributes: [{ key: defineSearchAttributeKey('OpsPhase', 'KEYWORD'), value: 'running' }] }
        : {}),
    });
    return { ...this.view(id, handle), firstRunId: handle.firstExecutionRunId };
  }

  private view(id: string, handle: WorkflowHandle): Omit<Run, 'firstRunId'> {
    const mine = (r: Recorded): boolean => r.argument.context?.run === id;
    const continued = async (): Promise<number> => {
      let count = -1;
      const query = `WorkflowId = '${handle.workflowId}'`;
      for await (const _run of this.client.workflow.list({ query })) count += 1;
      return count;
    };
    return {
      id,
      handle,
      end: async () => {
        try {
          return { status: 'succeeded', output: (await handle.result()) as Json };
        } catch (err) {
          const cause = (err as { cause?: { name?: string; details?: JsonObject[] } }).cause;
          if (cause?.name === 'CancelledFailure') return { status: 'cancelled' };
          if (cause?.details?.[0] === undefined) throw err;
          return { status: 'failed', problem: cause.details[0] };
        }
      },
      steer: (act) =>
        handle.executeUpdate<SteerAnswer, [SteerRequest]>(TEMPORAL_NAMES.steerUpdate, {
          args: [{ ...act, id: randomUUID(), by: 'anna', reason: 'for a test', at: new Date().toISOString() }],
        }),
      continued,
      hasContinued: (times) =>
        eventually(async () => {
          const seen = await continued();
          if (seen < times) throw new Error(`it went on in ${seen} new Temporal runs instead of ${times}`);
        }),
      steps: () => handle.query<StepRecord[]>(TEMPORAL_NAMES.stepsQuery),
      step: async (path) => (await handle.query<StepRecord[]>(TEMPORAL_NAMES.stepsQuery)).find((s) => s.path === path),
      outcome: () => {
        const reports = this.recorded.filter(
          (r) => r.type === TEMPORAL_NAMES.reportActivity && (r.argument as JsonObject)['run'] === id,
        );
        if (reports.length !== 1) throw new Error(`${reports.length} reports`);
        return (reports[0]!.argument as unknown as { outcome: RunOutcome }).outcome;
      },
      calls: () =>
        this.recorded
          .filter((r) => mine(r) && !r.type.startsWith('opsloop.'))
          .map((r) => `${r.type}:${r.argument.context.step}`),
    };
  }
}

let installed = false;
/** Quiet logs: a test that fails a step on purpose would fill them with warnings. */
export function installRuntime(): void {
  if (installed) return;
  installed = true;
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
}
