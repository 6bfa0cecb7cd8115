import { durationMs, itemSegment } from '@opsloop/contracts';
import type { ForEachStep, Json, Problem, RunEnd, StepRecord } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { CancellationScope, CancelledFailure, isCancellation, patched } from '@temporalio/workflow';
import { exceeds, RollingBatches, splitBatches } from '../engine/batches.pure.js';
import { compensate } from '../engine/compensate.js';
import { EachProgress } from '../engine/each.pure.js';
import type { Engine } from '../engine/engine.js';
import { ContinueLater, StepFailure, fail } from '../engine/errors.js';
import { failureOf } from '../engine/failures.js';
import { BranchGroup } from '../engine/group.js';
import { gatePath, itemPath } from '../engine/paths.pure.js';
import { codeOf, problemOf, withSuppressed } from '../engine/problems.pure.js';
import { innerFrame } from '../engine/scope.js';
import type { UndoStack } from '../engine/undo.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';
import { underClaims } from './blocks.js';
import { runIsolated } from './isolate.js';
import type { IsolatedBatch } from './isolate.js';

/** Items in flight in one run; Temporal refuses more than 2,000 pending activities or children. */
const CONCURRENCY_MAX = 500;
/** Failed items whose steps are kept, so that a retry of them goes on where they failed: a few KB each travel with the run. */
const KEPT_FAILED_MAX = 100;
/** An item whose target somebody else holds is tried again, last of its batch, after this, for at most that long. */
const BUSY_RETRY_MS = 5_000;
const BUSY_TOTAL_MS = 1_800_000;

interface Item {
  key: string;
  value: Json;
  index: number;
}

/** What one forEach knows while it runs. */
interface Loop {
  engine: Engine;
  step: ForEachStep;
  frame: Frame;
  path: string;
  total: number;
  /** As the flow says at the start; an operator or the template may change it on the way. */
  concurrency: number;
  progress: EachProgress;
  /** Of an isolated batch: items that failed in the batches before. */
  failedBefore: number;
  /** Starts no new item: the tolerance is crossed, or the first failure stops it. */
  stopped: boolean;
}

/** `forEach`: bounded iteration in rolling batches. */
export async function forEachStep(
  engine: Engine,
  step: ForEachStep,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  const spec = step.forEach;
  const items = itemsOf(engine, step, frame, handle.path);
  const plan = spec.batch?.plan === undefined ? undefined : planOf(engine.render(spec.batch.plan, frame));
  const planned = splitBatches(
    items.map((item) => item.key),
    spec.batch && { ...spec.batch, plan },
  );
  const batches = new RollingBatches(planned, spec.batch?.ramp);
  const loop: Loop = {
    engine,
    step,
    frame,
    path: handle.path,
    total: items.length,
    concurrency: concurrencyOf(engine, step, frame),
    progress: engine.progressOf(handle.path),
    failedBefore: 0,
    stopped: false,
  };
  takeOver(loop, items);
  const byKey = new Map(items.map((item) => [item.key, item]));
  try {
    for (let at = 0, keys = batches.next(); keys !== undefined; at += 1, keys = batches.next()) {
      if (at > 0) await betweenBatches(loop, at, handle.record);
      const { count } = batches;
      engine.note(
        handle.path,
        `batch ${at + 1} of ${count}, ${loop.progress.failed.size} of ${items.length} items failed`,
      );
      const batch = { number: at + 1, count, size: keys.length };
      const members = keys.map((key) => byKey.get(key)!);
      if (spec.isolate === true && patched('isolate')) await isolatedBatch(loop, members, batch);
      else await runBatch(loop, members, toScopeValue(batch));
      if (loop.stopped) throw thresholdFailure(loop);
      batches.ended(keys.filter((key) => loop.progress.failed.has(key)).length);
    }
  } finally {
    engine.note(handle.path, undefined);
  }
  return { output: spec.collect === undefined ? null : loop.progress.inOrder(), failed: failedList(loop) };
}

function failedList(loop: Loop): Json {
  return [...loop.progress.failed].map(([key, error]) => ({ key, error: error as unknown as Json }));
}

