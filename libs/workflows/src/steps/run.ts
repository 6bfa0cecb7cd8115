import { childWorkflowId } from '@opsloop/contracts';
import type { Json, RunInput, RunStep } from '@opsloop/contracts';
import { ChildWorkflowCancellationType, ParentClosePolicy, startChild, workflowInfo } from '@temporalio/workflow';
import { withDefaults } from '../engine/defaults.pure.js';
import type { Engine } from '../engine/engine.js';
import { fail } from '../engine/errors.js';
import { secretPlaces } from '../engine/secrets.pure.js';
import { checkSize } from '../engine/size.pure.js';
import { undoPath } from '../engine/paths.pure.js';
import { withNames } from '../engine/scope.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';

const CLOSE_POLICY = {
  cancel: ParentClosePolicy.REQUEST_CANCEL,
  abandon: ParentClosePolicy.ABANDON,
  terminate: ParentClosePolicy.TERMINATE,
} as const;

/** `run`: a pinned sub-flow as a child workflow; a step of this run, no run of its own. */
export async function runStep(engine: Engine, step: RunStep, frame: Frame, handle: StepHandle): Promise<VerbResult> {
  const ir = frame.ir.flows[step.run];
  if (ir === undefined) throw fail('configuration', `the flow has no pinned sub-flow "${step.run}"`);
  const { name, version } = ir.flow;
  const path = engine.fullPath(handle.path);
  const workflowId = childWorkflowId(workflowInfo().workflowId, handle.path);
  const carried = engine.carriedFlows.get(path);
  handle.record.atom = `${name}@${version}`;
  handle.record.workflowId = workflowId;
  registerUndo(engine, step, frame, handle);
  const { steering, mark } = engine.forChild();
  const input: RunInput = {
    context: {
      ...engine.facts.context,
      flow: name,
      version,
      within: [...(engine.facts.context.within ?? []), engine.facts.context.flow],
      targets: frame.targets,
      ...(frame.fence === undefined ? {} : { fence: frame.fence }),
      parentPath: path,
    },
    ir,
    input: withDefaults(ir.flow.input?.schema, engine.render(step.with ?? {}, frame)),
    config: engine.facts.config as RunInput['config'],
    ...(carried === undefined ? {} : { carried }),
    ...(engine.facts.continueAfter === undefined ? {} : { continueAfter: engine.facts.continueAfter }),
    ...steering,
  };
  checkSize(input.input, 'the input of the sub-flow', engine.where(handle.path, step.id));
  const abandoned = step.detach === true || step.onParentClose === 'abandon';
  const child = await startChild(name, {
    workflowId,
    args: [input],
    staticSummary: (handle.record.title ?? handle.path).slice(0, 100),
    parentClosePolicy: step.detach === true ? ParentClosePolicy.ABANDON : CLOSE_POLICY[step.onParentClose ?? 'cancel'],
    // What is to outlive its parent must not be cancelled with it.
    cancellationType: abandoned
      ? ChildWorkflowCancellationType.ABANDON
      : ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
  if (step.detach === true) return { output: { workflowId } };
  engine.childBegan(child, mark, [path]);
  engine.busy(1);
  try {
    const output = (await child.result()) as Json | undefined;
    return { output: output ?? null };
  } finally {
    engine.busy(-1);
    engine.childEnded(child, workflowId, [path]);
  }
}

/** A sub-flow undoes its own steps when it fails; what undoes it as a whole is only what the step says. */
function registerUndo(engine: Engine, step: RunStep, frame: Frame, handle: StepHandle): void {
  const own = step.compensate;
  if (own === undefined || own === null || frame.phase !== 'forward') return;
  frame.undo.push({
    path: undoPath(handle.path),
    title: `Undo ${step.title ?? step.id}`,
    call: own.call,
    input: () => {
      const result = frame.steps[step.id]?.output ?? null;
      return engine.render(own.with ?? {}, { ...frame, names: withNames(frame.names, { result }) });
    },
    secrets: secretPlaces(own.with ?? {}),
    dropped: false,
  });
}
