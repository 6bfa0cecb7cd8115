/** `isolate`: each batch of a forEach runs in a workflow of its own, with a history and a state of its own. */
import { childWorkflowId } from '@opsloop/contracts';
import type { Json, JsonObject, RunInput, StepRecord } from '@opsloop/contracts';
import { ChildWorkflowCancellationType, ParentClosePolicy, startChild, workflowInfo } from '@temporalio/workflow';
import type { CarriedEach } from '../engine/each.pure.js';
import type { Engine } from '../engine/engine.js';
import { checkSize } from '../engine/size.pure.js';
import { readSteps } from '../engine/reads.pure.js';
import type { Frame, StepView } from '../engine/types.js';

export interface IsolatedItem {
  key: string;
  value: Json;
  index: number;
}

/** All that a batch needs of the flow around it. What it writes to `vars` stays its own. */
export interface IsolatedBatch {
  /** Instance path of the forEach, and of the frame in which it stands. */
  path: string;
  framePath: string;
  names: JsonObject;
  vars: JsonObject;
  steps: Record<string, StepView>;
  items: IsolatedItem[];
  batch: { number: number; count: number; size: number };
  total: number;
  failedBefore: number;
}

export interface BatchResult {
  each: CarriedEach;
  stopped: boolean;
  records: StepRecord[];
}

/** Names that every frame has; what else it has are names of loops. */
const ROOT_NAMES = new Set(['input', 'vars', 'steps', 'flow', 'config', 'secrets']);

/** Starts the batch as a child workflow and waits for its end. */
export async function runIsolated(
  engine: Engine,
  frame: Frame,
  path: string,
  what: Pick<IsolatedBatch, 'items' | 'batch' | 'total' | 'failedBefore'>,
): Promise<BatchResult> {
  const { number, count } = what.batch;
  const at = `${path}[batch:${number}]`;
  const full = engine.fullPath(at);
  const { steering, mark } = engine.forChild();
  const isolated: IsolatedBatch = { path, framePath: frame.path, ...around(frame), ...what };
  checkSize(isolated as unknown as Json, 'the batch', engine.where(at, at));
  const input: RunInput = {
    context: {
      ...engine.facts.context,
      targets: frame.targets,
      ...(frame.fence === undefined ? {} : { fence: frame.fence }),
    },
    ir: frame.ir,
    input: engine.facts.input,
    config: engine.facts.config as RunInput['config'],
    isolated: isolated as unknown as JsonObject,
    ...(engine.facts.continueAfter === undefined ? {} : { continueAfter: engine.facts.continueAfter }),
    ...steering,
  };
  const workflowId = childWorkflowId(workflowInfo().workflowId, at);
  const record = engine.open({ id: `batch:${number}` }, 'forEach', at, `batch ${number} of ${count}`);
  record.workflowId = workflowId;
  const child = await startChild(frame.ir.flow.name, {
    workflowId,
    args: [input],
    staticSummary: `batch ${number} of ${count}`,
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
  const paths = [full, engine.fullPath(path)];
  engine.childBegan(child, mark, paths);
  engine.busy(1);
  record.status = 'failed';
  try {
    const result = (await child.result()) as unknown as BatchResult;
    record.status = 'succeeded';
    for (const inner of result.records) engine.records.set(inner.path, inner);
    return result;
  } finally {
    record.endedAt = engine.now();
    engine.busy(-1);
    engine.childEnded(child, workflowId, paths);
  }
}

/** Loop names, variables and the outputs that the flow reads. */
function around(frame: Frame): Pick<IsolatedBatch, 'names' | 'vars' | 'steps'> {
  const names = Object.fromEntries(Object.entries(frame.names).filter(([name]) => !ROOT_NAMES.has(name)));
  const reads = readSteps(frame.ir);
  const steps = Object.fromEntries(
    Object.entries(frame.steps).map(([id, view]): [string, StepView] => [
      id,
      reads === undefined || reads.has(id) ? view : { ...view, output: null },
    ]),
  );
  return {
    names: names as JsonObject,
    vars: { ...(frame.names['vars'] as JsonObject) },
    steps,
  };
}
