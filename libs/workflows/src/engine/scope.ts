import type { CompiledFlow, Json, JsonObject } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import type { Scope } from '@opsloop/rules';
import { UndoStack } from './undo.js';
import type { Frame, RunFacts, StepView } from './types.js';

/** A null-prototype copy of the top level with more names: values are shared, not copied. */
export function withNames(names: Scope, more: Record<string, unknown>): Scope {
  return Object.assign(Object.create(null) as Record<string, unknown>, names, more);
}

/** `flow.*`; `now` is workflow time, read when it is asked for. */
function flowFacts(ir: CompiledFlow, facts: RunFacts): object {
  const value = Object.assign(Object.create(null) as Record<string, unknown>, {
    name: ir.flow.name,
    version: ir.flow.version,
    runId: facts.context.run,
    startedAt: facts.context.startedAt,
    initiator: toScopeValue(facts.context.initiator as unknown as Json),
  });
  Object.defineProperty(value, 'now', { enumerable: true, get: () => new Date(Date.now()).toISOString() });
  return value;
}

/** Secrets are opaque in a workflow: `${secrets.x}` gives a reference that only the activity's worker resolves. */
function secretRefs(names: readonly string[]): unknown {
  return toScopeValue(Object.fromEntries(names.map((name) => [name, { $secret: name }])));
}

/** The outermost scope of a flow. `vars` is live: `set` is the only place that writes it. */
export function rootFrame(ir: CompiledFlow, facts: RunFacts, vars: Record<string, unknown>): Frame {
  const steps = Object.create(null) as Record<string, StepView>;
  const names = withNames(Object.create(null) as Scope, {
    input: toScopeValue(facts.input),
    vars,
    steps,
    flow: flowFacts(ir, facts),
    config: toScopeValue(facts.config as JsonObject),
    secrets: secretRefs(ir.flow.use?.secrets ?? []),
  });
  return {
    path: '',
    ir,
    names,
    steps,
    phase: 'forward',
    undo: new UndoStack(),
    fence: facts.context.fence,
    targets: facts.context.targets,
    concurrent: false,
  };
}

/** A scope of its own (forEach item, loop turn): sees what is outside, keeps its step ids to itself. */
export function innerFrame(
  outer: Frame,
  path: string,
  names: Record<string, unknown>,
  patch: Partial<Frame> = {},
): Frame {
  const steps = Object.assign(Object.create(null) as Record<string, StepView>, outer.steps);
  return { ...outer, ...patch, path, steps, names: withNames(outer.names, { ...names, steps }) };
}