function thresholdFailure(loop: Loop): StepFailure {
  const [key, cause] = [...loop.progress.failed][0] ?? [];
  return fail('batch-threshold', `${loop.progress.failed.size} of ${loop.total} items failed, the first was ${key}`, {
    ...loop.engine.where(loop.path, loop.step.id),
    failed: [...loop.progress.failed.keys()].slice(0, 100),
    ...(cause === undefined ? {} : { cause }),
  });
}

function itemsOf(engine: Engine, step: ForEachStep, frame: Frame, path: string): Item[] {
  const { as = 'item', key } = step.forEach;
  const evaluate = (): Json => engine.render(step.forEach.in, frame);
  // What no step can change is evaluated again instead of travelling with the run.
  const list = isConstant(step.forEach.in) ? evaluate() : engine.remember(path, evaluate);
  if (!Array.isArray(list))
    throw fail('expression', `forEach.in needs a list, got ${JSON.stringify(list)?.slice(0, 100)}`);
  const seen = new Set<string>();
  return list.map((value, index) => {
    const given = key === undefined ? value : engine.render(key, frame, { [as]: toScopeValue(value), index });
    const text = typeof given === 'string' ? given : typeof given === 'number' ? String(given) : String(index);
    if (seen.has(text)) throw fail('validation', `two items of forEach "${step.id}" have the key "${text}"`);
    seen.add(text);
    return { key: text, value, index };
  });
}

/** Whether a template reads nothing but the input and the configs, which stay as they were at the start. */
function isConstant(template: Json): boolean {
  return typeof template === 'string' && /^\$\{(input|config)(\.[\w.-]+|\[[^\]]+\])*\??\}$/.test(template);
}

function planOf(plan: Json): string[][] | undefined {
  if (plan === null) return undefined;
  const groups = Array.isArray(plan) ? plan : [];
  if (!Array.isArray(plan) || !groups.every((g) => Array.isArray(g) && g.every((k) => typeof k === 'string'))) {
    throw fail('expression', 'batch.plan needs a list of lists of item keys');
  }
  return groups as string[][];
}

function concurrencyOf(engine: Engine, step: ForEachStep, frame: Frame): number {
  const given = step.forEach.concurrency ?? 1;
  const value = typeof given === 'number' ? given : Number(engine.render(given, frame));
  if (!Number.isFinite(value) || value < 1)
    throw fail('expression', `forEach.concurrency needs a number ≥ 1, got ${given}`);
  return Math.min(CONCURRENCY_MAX, Math.floor(value));
}

/** Pause and gate stand between two batches: nothing more is touched before the last batch has proved good. */
async function betweenBatches(loop: Loop, done: number, record: StepRecord): Promise<void> {
  const { engine, step, frame } = loop;
  const batch = step.forEach.batch;
  const path = gatePath(loop.path, done);
  // Passed in an earlier Temporal run of this run: what the gate saw then is not carried, and must not be asked again.
  if (engine.journal.has(path)) return;
  const held = (): boolean => engine.steering.holdsBatch(loop.path);
  if (held()) await engine.steering.hold(record, held);
  if (batch?.pause !== undefined)
    await engine.wait(durationMs(batch.pause), `pause after batch ${done}`, undefined, path);
  if (batch?.gate !== undefined) {
    const { expect, ...gate } = batch.gate;
    const inner = innerFrame(frame, path, {});
    await engine.inScope(inner, () => engine.walker.step(gate, inner));
    if (expect !== undefined && !engine.test(expect, inner)) {
      throw fail(
        'batch-threshold',
        `the gate "${gate.id}" refused to go on after batch ${done}`,
        engine.where(path, gate.id),
      );
    }
  }
  engine.journal.set(path, { status: 'succeeded' });
}

