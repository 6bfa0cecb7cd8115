/** What a run takes along when it continues as new: the journal of what is done, and what is live around the places it left. */
import type { Json, JsonObject, Problem, RunEnd, RunInput, StepRecord } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import type { OpenApproval } from './approvals.js';
import type { CarriedEach } from './each.pure.js';
import { EachProgress } from './each.pure.js';
import type { Engine } from './engine.js';
import { StepFailure, fail } from './errors.js';
import { failureOf } from './failures.js';
import type { CarriedInbox } from './inbox.js';
import { parentPath } from './journal.js';
import { readSteps } from './reads.pure.js';
import { listRecords } from './records.pure.js';
import type { Cursor } from './state.js';
import type { CarriedSteering } from './steering.js';
import type { JournalRecord, StepView } from './types.js';
import { UndoStack, branchOf } from './undo.js';
import type { UndoEntry, UndoGroup } from './undo.js';

/** Temporal refuses a payload of 2 MB (2,097,152 bytes); the rest is for the envelope around it. */
const INPUT_BYTES_MAX = 1_900_000;
/** Step records of the past that a person still sees after the change of runs, and what their outputs may take. */
const CARRIED_RECORDS = 200;
const CARRIED_OUTPUT_BYTES = 64_000;

interface CarriedEntry {
  path: string;
  title: string;
  call: string;
  input?: Json;
  /** The input could not be rendered: the compensation fails with this when its turn comes. */
  problem?: Problem;
  secrets?: readonly string[];
}
interface CarriedGroup {
  path: string;
  branches: [id: string, entries: CarriedUndo[]][];
}
type CarriedUndo = CarriedEntry | CarriedGroup;

/** State of a run. `v: 1` of earlier versions lacks what is optional here. */
export interface Carried {
  v: 1;
  /** Absent in what a retry starts with: its time begins anew. */
  startedMs?: number;
  stoodStillMs?: number;
  /** The run was asked to end: what is left of it is clean-up. */
  cancelled?: true;
  suppressed?: Problem[];
  journal: Record<string, JournalRecord>;
  cursors: Record<string, Cursor>;
  remembered: Record<string, Json>;
  vars: JsonObject;
  scopes: Record<string, Record<string, StepView>>;
  undo: Record<string, CarriedUndo[]>;
  records: StepRecord[];
  each?: Record<string, CarriedEach>;
  /** Blocks, turns and items that had begun. */
  live?: string[];
  steering?: CarriedSteering;
  itemEnds?: Record<string, RunEnd>;
  /** Of a retry: what each sub-flow starts with, by full path. */
  flows?: Record<string, JsonObject>;
  inbox?: CarriedInbox;
  approvals?: Record<string, OpenApproval>;
}

/** The input of the next Temporal run of the same run. */
export function carry(engine: Engine, input: RunInput, cancelled: boolean): RunInput {
  const carried: Carried = {
    ...stateOf(engine),
    startedMs: engine.startedMs,
    stoodStillMs: engine.stoodStillMs,
    ...(cancelled ? { cancelled: true as const } : {}),
    ...(engine.suppressed.length === 0 ? {} : { suppressed: engine.suppressed }),
    ...given('flows', engine.carriedFlows.size === 0 ? undefined : Object.fromEntries(engine.carriedFlows)),
    ...given('inbox', engine.inbox.carry()),
    ...given('approvals', engine.approvals.carry()),
  };
  const next: RunInput = { ...input, carried: carried as unknown as JsonObject };
  const size = bytesOf(next);
  if (size > INPUT_BYTES_MAX) {
    throw fail(
      'payload-too-large',
      `the state of the run has grown to ${size} bytes and cannot be carried on: collect less, keep less in vars, or set "isolate"`,
    );
  }
  return next;
}

/** What is done and what is live; also what a retry of the run starts from. */
export function stateOf(engine: Engine): Carried {
  return {
    v: 1,
    journal: Object.fromEntries(engine.journal.entries()),
    cursors: Object.fromEntries(engine.cursors),
    remembered: Object.fromEntries(engine.remembered),
    vars: { ...(engine.root?.vars as JsonObject) },
    scopes: scopesOf(engine),
    undo: Object.fromEntries([...engine.liveUndo].map(([path, stack]) => [path, flatten(engine, stack)])),
    records: listRecords(engine.records.values(), CARRIED_RECORDS, CARRIED_OUTPUT_BYTES),
    ...given('each', engine.each.size === 0 ? undefined : mapOf(engine.each, (each) => each.toJson())),
    ...given('live', engine.live.size === 0 ? undefined : [...engine.live]),
    ...given('steering', engine.steering.carry()),
  };
}

export function bytesOf(value: unknown): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

const given = <K extends string, T>(name: K, value: T | undefined): { [P in K]?: T } =>
  (value === undefined ? {} : { [name]: value }) as { [P in K]?: T };

