/**
 * What a run would do with a given input: the expanded tree with pinned versions, targets, locks, batches, approvals,
 * effects, blast radius and the worst case. Nothing is called and nothing guessed: what only the run can know is said
 * to be known at run time. A pure function: the same flow, input and context give the same bytes.
 */
import {
  AT_RUN_TIME,
  printDuration,
  durationMs,
  type Claim,
  type CompiledFlow,
  type Effect,
  type Json,
  type JsonObject,
  type Known,
  type Plan,
} from '@opsloop/contracts';
import type { Finding } from '@opsloop/rules';
import { computeLimit, computeLocks, computeTargets } from '../targets.js';
import { validateInput } from '../user-schema.js';
import { HISTORY, type Estimate } from '../verify/estimate.js';
import { found } from '../verify/model.js';
import type { Environment } from '../verify/world.js';
import { known, scopeOf } from './plan-scope.js';
import { planTree, type PlanTree } from './plan-tree.js';

export interface PlanContext {
  config?: Readonly<Record<string, JsonObject>>;
  /** What verification found, to be handed on. */
  findings?: readonly Finding[];
  environment?: Environment;
}

/** Start, first task, closing report, last task. */
const EVENTS_OF_A_RUN = 12;

export function planFlow(compiled: CompiledFlow, input: Json, context: PlanContext = {}): Plan {
  const { flow } = compiled;
  const config = context.config ?? {};
  const checked = validateInput(flow.input?.schema ?? {}, input);
  const usable = checked.errors.length === 0;
  const scope = usable ? scopeOf(compiled, checked.value, config) : undefined;
  const tree = planTree(compiled, scope);
  const targets = usable ? known(() => computeTargets(flow, checked.value, { ...config })) : AT_RUN_TIME;
  const plan: Plan = {
    name: flow.name,
    version: flow.version,
    digest: compiled.digest,
    effect: strongestOf(compiled),
    inputErrors: checked.errors,
    targets,
    locks: usable ? known(() => claimsOf(compiled, checked.value, { ...config })) : AT_RUN_TIME,
    effects: tree.effects,
    changes: tree.changes ?? AT_RUN_TIME,
    blastRadius: radiusOf(tree.inFlight, totalOf(targets, tree)),
    pinned: pinnedOf(compiled),
    batches: tree.batches,
    approvals: tree.approvals,
    secrets: [...tree.secrets].sort(),
    local: tree.local,
    worst: worstOf(tree.estimate),
    ...(flow.timeout === undefined ? {} : { timeout: flow.timeout }),
    findings: [],
    steps: tree.steps,
  };
  plan.findings = [...(context.findings ?? []), ...planFindings(plan, tree, context.environment)];
  return plan;
}

const STRENGTH: Readonly<Record<Effect, number>> = { read: 0, mutate: 1, destroy: 2 };

/** The strongest effect of all atoms that a run may call, sub-flows and compensations included. */
function strongestOf(compiled: CompiledFlow): Effect {
  const own = Object.values(compiled.atoms).map((atom) => atom.effect);
  const below = Object.values(compiled.flows).map(strongestOf);
  return [...own, ...below].reduce<Effect>((a, b) => (STRENGTH[b] > STRENGTH[a] ? b : a), 'read');
}

/** Granted before the start: an exclusive lock on each target unless they are taken item by item, the further locks, and the one of the limit. */
function claimsOf({ flow }: CompiledFlow, input: Json, config: Record<string, JsonObject>): Claim[] {
  const targets = (flow.lockTargets ?? 'all') === 'all' ? computeTargets(flow, input, config) : [];
  const limit = computeLimit(flow, input, config);
  return [
    ...targets.map((path): Claim => ({ path, mode: 'exclusive' })),
    ...computeLocks(flow, input, config),
    ...(limit === undefined ? [] : [limit.claim]),
  ];
}

/** Everything that is pinned, once, in the order of its name. */
function pinnedOf(compiled: CompiledFlow, into = new Map<string, Plan['pinned'][number]>()): Plan['pinned'] {
  for (const [ref, { name, version, effect }] of Object.entries(compiled.atoms))
    into.set(`atom ${ref}`, { kind: 'atom', ref, version: `${name}@${version}`, effect });
  for (const [ref, sub] of Object.entries(compiled.flows)) {
    into.set(`flow ${ref}`, { kind: 'flow', ref, version: `${sub.flow.name}@${sub.flow.version}` });
    pinnedOf(sub, into);
  }
  return [...into.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
}

/** Targets in all: what the flow says it changes, else the items of its loops that change something. */
function totalOf(targets: Known<string[]>, tree: PlanTree): Known<number> {
  if (targets !== AT_RUN_TIME && targets.length > 0) return targets.length;
  return tree.items ?? AT_RUN_TIME;
}

/** No more are in flight than there are. */
function radiusOf(width: number | undefined, total: Known<number>): Plan['blastRadius'] {
  const inFlight = width === undefined ? AT_RUN_TIME : total === AT_RUN_TIME ? width : Math.min(width, total);
  return { inFlight, total };
}

function worstOf({ mostMs, events }: Estimate): Plan['worst'] {
  const all = events + EVENTS_OF_A_RUN;
  return {
    duration: mostMs === undefined ? AT_RUN_TIME : printDuration(mostMs),
    events: all,
    continues: all > HISTORY.suggest,
  };
}

function planFindings(plan: Plan, tree: PlanTree, environment: Environment | undefined): Finding[] {
  const findings: Finding[] = [];
  const { mostMs } = tree.estimate;
  if (plan.timeout !== undefined && mostMs !== undefined && mostMs > durationMs(plan.timeout))
    findings.push(
      found(
        'OPS1208',
        '/timeout',
        `with this input it may take ${printDuration(mostMs)}, and the timeout is ${plan.timeout}`,
      ),
    );
  const { inFlight, total } = plan.blastRadius;
  if (environment?.maxInFlight !== undefined && typeof inFlight === 'number' && inFlight > environment.maxInFlight)
    findings.push(
      found('OPS1807', '/do', `${inFlight} targets in flight; the environment allows ${environment.maxInFlight}`),
    );
  if (environment?.maxTargets !== undefined && typeof total === 'number' && total > environment.maxTargets)
    findings.push(found('OPS1807', '/targets', `${total} targets; the environment allows ${environment.maxTargets}`));
  return findings;
}