/** One batch in a workflow of its own; its results become ours. */
async function isolatedBatch(loop: Loop, items: Item[], batch: IsolatedBatch['batch']): Promise<void> {
  const { engine, frame, progress } = loop;
  const left = items.filter((item) => !progress.isDone(item.index) && !progress.isLeftOut(itemSegment(item.key)));
  if (left.length === 0) return;
  if (engine.leaving.asks(frame)) throw new ContinueLater();
  const { each, stopped } = await runIsolated(engine, frame, loop.path, {
    items: left,
    batch,
    total: loop.total,
    failedBefore: progress.failed.size,
  });
  const result = EachProgress.fromJson(each);
  for (const item of left) {
    const problem = result.failed.get(item.key);
    if (problem !== undefined) progress.fail(item.index, item.key, problem);
    else if (result.isDone(item.index)) progress.succeeded(item.index, result.collected.get(item.index));
    else continue;
    setEnd(loop, item, problem === undefined ? 'succeeded' : 'failed');
  }
  loop.stopped = stopped;
}

/** The same for the workflow of a batch: runs its items and gives how far they came. */
export async function runBatchOf(
  engine: Engine,
  step: ForEachStep,
  frame: Frame,
  { path, items, batch, total, failedBefore }: IsolatedBatch,
): Promise<{ progress: EachProgress; stopped: boolean }> {
  const loop: Loop = {
    engine,
    step,
    frame,
    path,
    total,
    concurrency: concurrencyOf(engine, step, frame),
    progress: engine.progressOf(path),
    failedBefore,
    stopped: false,
  };
  takeOver(loop, items);
  await runBatch(loop, items, toScopeValue(batch));
  return { progress: loop.progress, stopped: loop.stopped };
}

/** Runs one batch with at most so many items in flight; busy items go to its end. */
async function runBatch(loop: Loop, items: Item[], batch: unknown): Promise<void> {
  const scope = new CancellationScope({ cancellable: true });
  const window = new Window(loop, items, batch, new BranchGroup(scope));
  const deaf = loop.engine.steering.listen(() => scope.run(async () => window.refill()));
  try {
    await scope.run(() => window.drain());
  } finally {
    deaf();
  }
  window.group.rethrow();
}

/** The items of one batch that are in flight and those that wait for their turn. */
class Window {
  private readonly queue: Item[];
  /** When a busy item may be asked for again; all wait equally long, so the first of the queue is due first. */
  private readonly due = new Map<Item, number>();
  private readonly since = Date.now();
  private readonly workers = new Set<Promise<void>>();
  private running = 0;

  constructor(
    private readonly loop: Loop,
    items: readonly Item[],
    private readonly batch: unknown,
    readonly group: BranchGroup,
  ) {
    const { progress } = loop;
    const left = items.filter((item) => !progress.isDone(item.index) && !progress.isLeftOut(itemSegment(item.key)));
    // Items that were under way in the Temporal run before go first, also when nothing new starts any more.
    this.queue = [...left.filter((item) => this.resumes(item)), ...left.filter((item) => !this.resumes(item))];
  }

  async drain(): Promise<void> {
    this.refill();
    while (this.workers.size > 0) await Promise.all(this.workers);
  }

  /** One worker per item in flight; more of them when the limit has risen. */
  refill(): void {
    for (let more = Math.min(limitOf(this.loop) - this.running, this.queue.length); more > 0; more -= 1) {
      this.running += 1;
      const one = this.work().finally(() => this.workers.delete(one));
      this.workers.add(one);
    }
  }

  private async work(): Promise<void> {
    try {
      while (this.mayStart() && this.running <= limitOf(this.loop)) if (!(await this.next())) return;
    } finally {
      // At once, so that of several that end together one goes on.
      this.running -= 1;
    }
  }

  private mayStart(): boolean {
    return this.queue.length > 0 && (!this.loop.stopped || this.resumes(this.queue[0]!));
  }

  private resumes(item: Item): boolean {
    return this.loop.engine.resumes(itemPath(this.loop.path, item.key));
  }

