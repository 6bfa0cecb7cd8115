/** The expanded tree of a plan, and what can be counted on the way. */
import {
  OpsError,
  type AtomDocument,
  type CompiledFlow,
  type Effect,
  type ForEachSpec,
  type Json,
  type JsonObject,
  type PinnedAtom,
  type PlanApproval,
  type PlanBatch,
  type PlanStep,
  type Step,
} from '@opsloop/contracts';
import { evaluateCondition, logicReads, printLogic, renderTemplate, toScopeValue, type Scope } from '@opsloop/rules';
import { secretsOf } from '../checks.js';
import { planBatches } from '../plan-batches.js';
import { validateInput } from '../user-schema.js';
import { Estimator, itemsBySchema, type Estimate } from '../verify/estimate.js';
import { analyseFlow, type Node } from '../verify/model.js';
import { scopeOf } from './plan-scope.js';

export interface PlanTree {
  steps: PlanStep[];
  effects: Record<Effect, number>;
  changes: number | undefined;
  inFlight: number | undefined;
  items: number | undefined;
  batches: PlanBatch[];
  approvals: PlanApproval[];
  secrets: Set<string>;
  local: string[];
  estimate: Estimate;
}

/** Sub-flows below sub-flows that are drawn; the compiler refuses recursion, this only bounds the answer. */
const NESTING_MAX = 16;
/** Items of a batch that are named; the rest is a number. */
const NAMED_MAX = 20;

interface Walk {
  compiled: CompiledFlow;
  /** Absent where only the run knows. */
  scope: Scope | undefined;
  prefix: string;
  depth: number;
  /** How often it is repeated. */
  times: number | undefined;
  /** Targets in flight around it. */
  width: number | undefined;
  into: PlanTree;
  estimates: Estimator;
  sizes: Map<Node, number>;
}

/** A pinned atom has what a plan needs of a manifest. */
function manifestOf(atom: PinnedAtom): AtomDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'atom',
    ...{ name: atom.name, version: atom.version, effect: atom.effect, idempotency: atom.idempotency },
    ...(atom.timeout === undefined ? {} : { timeout: atom.timeout }),
    ...(atom.retry === undefined ? {} : { retry: atom.retry }),
    ...(atom.compensate === undefined ? {} : { compensate: atom.compensate }),
    ...(atom.execution === 'local' ? { execution: 'local' as const } : {}),
  };
}

export function planTree(compiled: CompiledFlow, scope: Scope | undefined): PlanTree {
  const into: PlanTree = {
    ...{ steps: [], effects: { read: 0, mutate: 0, destroy: 0 }, changes: 0, inFlight: 0, items: 0 },
    ...{ batches: [], approvals: [], secrets: new Set<string>(), local: [] },
    estimate: { events: 0, leastMs: 0, mostMs: 0, pending: 0 },
  };
  const { steps, estimate } = flowIn(compiled, scope, { prefix: '', depth: 0, times: 1, width: 1, into });
  return { ...into, steps, estimate };
}

function flowIn(
  compiled: CompiledFlow,
  scope: Scope | undefined,
  at: Pick<Walk, 'prefix' | 'depth' | 'times' | 'width' | 'into'>,
): { steps: PlanStep[]; estimate: Estimate } {
  const { flow } = compiled;
  const model = analyseFlow(flow, {
    atom: (ref) => (compiled.atoms[ref] === undefined ? undefined : manifestOf(compiled.atoms[ref])),
    flow: (ref) => compiled.flows[ref]?.flow,
  });
  const sizes = new Map<Node, number>();
  const below = new Map<Node, Estimate>();
  const bySchema = itemsBySchema({ flow });
  const estimates = new Estimator(
    flow,
    (node) => sizes.get(node) ?? bySchema(node),
    (node) => below.get(node),
  );
  const walk: Walk = { compiled, scope, estimates, sizes, ...at };
  const steps = model.root.children.map((node) => planStep(node, walk, below));
  const root = estimates.of(model.root);
  const last = estimates.list(model.root, 'finally');
  return {
    steps,
    estimate: {
      ...root,
      events: root.events + last.reduce((sum, one) => sum + one.events, 0),
      mostMs: last.reduce<number | undefined>(
        (sum, one) => (sum === undefined || one.mostMs === undefined ? undefined : sum + one.mostMs),
        root.mostMs,
      ),
    },
  };
}

