/** The other end of `isolate`: a workflow that runs one batch of a forEach and gives its results to the flow around it. */
import type { CompiledFlow, ForEachStep, Json, JsonObject } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import type { Engine } from '../engine/engine.js';
import { fail } from '../engine/errors.js';
import { findStep } from '../engine/find-step.pure.js';
import { listRecords } from '../engine/records.pure.js';
import { rootFrame, withNames } from '../engine/scope.js';
import type { Frame, StepView } from '../engine/types.js';
import { runBatchOf } from './for-each.js';
import type { BatchResult, IsolatedBatch } from './isolate.js';

/** Steps of a batch that its parent shows; the others stand in the batch's own workflow. */
const RECORDS = 100;

export async function runBatchFlow(engine: Engine, ir: CompiledFlow, json: JsonObject): Promise<Json> {
  const isolated = json as unknown as IsolatedBatch;
  const step = findStep(ir, isolated.path);
  if (step === undefined || !('forEach' in step))
    throw fail('configuration', `the flow has no forEach at "${isolated.path}"`);
  const frame = frameOf(engine, ir, isolated);
  engine.root = { vars: frame.names['vars'] as Record<string, unknown> };
  const { progress, stopped } = await engine.inScope(frame, () =>
    runBatchOf(engine, step as ForEachStep, frame, isolated),
  );
  const result: BatchResult = {
    each: progress.toJson(),
    stopped,
    records: listRecords(engine.records.values(), RECORDS, 0),
  };
  return result as unknown as Json;
}

/** The frame around the forEach, as it was when the batch began. */
function frameOf(engine: Engine, ir: CompiledFlow, isolated: IsolatedBatch): Frame {
  const vars = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of Object.entries(engine.carriedVars ?? isolated.vars))
    vars[name] = toScopeValue(value as Json);
  const root = rootFrame(ir, engine.facts, vars);
  Object.assign(root.steps, toScopeValue(isolated.steps as unknown as Json) as Record<string, StepView>);
  const names: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(isolated.names)) names[name] = toScopeValue(value as Json);
  return { ...root, path: isolated.framePath, names: withNames(root.names, names) };
}