  /** The next item of the queue; false when nothing more starts here. */
  private async next(): Promise<boolean> {
    const { loop, group } = this;
    const { engine, frame } = loop;
    if (engine.leaving.asks(frame)) {
      group.leave();
      return false;
    }
    const current = this.queue.shift()!;
    const pause = (this.due.get(current) ?? 0) - Date.now();
    if (pause > 0) {
      const slot = itemPath(loop.path, current.key);
      const waited = await group.run(() => engine.wait(pause, `${current.key} is busy`, undefined, slot));
      // Meanwhile the others may have decided that nothing more starts.
      if (waited.kind !== 'done' || loop.stopped) {
        this.queue.unshift(current);
        return false;
      }
    }
    const end = await group.run(() => oneItem(loop, current, this.batch), this.resumes(current));
    if (end.kind === 'cancelled' || end.kind === 'left') return false;
    if (end.kind === 'failed') {
      const { problem } = end.failure;
      if (this.isBusy(problem)) {
        this.due.set(current, Date.now() + BUSY_RETRY_MS);
        this.queue.push(current);
        return true;
      }
      noteFailure(loop, current, problem);
    }
    this.refill();
    return true;
  }

  /** Somebody else holds the target of the item, and there is time left to ask for it again. */
  private isBusy(problem: Problem): boolean {
    const taken = codeOf(problem) === 'lock-conflict' && problem['turn'] === true;
    return taken && Date.now() - this.since < BUSY_TOTAL_MS;
  }
}

/** Items in flight: what an operator said last, else the template as it is now. */
function limitOf(loop: Loop): number {
  const { engine, step, frame, path } = loop;
  const told = engine.steering.concurrencyOf(path);
  if (told !== undefined) return Math.min(CONCURRENCY_MAX, told);
  const { concurrency } = step.forEach;
  if (typeof concurrency !== 'string' || isConstant(concurrency)) return loop.concurrency;
  let now: number;
  try {
    now = concurrencyOf(engine, step, frame);
  } catch (err) {
    // What has become of `vars` since the start must not end the items that run.
    if (failureOf(err, engine.where(path, step.id)) === undefined) throw err;
    return loop.concurrency;
  }
  if (now !== loop.concurrency && patched('adaptive-concurrency')) loop.concurrency = now;
  return loop.concurrency;
}

/** Takes over what an earlier Temporal run, or the run of which this is a retry, has already done. */
function takeOver(loop: Loop, items: readonly Item[]): void {
  for (const item of items) {
    const path = itemPath(loop.path, item.key);
    const record = loop.engine.journal.get(path);
    // Runs of earlier versions carry a record per item.
    if (record !== undefined && !loop.progress.isDone(item.index)) {
      if (record.status === 'failed' && record.problem !== undefined)
        loop.progress.fail(item.index, item.key, record.problem);
      else loop.progress.succeeded(item.index, record.output);
    }
    loop.progress.reopen(item.index, item.key, itemSegment(item.key));
    if (loop.progress.isDone(item.index))
      setEnd(loop, item, loop.progress.failed.has(item.key) ? 'failed' : 'succeeded');
  }
  judgeTolerance(loop);
}

function judgeTolerance(loop: Loop): void {
  const { tolerate, onItemError } = loop.step.forEach;
  const { progress } = loop;
  const counts = (key: string): boolean => !progress.isLeftOut(itemSegment(key));
  const failed = progress.only === undefined ? progress.failed.size : [...progress.failed.keys()].filter(counts).length;
  if (failed === 0) return;
  if (onItemError === 'stop' || exceeds(tolerate, loop.failedBefore + failed, loop.total)) loop.stopped = true;
}

function noteFailure(loop: Loop, item: Item, problem: Problem): void {
  const { engine } = loop;
  const path = itemPath(loop.path, item.key);
  loop.progress.fail(item.index, item.key, problem);
  engine.live.delete(path);
  engine.resumed.delete(path);
  // What the item did is kept for a retry of it, of the first failed ones.
  if (loop.progress.failed.size > KEPT_FAILED_MAX) engine.journal.remove(path);
  setEnd(loop, item, 'failed');
  judgeTolerance(loop);
}

function setEnd(loop: Loop, item: Item, end: RunEnd): void {
  // Only the outermost forEach of the per-target flow speaks for targets.
  if (loop.frame.path === '') loop.engine.itemEnds?.set(item.key, end);
}

/** One item in a scope of its own; what it did is final once it has ended well. */
function oneItem(loop: Loop, item: Item, batch: unknown): Promise<void> {
  const path = itemPath(loop.path, item.key);
  loop.engine.live.add(path);
  return loop.engine.withUndo(path, (undo) => itemIn(loop, item, batch, undo));
}

