import type {
  CompiledFlow,
  GateContext,
  Json,
  Problem,
  RunContext,
  Step,
  StepRecord,
  StepStatus,
} from '@opsloop/contracts';
import type { Scope } from '@opsloop/rules';
import type { UndoStack } from './undo.js';

/** What `steps.<id>` shows to expressions; frozen when it is stored, never copied afterwards. */
export interface StepView {
  readonly status: StepStatus;
  readonly output: unknown;
  readonly error: unknown;
  readonly attempts: number;
  readonly startedAt: string;
  readonly endedAt: string;
  /** Of a forEach: `{ key, error }` per failed item. */
  readonly failed?: unknown;
}

export type Phase = GateContext['phase'];

/** Where a step stands: its lexical scope and what holds around it. */
export interface Frame {
  /** Instance path inside this workflow; '' at the root. */
  readonly path: string;
  readonly ir: CompiledFlow;
  /** Live top level of the read-only document: `input`, `vars`, `steps`, …, loop names. */
  readonly names: Scope;
  /** The same object as `names.steps`, writable. */
  readonly steps: Record<string, StepView>;
  readonly phase: Phase;
  readonly undo: UndoStack;
  /** Fence of the innermost lock. */
  readonly fence: string | undefined;
  /** Paths that a sub-flow started here changes: the item's own inside a per-target forEach. */
  readonly targets: string[];
  /** Inside a region where other branches run too: no safe point to continue as new. */
  readonly concurrent: boolean;
  /** Inside a `catch` or a `finally`. */
  readonly late?: true;
}

/** A step with a final record returns at once. */
export interface JournalRecord {
  status: StepStatus;
  /** Only where no scope keeps it: `collect` of a forEach item. */
  output?: Json;
  problem?: Problem;
  /** It was `return`: walking here again ends the flow again. */
  returned?: { output: Json };
  /** Done by a `catch` or a `finally`: a retry of the run does it again. */
  late?: true;
  /** Its compensation has run: a retry of the run does it again. */
  undone?: true;
}

export interface Walker {
  /** Runs steps in order; each result lands in `frame.steps`. */
  sequence(steps: readonly Step[], frame: Frame): Promise<void>;
  step(step: Step, frame: Frame): Promise<void>;
}

/** Result of a verb: the output before the step's `output` template, and what else the step's view shows. */
export interface VerbResult {
  output: Json;
  failed?: Json;
}

/** What a verb may need of its step's record. */
export interface StepHandle {
  /** Path of this attempt. */
  readonly path: string;
  readonly record: StepRecord;
}

export interface RunFacts {
  readonly context: RunContext;
  readonly config: unknown;
  readonly input: Json;
  readonly continueAfter?: number | undefined;
  /** This workflow runs one batch of a forEach of another. */
  readonly isolated?: boolean;
}
