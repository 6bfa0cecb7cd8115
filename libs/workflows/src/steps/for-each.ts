import { durationMs } from '@opsloop/contracts';
import type { ForEachStep, Json, Problem, RunEnd } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { CancellationScope, isCancellation } from '@temporalio/workflow';
import { exceeds, splitBatches } from '../engine/batches.pure.js';
import { compensate } from '../engine/compensate.js';
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

/** Items in flight in one run; Temporal refuses more than 2,000 pending activities or children. */
const CONCURRENCY_MAX = 500;
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
  concurrency: number;
  collected: Map<string, Json>;
  failed: Map<string, Problem>;
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
  const batches = splitBatches(
    items.map((item) => item.key),
    spec.batch && { ...spec.batch, plan },
  );
  const loop: Loop = {
    engine,
    step,
    frame,
    path: handle.path,
    total: items.length,
    concurrency: concurrencyOf(engine, step, frame),
    collected: new Map(),
    failed: new Map(),
    stopped: false,
  };
  const byKey = new Map(items.map((item) => [item.key, item]));
  try {
    for (const [at, keys] of batches.entries()) {
      if (at > 0) await betweenBatches(loop, at);
      engine.note(
        handle.path,
        `batch ${at + 1} of ${batches.length}, ${loop.failed.size} of ${items.length} items failed`,
      );
      const batch = toScopeValue({ number: at + 1, count: batches.length, size: keys.length });
      await runBatch(
        loop,
        keys.map((key) => byKey.get(key)!),
        batch,
      );
      if (loop.stopped) throw thresholdFailure(loop);
    }
  } finally {
    engine.note(handle.path, undefined);
  }
  const inOrder = items.filter((item) => loop.collected.has(item.key)).map((item) => loop.collected.get(item.key)!);
  return { output: spec.collect === undefined ? null : inOrder, failed: failedList(loop) };
}

function failedList(loop: Loop): Json {
  return [...loop.failed].map(([key, error]) => ({ key, error: error as unknown as Json }));
}

function thresholdFailure(loop: Loop): StepFailure {
  const [key, cause] = [...loop.failed][0] ?? [];
  return fail('batch-threshold', `${loop.failed.size} of ${loop.total} items failed, the first was ${key}`, {
    ...loop.engine.where(loop.path, loop.step.id),
    failed: [...loop.failed.keys()].slice(0, 100),
    ...(cause === undefined ? {} : { cause }),
  });
}