async function itemIn(loop: Loop, item: Item, batch: unknown, undo: UndoStack): Promise<void> {
  const { engine, step, frame } = loop;
  const { as = 'item' } = step.forEach;
  const path = itemPath(loop.path, item.key);
  const ownTarget = engine.facts.context.targets.includes(item.key);
  const perItem = ownTarget && frame.ir.flow.lockTargets === 'perItem';
  const inner = innerFrame(
    frame,
    path,
    { [as]: toScopeValue(item.value), index: item.index, batch },
    {
      undo,
      concurrent: frame.concurrent || loop.concurrency > 1 || perItem,
      targets: ownTarget ? [item.key] : frame.targets,
    },
  );
  const work = (fence: string | undefined): Promise<void> =>
    bodyOf(loop, item, fence === undefined ? inner : { ...inner, fence });
  const known = engine.remembered.get(`${path}!`) as ItemEnding | undefined;
  let first: unknown = known === undefined ? undefined : revived(known);
  if (known === undefined) {
    try {
      if (perItem) await atItsTurn(engine, path, item.key, work);
      else await work(undefined);
      return;
    } catch (err) {
      if (err instanceof ContinueLater) throw err;
      first = aborted(loop, path, err) ?? err;
    }
  }
  const cancelled = isCancellation(first);
  const failure = cancelled ? undefined : failureOf(first, engine.where(path, step.id));
  if (!cancelled && failure === undefined) throw first;
  const suppressed = known?.suppressed ?? [];
  const undoes = cancelled || step.forEach.onItemError === 'compensate' || failure?.problem['aborted'] === true;
  try {
    if (undoes) await compensate(engine, inner, undo, suppressed);
  } catch (err) {
    if (err instanceof ContinueLater) {
      const ending: ItemEnding = { ...(failure === undefined ? {} : { failed: failure.problem }), suppressed };
      engine.remembered.set(`${path}!`, ending as unknown as Json);
    }
    throw err;
  }
  if (failure !== undefined) throw new StepFailure(withSuppressed(failure.problem, suppressed));
  setEnd(loop, item, 'cancelled');
  engine.suppressed.push(...suppressed);
  throw first;
}

/** How an item ended that is still being undone. */
interface ItemEnding {
  /** Absent: it was cancelled. */
  failed?: Problem;
  suppressed: Problem[];
}

const revived = ({ failed }: ItemEnding): unknown =>
  failed === undefined ? new CancelledFailure('the run was cancelled') : new StepFailure(failed);

async function bodyOf(loop: Loop, item: Item, inner: Frame): Promise<void> {
  const { engine, step } = loop;
  const { collect } = step.forEach;
  await engine.inScope(inner, () => engine.walker.sequence(step.do, inner));
  const output = collect === undefined ? undefined : engine.render(collect, inner);
  loop.progress.succeeded(item.index, output);
  engine.journal.remove(inner.path);
  setEnd(loop, item, 'succeeded');
}

/** An item that an operator has aborted has failed; the others go on. */
function aborted(loop: Loop, path: string, err: unknown): StepFailure | undefined {
  const { engine, step } = loop;
  const why = engine.steering.abortedBy(path);
  if (why === undefined || !isCancellation(err) || CancellationScope.current().consideredCancelled) return undefined;
  return fail('cancelled', why, { ...engine.where(path, step.id), retryable: false, aborted: true });
}

/** `lockTargets: perItem`: the item's own target is claimed by try when its turn comes and freed when it ends. */
async function atItsTurn(
  engine: Engine,
  path: string,
  target: string,
  work: (fence: string) => Promise<void>,
): Promise<void> {
  let started = false;
  try {
    await underClaims(engine, path, [{ path: target, mode: 'exclusive' }], (fence) => {
      started = true;
      return work(fence);
    });
  } catch (err) {
    if (started || !(err instanceof StepFailure)) throw err;
    throw new StepFailure({ ...problemOf(codeOf(err.problem), err.problem.detail, err.problem), turn: true });
  }
}
