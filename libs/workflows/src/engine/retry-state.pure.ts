/** What a retry of a closed run starts with: the state of the old run minus what is to be executed again. */
import { OpsError, itemSegment } from '@opsloop/contracts';
import type { CompiledFlow, JsonObject, Step, StepRecord } from '@opsloop/contracts';
import type { Carried } from './carry.js';
import { findStep, idsOf, listsOf, stepsIn } from './find-step.pure.js';
import { parentPath } from './journal.js';

export interface RetryRequest {
  /** `failed`, or the instance path of the first step that is executed again. */
  from: string;
  /** Only these items of the forEach, by key. */
  items?: string[];
}

/** What is remembered of a wait, a deadline, a lock, a doubt or a clean-up that is over. */
const PASSING = /(@(due|catch|end|fence|judge)|!)$/;

/** `carried` as a run keeps it when it ends; throws OpsError for what cannot be done. */
export function retryState(ir: CompiledFlow, state: JsonObject, request: RetryRequest): JsonObject {
  const old = state as unknown as Carried;
  // From a step on, nothing of what stands at or below it is kept; after a failure, what led to it is.
  const whole = request.from === 'failed' ? new Set<string>() : fromPaths(ir, old, request.from);
  const again = new Set([...whole, ...failedPaths(old)]);
  const each = itemsAgain(old, request, again, whole);
  for (const path of Object.keys(each)) again.add(path);
  // A block around what is executed again is not done either.
  const open = new Set<string>();
  for (const path of again) for (let at = parentPath(path); at !== ''; at = parentPath(at)) open.add(at);
  const gone = (path: string): boolean => isWithin(path, whole);
  const journal = entriesOf(old.journal).filter(
    ([path, record]) =>
      !gone(path) &&
      !again.has(path) &&
      !open.has(path) &&
      record.late !== true &&
      record.undone !== true &&
      record.status !== 'failed',
  );
  const keeps = <T>(map: Record<string, T> | undefined): Record<string, T> =>
    Object.fromEntries(entriesOf(map ?? {}).filter(([path]) => !gone(path.replace(/~$/, ''))));
  const next: Carried = {
    v: 1,
    journal: Object.fromEntries(journal),
    cursors: keeps(old.cursors),
    remembered: Object.fromEntries(entriesOf(keeps(old.remembered)).filter(([slot]) => !PASSING.test(slot))),
    vars: old.vars,
    scopes: keeps(old.scopes),
    undo: keeps(old.undo),
    each,
    live: [...open].filter((path) => !gone(path)),
    records: old.records
      .filter((r) => isReused(r, new Set(journal.map(([path]) => path))))
      .map((r) => ({ ...r, reused: true as const })),
  };
  return next as unknown as JsonObject;
}

const entriesOf = <T>(map: Record<string, T>): [string, T][] => Object.entries(map);

function isReused(record: StepRecord, done: ReadonlySet<string>): boolean {
  if (record.status !== 'succeeded' && record.status !== 'skipped') return false;
  for (let at = record.path; at !== ''; at = parentPath(at)) if (done.has(at)) return true;
  return false;
}

function isWithin(path: string, roots: ReadonlySet<string>): boolean {
  for (let at = path; at !== ''; at = parentPath(at)) if (roots.has(at)) return true;
  return false;
}

/** Steps that failed, were undone, or belong to the handling of the failure. */
function failedPaths(old: Carried): Set<string> {
  const paths = entriesOf(old.journal)
    .filter(([, record]) => record.status === 'failed' || record.undone === true || record.late === true)
    .map(([path]) => path);
  // What a cancel or a termination found under way.
  const cut = old.records
    .filter((r) => r.endedAt === undefined || r.status === 'cancelled')
    .map((r) => r.path)
    .filter((path) => !path.endsWith('~undo'));
  return new Set([...paths, ...cut]);
}

/** The step and everything after it in the order of the document; beside it, in a `parallel`, only what needs it. */
function fromPaths(ir: CompiledFlow, old: Carried, from: string): Set<string> {
  if (findStep(ir, from) === undefined)
    throw new OpsError('validation', `The flow has no step at "${from.slice(0, 200)}"`, {
      errors: [{ pointer: '/from', message: 'names no step of the flow' }],
    });
  const again = new Set<string>();
  let lists = listsOf(ir);
  let prefix = '';
  for (const [n, id] of idsOf(from).entries()) {
    const list = lists.find(({ steps }) => steps.some((s) => s.id === id))!;
    const step = list.steps.find((s) => s.id === id)!;
    for (const later of after(list.steps, id)) again.add(prefix === '' ? later : `${prefix}/${later}`);
    prefix = from
      .split('/')
      .slice(0, n + 1)
      .join('/');
    if ('run' in step && prefix !== from)
      throw new OpsError('validation', `"${from}" lies in a sub-flow, which runs again as a whole`, {
        errors: [{ pointer: '/from', message: `use "${prefix}"` }],
      });
    lists = stepsIn(step, list.ir);
  }
  again.add(from);
  const reached = [...Object.keys(old.journal), ...old.records.map((r) => r.path)];
  if (
    !reached.some(
      (path) =>
        path === from || path.startsWith(`${from}/`) || path.startsWith(`${from}[`) || path.startsWith(`${from}~`),
    )
  )
    throw new OpsError('validation', `The step "${from}" was never reached`, {
      errors: [{ pointer: '/from', message: 'was never reached: use "failed"' }],
    });
  return again;
}

function after(steps: readonly Step[], id: string): string[] {
  const at = steps.findIndex((s) => s.id === id);
  if (!steps.some((s) => s.needs !== undefined)) {
    return steps.slice(at + 1).map((s) => s.id);
  }
  const later = new Set([id]);
  for (let grown = true; grown;) {
    grown = false;
    for (const step of steps) {
      if (later.has(step.id) || step.needs?.some((need) => later.has(need)) !== true) continue;
      later.add(step.id);
      grown = true;
    }
  }
  later.delete(id);
  return [...later];
}

/** Which items of which forEach run again. */
function itemsAgain(
  old: Carried,
  { from, items }: RetryRequest,
  again: ReadonlySet<string>,
  whole: ReadonlySet<string>,
): NonNullable<Carried['each']> {
  const out: NonNullable<Carried['each']> = {};
  const wanted = items?.map(itemSegment);
  let known = false;
  for (const [path, each] of entriesOf(old.each ?? {})) {
    // It runs again as a whole.
    if (isWithin(path, whole) && (wanted === undefined || path !== from)) continue;
    const failed = each.failed.map(([key]) => itemSegment(key));
    const named = [...again]
      .filter((p) => p.startsWith(`${path}[`))
      .map((p) => /^\[([^\]]*)\]/.exec(p.slice(path.length))![1]!);
    if (wanted !== undefined && (from === 'failed' || from === path)) {
      known = true;
      out[path] = { ...each, again: wanted, only: wanted };
    } else {
      out[path] = { ...each, again: [...new Set([...failed, ...named])] };
    }
  }
  if (wanted !== undefined && !known)
    throw new OpsError('validation', 'The run has no forEach with items to run again', {
      errors: [{ pointer: '/items', message: 'no forEach of the run failed' }],
    });
  return out;
}