function planStep(node: Node, walk: Walk, below: Map<Node, Estimate>): PlanStep {
  const step = node.step!;
  const path = `${walk.prefix}${step.id}`;
  const skipped = walk.scope !== undefined && surelyFalse(step, walk.scope);
  const base: PlanStep = {
    id: step.id,
    path,
    verb: node.verb!,
    ...(step.title === undefined ? {} : { title: step.title }),
    ...(step.if === undefined ? {} : { if: typeof step.if === 'string' ? step.if : printLogic(step.if) }),
    ...(skipped ? { skipped: true as const } : {}),
  };
  const inside: Walk = skipped ? { ...walk, times: 0 } : walk;
  if ('call' in step) return { ...base, ...callIn(node, inside, path) };
  if ('run' in step) return { ...base, ...subFlowIn(node, inside, path, below) };
  if ('approval' in step && !skipped) inside.into.approvals.push(approvalOf(step, path, base.if));
  const repeated = repetition(node, inside, path);
  const next: Walk = { ...inside, ...repeated.walk, prefix: `${path}/` };
  const steps = node.children.map((child) => planStep(child, next, below));
  return { ...base, ...repeated.shown, ...(steps.length === 0 ? {} : { steps }) };
}

/** True when the condition reads only what is known before the start, and is false. */
function surelyFalse(step: Step, scope: Scope): boolean {
  if (step.if === undefined || typeof step.if === 'string') return false;
  const names = logicReads(step.if).filter((read) => !read.inItem);
  const vars = scope['vars'] as Record<string, unknown>;
  const early = names.every(
    ({ segments: [name, member] }) =>
      name === 'input' || name === 'config' || (name === 'vars' && member !== undefined && Object.hasOwn(vars, member)),
  );
  if (!early || names.length === 0 || JSON.stringify(step.if).includes('"now"')) return false;
  try {
    return !evaluateCondition(step.if, scope);
  } catch (error) {
    if (error instanceof OpsError) return false;
    throw error;
  }
}

function callIn(node: Node, walk: Walk, path: string): Partial<PlanStep> {
  const step = node.step!;
  if (!('call' in step)) return {};
  const { into } = walk;
  for (const name of secretsOf(step.with)) into.secrets.add(name);
  const atom = walk.compiled.atoms[step.call];
  if (atom === undefined) return { ref: step.call };
  into.effects[atom.effect] += 1;
  if (atom.effect !== 'read') {
    into.changes = into.changes === undefined || walk.times === undefined ? undefined : into.changes + walk.times;
    if (walk.times !== 0)
      into.inFlight =
        into.inFlight === undefined || walk.width === undefined ? undefined : Math.max(into.inFlight, walk.width);
  }
  const local = (step.execution ?? atom.execution) === 'local';
  if (local) into.local.push(path);
  const undo = step.compensate === undefined ? atom.compensate : step.compensate;
  return {
    ref: step.call,
    pinned: `${atom.name}@${atom.version}`,
    effect: atom.effect,
    ...(local ? { execution: 'local' as const } : {}),
    ...(undo === null || undo === undefined ? {} : { undo: undo.call }),
  };
}

function subFlowIn(node: Node, walk: Walk, path: string, below: Map<Node, Estimate>): Partial<PlanStep> {
  const step = node.step!;
  if (!('run' in step)) return {};
  const sub = walk.compiled.flows[step.run];
  if (sub === undefined || walk.depth >= NESTING_MAX) return { ref: step.run };
  const { steps, estimate } = flowIn(sub, subScope(sub, step.with, walk.scope), {
    ...{ prefix: `${path}/`, depth: walk.depth + 1, times: walk.times, width: walk.width, into: walk.into },
  });
  below.set(node, estimate);
  return { ref: step.run, pinned: `${sub.flow.name}@${sub.flow.version}`, steps };
}

/** Scope of a sub-flow, when its whole input is known before the start. */
function subScope(sub: CompiledFlow, input: Json | undefined, scope: Scope | undefined): Scope | undefined {
  if (scope === undefined) return undefined;
  try {
    const { errors, value } = validateInput(sub.flow.input?.schema ?? {}, renderTemplate(input ?? {}, scope));
    if (errors.length > 0) return undefined;
    return { ...scopeOf(sub, value, {}), config: scope['config'] };
  } catch (error) {
    if (error instanceof OpsError) return undefined;
    throw error;
  }
}

function approvalOf(step: Step, path: string, condition: string | undefined): PlanApproval {
  const spec = ('approval' in step ? step.approval : {}) as unknown as JsonObject;
  const approvers = (spec['approvers'] ?? {}) as { users?: string[]; groups?: string[]; min?: number };
  return {
    step: path,
    title: String(spec['title'] ?? step.title ?? step.id),
    approvers: [...(approvers.groups ?? []).map((name) => `group ${name}`), ...(approvers.users ?? [])],
    min: approvers.min ?? 1,
    ...(typeof spec['timeout'] === 'string' ? { timeout: spec['timeout'] } : {}),
    ...(condition === undefined ? {} : { if: condition }),
  };
}