function mapOf<T, U>(map: ReadonlyMap<string, T>, of: (value: T) => U): Record<string, U> {
  return Object.fromEntries([...map].map(([key, value]) => [key, of(value)]));
}

/** Every live scope without what it has from the scope around it, and without outputs that nobody reads. */
function scopesOf(engine: Engine): Carried['scopes'] {
  const reads = engine.steering.ir === undefined ? undefined : readSteps(engine.steering.ir);
  const out: Carried['scopes'] = {};
  for (const [path, steps] of engine.liveScopes) {
    const outer = path === '' ? undefined : outerScope(engine, path);
    const own: Record<string, StepView> = {};
    for (const [id, view] of Object.entries(steps)) {
      if (outer?.[id] === view) continue;
      own[id] = reads === undefined || reads.has(id) ? view : withoutOutput(view);
    }
    out[path] = own;
  }
  return out;
}

function outerScope(engine: Engine, path: string): Record<string, StepView> | undefined {
  for (let at = parentPath(path); ; at = parentPath(at)) {
    const scope = engine.liveScopes.get(at);
    if (scope !== undefined || at === '') return scope;
  }
}

function withoutOutput({ output: _output, ...view }: StepView): StepView {
  return { ...view, output: null };
}

function flatten(engine: Engine, stack: UndoStack): CarriedUndo[] {
  return stack.entries.flatMap((entry): CarriedUndo[] => {
    if ('branches' in entry) {
      const branches = [...entry.branches].map(([id, branch]): CarriedGroup['branches'][number] => [
        id,
        flatten(engine, branch),
      ]);
      return [{ path: entry.path, branches }];
    }
    const { path, title, call, secrets } = entry;
    if (entry.dropped) return [];
    return [{ path, title, call, ...inputOf(engine, entry), ...(secrets.length === 0 ? {} : { secrets }) }];
  });
}

/** Rendered now, while the scope is there; a failure to do so must not stop the run, only this compensation. */
function inputOf(engine: Engine, entry: UndoEntry): Pick<CarriedEntry, 'input' | 'problem'> {
  try {
    return { input: entry.input() };
  } catch (err) {
    const failure = failureOf(err, engine.where(entry.path, entry.path));
    if (failure === undefined) throw err;
    return { problem: failure.problem };
  }
}

function unflatten(entries: readonly CarriedUndo[]): UndoStack {
  return new UndoStack().restore(
    entries.map((entry): UndoEntry | UndoGroup => {
      if (!('branches' in entry)) {
        const { input, problem, secrets = [], ...rest } = entry;
        const give = (): Json => {
          if (problem !== undefined) throw new StepFailure(problem);
          return input ?? null;
        };
        return { ...rest, input: give, secrets, dropped: false };
      }
      const group: UndoGroup = { path: entry.path, branches: new Map() };
      for (const [id, inner] of entry.branches) {
        const branch = branchOf(group, id);
        branch.restore(unflatten(inner).entries);
      }
      return group;
    }),
  );
}

/** Questions to people, known before the handlers are: an answer may come with the first task, and is judged at once. */
export function restoreAsked(engine: Engine, json: JsonObject | undefined): void {
  engine.approvals.restore((json as unknown as Carried | undefined)?.approvals);
}

/** Takes over what the Temporal run before has carried, or the run of which this is a retry. */
export function restore(engine: Engine, json: JsonObject | undefined): void {
  if (json === undefined) return;
  const carried = json as unknown as Carried;
  engine.startedMs = carried.startedMs ?? engine.startedMs;
  engine.stoodStillMs = carried.stoodStillMs ?? 0;
  engine.cancelled = carried.cancelled === true;
  engine.suppressed.push(...(carried.suppressed ?? []));
  for (const [path, record] of Object.entries(carried.journal)) engine.journal.set(path, record);
  for (const [path, cursor] of Object.entries(carried.cursors)) engine.cursors.set(path, cursor);
  for (const [path, value] of Object.entries(carried.remembered)) engine.remembered.set(path, value);
  for (const record of carried.records) engine.records.set(record.path, record);
  for (const [path, each] of Object.entries(carried.each ?? {})) engine.each.set(path, EachProgress.fromJson(each));
  for (const path of carried.live ?? []) {
    engine.resumed.add(path);
    engine.live.add(path);
  }
  for (const [key, end] of Object.entries(carried.itemEnds ?? {})) engine.itemEnds?.set(key, end);
  for (const [path, state] of Object.entries(carried.flows ?? {})) engine.carriedFlows.set(path, state);
  engine.steering.restore(carried.steering);
  engine.steering.restoreDoubts();
  engine.inbox.restore(carried.inbox);
  engine.carriedVars = carried.vars;
  for (const [path, steps] of Object.entries(carried.scopes)) {
    engine.carriedScopes.set(path, toScopeValue(steps as unknown as Json) as Record<string, StepView>);
  }
  for (const [path, entries] of Object.entries(carried.undo)) engine.carriedUndo.set(path, unflatten(entries));
}
