/** What a run takes along when it continues as new: the journal of what is done, and the live scopes around the safe point. */
import type { Json, JsonObject, RunEnd, RunInput, StepRecord } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import type { Engine } from './engine.js';
import { fail } from './errors.js';
import { pruneJournal } from './journal.pure.js';
import type { JournalRecord, StepView } from './types.js';
import { UndoStack } from './undo.js';

/** Journal and state above this do not travel: Temporal refuses a payload of 2 MB, and the flow itself needs room. */
const CARRIED_CHARS_MAX = 1_000_000;
/** Step records of the past that a person still sees after the change of runs. */
const CARRIED_RECORDS = 200;

interface CarriedUndo {
  path: string;
  title: string;
  call: string;
  input: Json;
  secrets?: readonly string[];
}

interface Carried {
  v: 1;
  startedMs: number;
  journal: Record<string, JournalRecord>;
  cursors: Record<string, { turn: number; startedAt: number }>;
  remembered: Record<string, Json>;
  vars: JsonObject;
  scopes: Record<string, Record<string, StepView>>;
  undo: Record<string, CarriedUndo[]>;
  records: StepRecord[];
  itemEnds?: Record<string, RunEnd>;
}

/** The input of the next Temporal run of the same run. */
export function carry(engine: Engine, input: RunInput): RunInput {
  const carried: Carried = {
    v: 1,
    startedMs: engine.startedMs,
    journal: Object.fromEntries(pruneJournal(engine.journal)),
    cursors: Object.fromEntries(engine.cursors),
    remembered: Object.fromEntries(engine.remembered),
    vars: { ...(engine.root?.vars as JsonObject) },
    scopes: Object.fromEntries([...engine.liveScopes].map(([path, steps]) => [path, { ...steps }])),
    undo: Object.fromEntries([...engine.liveUndo].map(([path, stack]) => [path, flatten(stack)])),
    records: [...engine.records.values()].slice(-CARRIED_RECORDS),
    ...(engine.itemEnds === undefined ? {} : { itemEnds: Object.fromEntries(engine.itemEnds) }),
  };
  const size = JSON.stringify(carried).length;
  if (size > CARRIED_CHARS_MAX) {
    throw fail('payload-too-large', `the state of the run has grown to ${size} characters and cannot be carried on`);
  }
  return { ...input, carried: carried as unknown as JsonObject };
}

function flatten(stack: UndoStack): CarriedUndo[] {
  return stack.entries.flatMap((entry) => {
    if ('branches' in entry) return entry.branches.flatMap(flatten);
    const { path, title, call, secrets } = entry;
    return entry.dropped
      ? []
      : [{ path, title, call, input: entry.input(), ...(secrets.length === 0 ? {} : { secrets }) }];
  });
}

/** Takes over what the Temporal run before has carried. */
export function restore(engine: Engine, json: JsonObject | undefined): void {
  if (json === undefined) return;
  const carried = json as unknown as Carried;
  engine.startedMs = carried.startedMs;
  for (const [path, record] of Object.entries(carried.journal)) engine.journal.set(path, record);
  for (const [path, cursor] of Object.entries(carried.cursors)) engine.cursors.set(path, cursor);
  for (const [path, value] of Object.entries(carried.remembered)) engine.remembered.set(path, value);
  for (const record of carried.records) engine.records.set(record.path, record);
  for (const [key, end] of Object.entries(carried.itemEnds ?? {})) engine.itemEnds?.set(key, end);
  engine.carriedVars = carried.vars;
  for (const [path, steps] of Object.entries(carried.scopes)) {
    engine.carriedScopes.set(path, toScopeValue(steps as unknown as Json) as Record<string, StepView>);
  }
  for (const [path, entries] of Object.entries(carried.undo)) {
    const stack = new UndoStack();
    for (const { input, secrets = [], ...entry } of entries)
      stack.push({ ...entry, input: () => input, secrets, dropped: false });
    engine.carriedUndo.set(path, stack);
  }
}
