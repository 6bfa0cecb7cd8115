/** One flow from its first step to its end: body, catch, compensation, finally, output. */
import { durationMs } from '@opsloop/contracts';
import type { CompiledFlow, Json } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { timeoutProblem } from './engine.js';
import type { Engine } from './engine.js';
import { FlowReturn } from './errors.js';
import { runGuarded } from './guarded.js';
import { rootFrame } from './scope.js';
import { checkSize } from './size.pure.js';
import { scaledFlow } from './time-scale.pure.js';
import type { Frame } from './types.js';

/** Runs the flow and gives its output; throws StepFailure, or the cancellation. */
export async function runFlow(engine: Engine, given: CompiledFlow): Promise<Json> {
  const ir = scaledFlow(given, engine.facts.context);
  const vars = Object.create(null) as Record<string, unknown>;
  const root = rootFrame(ir, engine.facts, vars);
  return engine.withUndo('', (undo) => {
    const frame = { ...root, undo };
    return engine.inScope(frame, () => flowIn(engine, frame, vars));
  });
}

async function flowIn(engine: Engine, frame: Frame, vars: Record<string, unknown>): Promise<Json> {
  const { flow } = frame.ir;
  for (const [name, value] of Object.entries(engine.carriedVars ?? flow.vars ?? {})) {
    vars[name] = toScopeValue(engine.carriedVars === undefined ? engine.render(value, frame) : (value as Json));
  }
  engine.root = { vars };
  try {
    await runGuarded(engine, frame, {
      path: '',
      id: flow.name,
      body: (inner) => withFlowTimeout(engine, flow.timeout, inner, () => engine.walker.sequence(flow.do, inner)),
      catches: flow.catch,
      finally: flow.finally,
    });
  } catch (err) {
    if (err instanceof FlowReturn) return sized(engine, frame, err.output);
    throw err;
  }
  return flow.output === undefined ? null : sized(engine, frame, engine.render(flow.output, frame));
}

function sized(engine: Engine, frame: Frame, output: Json): Json {
  checkSize(output, 'the output of the flow', engine.where(frame.path, frame.ir.flow.name));
  return output;
}

function withFlowTimeout(
  engine: Engine,
  timeout: string | undefined,
  frame: Frame,
  work: () => Promise<void>,
): Promise<void> {
  if (timeout === undefined) return work();
  const left = Math.max(1, engine.startedMs + durationMs(timeout) + engine.stoodStillMs - Date.now());
  return engine.withDeadline(
    left,
    () => timeoutProblem(`the flow took longer than ${timeout}`, engine.where(frame.path, frame.ir.flow.name)),
    work,
  );
}