interface Repetition {
  walk: Partial<Walk>;
  shown: Partial<PlanStep>;
}

const multiply = (a: number | undefined, b: number | undefined): number | undefined =>
  a === 0 || b === 0 ? 0 : a === undefined || b === undefined ? undefined : a * b;

function repetition(node: Node, walk: Walk, path: string): Repetition {
  const step = node.step!;
  if ('forEach' in step) return forEachIn(node, step.forEach, walk, path);
  if ('loop' in step) return { walk: { times: multiply(walk.times, step.loop.max.iterations) }, shown: {} };
  if ('reconcile' in step) return { walk: { times: multiply(walk.times, undefined) }, shown: {} };
  return { walk: {}, shown: {} };
}

function forEachIn(node: Node, spec: ForEachSpec, walk: Walk, path: string): Repetition {
  const unknown = 'known at run time' as const;
  const seen = walk.scope === undefined ? undefined : (itemsOf(spec, walk.scope) ?? givenBatches(spec, walk.scope));
  const width = concurrencyIn(spec, walk.scope);
  if (seen === undefined) {
    if (changes(node, walk)) walk.into.items = undefined;
    return {
      walk: { scope: undefined, times: multiply(walk.times, undefined), width: multiply(walk.width, width) },
      shown: { items: unknown, ...(width === undefined || width === 1 ? {} : { concurrency: width }) },
    };
  }
  walk.sizes.set(node, seen.keys.length);
  const total = multiply(walk.times, seen.keys.length);
  if (changes(node, walk))
    walk.into.items = walk.into.items === undefined || total === undefined ? undefined : walk.into.items + total;
  if (walk.times !== 0)
    walk.into.batches.push(
      ...seen.batches.map((items, i) => ({
        ...{ step: path, number: i + 1, of: seen.batches.length, size: items.length },
        items: items.slice(0, NAMED_MAX),
      })),
    );
  const widest = Math.max(0, ...seen.batches.map((items) => items.length));
  return {
    // What an item holds is known only when it runs.
    walk: {
      ...{ scope: undefined, times: total },
      width: multiply(walk.width, width === undefined ? undefined : Math.min(width, widest)),
    },
    shown: { items: seen.keys.length, concurrency: width ?? unknown, batches: seen.batches },
  };
}

function changes(node: Node, walk: Walk): boolean {
  return node.children.some((child) => {
    const { step } = child;
    if (step !== undefined && 'call' in step) {
      const atom = walk.compiled.atoms[step.call];
      return atom !== undefined && atom.effect !== 'read';
    }
    return (step !== undefined && 'run' in step) || changes(child, walk);
  });
}

function concurrencyIn(spec: ForEachSpec, scope: Scope | undefined): number | undefined {
  const { concurrency = 1 } = spec;
  if (typeof concurrency === 'number') return concurrency;
  if (scope === undefined) return undefined;
  try {
    const value = Number(renderTemplate(concurrency, scope));
    return Number.isFinite(value) && value >= 1 ? Math.floor(value) : undefined;
  } catch (error) {
    if (error instanceof OpsError) return undefined;
    throw error;
  }
}

function itemsOf(spec: ForEachSpec, scope: Scope): { keys: string[]; batches: string[][] } | undefined {
  try {
    const items = renderTemplate(spec.in, scope);
    if (!Array.isArray(items)) return undefined;
    const keys = items.map((item, i) => itemKey(spec, item, i, scope));
    const { plan: template, gate: _gate, ...sizes } = spec.batch ?? {};
    const given = template === undefined ? null : renderTemplate(template, scope);
    const batches = Array.isArray(given) && given.length > 0 ? (given as string[][]) : planBatches(keys, {}, sizes);
    return { keys, batches };
  } catch (error) {
    if (error instanceof OpsError) return undefined;
    throw error;
  }
}

/** Batches that the input gives although the list itself is made by a step. */
function givenBatches(spec: ForEachSpec, scope: Scope): { keys: string[]; batches: string[][] } | undefined {
  const template = spec.batch?.plan;
  if (template === undefined) return undefined;
  try {
    const given = renderTemplate(template, scope);
    if (!Array.isArray(given) || given.length === 0 || !given.every((batch) => Array.isArray(batch))) return undefined;
    return { keys: (given as string[][]).flat(), batches: given as string[][] };
  } catch (error) {
    if (error instanceof OpsError) return undefined;
    throw error;
  }
}

function itemKey(spec: ForEachSpec, item: Json, index: number, scope: Scope): string {
  if (spec.key !== undefined) {
    const key = renderTemplate(spec.key, { ...scope, [spec.as ?? 'item']: toScopeValue(item), index });
    return typeof key === 'string' ? key : JSON.stringify(key);
  }
  return typeof item === 'string' ? item : String(index);
}