function itemsOf(engine: Engine, step: ForEachStep, frame: Frame, path: string): Item[] {
  const { as = 'item', key } = step.forEach;
  const list = engine.remember(path, () => engine.render(step.forEach.in, frame));
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
async function betweenBatches(loop: Loop, done: number): Promise<void> {
  const { engine, step, frame } = loop;
  const batch = step.forEach.batch;
  const path = gatePath(loop.path, done);
  // Passed in an earlier Temporal run of this run: what the gate saw then is not carried, and must not be asked again.
  if (engine.journal.has(path)) return;
  if (batch?.pause !== undefined) await engine.wait(durationMs(batch.pause), `pause after batch ${done}`);
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

/** Runs one batch with at most `concurrency` items in flight; busy items go to its end. */
async function runBatch(loop: Loop, items: Item[], batch: unknown): Promise<void> {
  const { engine, frame } = loop;
  const scope = new CancellationScope({ cancellable: true });
  const group = new BranchGroup(scope);
  const queue = items.filter((item) => !isDone(loop, item));
  /** When a busy item may be asked for again; all wait equally long, so the first of the queue is due first. */
  const due = new Map<Item, number>();
  const since = Date.now();
  let leave = false;

  const worker = async (): Promise<void> => {
    while (queue.length > 0 && !loop.stopped && !leave) {
      const current = queue.shift()!;
      const pause = (due.get(current) ?? 0) - Date.now();
      if (pause > 0) {
        const waited = await group.run(() => engine.wait(pause, `${current.key} is busy`));
        // Meanwhile the others may have decided that nothing more starts.
        if (waited.kind !== 'done' || loop.stopped || leave) {
          queue.unshift(current);
          return;
        }
      }
      const end = await group.run(() => oneItem(loop, current, batch));
      if (end.kind === 'cancelled') return;
      if (end.kind === 'failed') {
        const busy = codeOf(end.failure.problem) === 'lock-conflict' && end.failure.problem['turn'] === true;
        if (busy && Date.now() - since < BUSY_TOTAL_MS) {
          due.set(current, Date.now() + BUSY_RETRY_MS);
          queue.push(current);
          continue;
        }
        noteFailure(loop, current, end.failure.problem);
      }
      // Safe point: nothing new starts, what runs ends, and the rest goes on in a new Temporal run.
      if (!frame.concurrent && frame.phase === 'forward' && engine.shouldContinueAsNew()) leave = true;
    }
  };
  const workers = Math.min(loop.concurrency, queue.length);
  await scope.run(async () => {
    await Promise.all(Array.from({ length: workers }, worker));
  });
  group.rethrow();
  if (leave && queue.length > 0 && !loop.stopped) throw new ContinueLater();
}

/** Takes over what an earlier Temporal run of this run has already done with the item. */
function isDone(loop: Loop, item: Item): boolean {
  const record = loop.engine.journal.get(itemPath(loop.path, item.key));
  if (record === undefined) return false;
  if (record.status === 'failed' && record.problem !== undefined) noteFailure(loop, item, record.problem);
  else if (record.output !== undefined) loop.collected.set(item.key, record.output);
  return true;
}

function noteFailure(loop: Loop, item: Item, problem: Problem): void {
  const { tolerate, onItemError } = loop.step.forEach;
  loop.failed.set(item.key, problem);
  loop.engine.journal.set(itemPath(loop.path, item.key), { status: 'failed', problem });
  setEnd(loop, item, 'failed');
  if (onItemError === 'stop' || exceeds(tolerate, loop.failed.size, loop.total)) loop.stopped = true;
}

function setEnd(loop: Loop, item: Item, end: RunEnd): void {
  // Only the outermost forEach of the per-target flow speaks for targets.
  if (loop.frame.path === '') loop.engine.itemEnds?.set(item.key, end);
}

/** One item in a scope of its own; what it did is final once it has ended well. */
function oneItem(loop: Loop, item: Item, batch: unknown): Promise<void> {
  const concurrent = loop.frame.concurrent || loop.concurrency > 1;
  const path = itemPath(loop.path, item.key);
  return loop.engine.withUndo({ ...loop.frame, concurrent }, path, (undo) => itemIn(loop, item, batch, undo));
}

async function itemIn(loop: Loop, item: Item, batch: unknown, undo: UndoStack): Promise<void> {
  const { engine, step, frame } = loop;
  const { as = 'item', collect, onItemError } = step.forEach;
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
  const work = async (fence: string | undefined): Promise<void> => {
    await engine.inScope(inner, () =>
      engine.walker.sequence(step.do, fence === undefined ? inner : { ...inner, fence }),
    );
    const output = collect === undefined ? undefined : engine.render(collect, inner);
    if (output !== undefined) loop.collected.set(item.key, output);
    engine.journal.set(path, { status: 'succeeded', ...(output === undefined ? {} : { output }) });
    setEnd(loop, item, 'succeeded');
  };
  try {
    if (perItem) await atItsTurn(engine, path, item.key, work);
    else await work(undefined);
  } catch (err) {
    if (isCancellation(err)) {
      setEnd(loop, item, 'cancelled');
      engine.suppressed.push(...(await compensate(engine, inner, undo)));
      throw err;
    }
    const failure = failureOf(err, engine.where(path, step.id));
    if (failure === undefined) throw err;
    const suppressed = onItemError === 'compensate' ? await compensate(engine, inner, undo) : [];
    throw new StepFailure(withSuppressed(failure.problem, suppressed));
  }
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
