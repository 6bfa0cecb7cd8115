/**
 * What a run would do with a given input: the expanded tree with pinned versions, targets, locks, batches and
 * effects. Nothing is called and nothing guessed: what only the run can know is said to be known at run time.
 */
import type {
  Claim,
  CompiledFlow,
  CompiledOffering,
  Effect,
  FieldError,
  FlowDocument,
  ForEachSpec,
  Json,
  JsonObject,
  Step,
  Verb,
} from '@opsloop/contracts';
import { OpsError, verbOf } from '@opsloop/contracts';
import { computeLocks, computeTargets, planBatches, validateInput } from '@opsloop/dsl';
import { printLogic, renderTemplate, type Scope, toScopeValue } from '@opsloop/rules';

export interface PlanStep {
  id: string;
  path: string;
  verb: Verb;
  title?: string;
  /** Condition as text: the step may be skipped. */
  if?: string;
  /** Of `call` and `run`: what is written and what it is pinned to. */
  ref?: string;
  pinned?: string;
  effect?: Effect;
  /** Of a `forEach`: how many items, when the input alone says so. */
  items?: number | 'known at run time';
  batches?: string[][];
  steps?: PlanStep[];
}

export interface RunPlan {
  name: string;
  version: string;
  effect: Effect;
  inputErrors: FieldError[];
  targets: string[] | 'known at run time';
  locks: Claim[] | 'known at run time';
  /** Calls written in the tree by effect; a call inside a forEach counts once. */
  effects: Record<Effect, number>;
  steps: PlanStep[];
}

/** Sub-flows below sub-flows that are drawn; the compiler refuses recursion, this only bounds the answer. */
const NESTING_MAX = 16;

interface Place {
  compiled: CompiledFlow;
  /** Absent inside a sub-flow, whose input only the run knows. */
  scope?: Scope;
  prefix: string;
  depth: number;
}

const known = <T>(compute: () => T): T | 'known at run time' => {
  try {
    return compute();
  } catch (e) {
    if (e instanceof OpsError) return 'known at run time';
    throw e;
  }
};

/** Steps directly below a step, whatever its verb. */
function childrenOf(step: Step): Step[] {
  const lists: Step[][] = [];
  if ('switch' in step) lists.push(...step.switch.map((b) => b.do));
  if ('try' in step) lists.push(step.try, ...(step.catch ?? []).map((c) => c.do ?? []), step.finally ?? []);
  if ('observe' in step) lists.push([step.observe]);
  if ('forEach' in step && step.forEach.batch?.gate !== undefined) lists.push([step.forEach.batch.gate]);
  if ('do' in step) lists.push(step.do ?? []);
  return lists.flat();
}

function itemKey(spec: ForEachSpec, item: Json, index: number, scope: Scope): string {
  if (spec.key !== undefined) {
    const key = renderTemplate(spec.key, { ...scope, [spec.as ?? 'item']: toScopeValue(item), index });
    return typeof key === 'string' ? key : JSON.stringify(key);
  }
  return typeof item === 'string' ? item : String(index);
}

function batchesOf(spec: ForEachSpec, scope: Scope | undefined): Pick<PlanStep, 'items' | 'batches'> {
  if (scope === undefined) return { items: 'known at run time' };
  const result = known(() => {
    const items = renderTemplate(spec.in, scope);
    if (!Array.isArray(items)) throw new OpsError('expression', 'forEach.in is no list');
    const keys = items.map((item, i) => itemKey(spec, item, i, scope));
    const { plan: template, gate: _gate, ...sizes } = spec.batch ?? {};
    const given = template === undefined ? null : renderTemplate(template, scope);
    const batches = Array.isArray(given) && given.length > 0 ? (given as string[][]) : planBatches(keys, {}, sizes);
    return { items: items.length, batches };
  });
  return result === 'known at run time' ? { items: result } : result;
}

function planStep(step: Step, place: Place): PlanStep {
  const verb = verbOf(step);
  const path = `${place.prefix}${step.id}`;
  const base: PlanStep = {
    id: step.id,
    path,
    verb,
    ...(step.title === undefined ? {} : { title: step.title }),
    ...(step.if === undefined ? {} : { if: typeof step.if === 'string' ? step.if : printLogic(step.if) }),
  };
  if ('call' in step) {
    const atom = place.compiled.atoms[step.call];
    return {
      ...base,
      ref: step.call,
      ...(atom === undefined ? {} : { pinned: `${atom.name}@${atom.version}`, effect: atom.effect }),
    };
  }
  if ('run' in step) {
    const sub = place.compiled.flows[step.run];
    if (sub === undefined || place.depth >= NESTING_MAX) return { ...base, ref: step.run };
    const below: Place = { compiled: sub, prefix: `${path}/`, depth: place.depth + 1 };
    return {
      ...base,
      ref: step.run,
      pinned: `${sub.flow.name}@${sub.flow.version}`,
      steps: sub.flow.do.map((s) => planStep(s, below)),
    };
  }
  const below = childrenOf(step).map((s) => planStep(s, { ...place, prefix: `${path}/` }));
  return {
    ...base,
    ...('forEach' in step ? batchesOf(step.forEach, place.scope) : {}),
    ...(below.length === 0 ? {} : { steps: below }),
  };
}

function countEffects(steps: readonly PlanStep[], into: Record<Effect, number>): Record<Effect, number> {
  for (const step of steps) {
    if (step.effect !== undefined) into[step.effect] += 1;
    countEffects(step.steps ?? [], into);
  }
  return into;
}

/** What is granted before the start: an exclusive lock on each target unless they are taken item by item, and the further locks. */
function claimsOf(document: FlowDocument, input: Json, config: Record<string, JsonObject>): Claim[] {
  const targets = (document.lockTargets ?? 'all') === 'all' ? computeTargets(document, input, config) : [];
  return [...targets.map((path): Claim => ({ path, mode: 'exclusive' })), ...computeLocks(document, input, config)];
}

/** A pure function: the same offering, input and configs give the same bytes. */
export function planOf(offering: CompiledOffering, input: Json, config: Record<string, JsonObject>): RunPlan {
  const { document, compiled } = offering;
  const checked = validateInput(offering.inputSchema ?? {}, input);
  const usable = checked.errors.length === 0;
  const scope: Scope = {
    input: toScopeValue(checked.value),
    config: toScopeValue(config),
    vars: toScopeValue(document.vars ?? {}),
  };
  const steps = [...document.do, ...(document.finally ?? [])].map((s) =>
    planStep(s, { compiled, prefix: '', depth: 0, ...(usable ? { scope } : {}) }),
  );
  return {
    name: offering.name,
    version: offering.version,
    effect: offering.effect,
    inputErrors: checked.errors,
    targets: usable ? known(() => computeTargets(document, checked.value, config)) : 'known at run time',
    locks: usable ? known(() => claimsOf(document, checked.value, config)) : 'known at run time',
    effects: countEffects(steps, { read: 0, mutate: 0, destroy: 0 }),
    steps,
  };
}
