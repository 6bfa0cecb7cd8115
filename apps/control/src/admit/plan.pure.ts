import {
  type Claim,
  type CompiledFlow,
  type CompiledOffering,
  digestOf,
  type Effect,
  type Json,
  type JsonObject,
  OpsError,
  pathProblem,
  type StartRequest,
} from '@opsloop/contracts';
import { computeLimit, computeLocks, computeTargets, validateInput } from '@opsloop/dsl';
import { mergeClaims, RUN_CLAIMS_MAX } from '../lock/lock.pure.js';
import type { BudgetDemand } from '../policies/demand.pure.js';
import { type LimitAct, limitDemand } from '../policies/run-limit.pure.js';

/** What a start turns out to be once its reference is resolved. */
export interface StartPlan {
  flow: string;
  version: string;
  effect: Effect;
  /** Names of all atoms it may call, for halts on atoms. */
  atoms: string[];
  targets: string[];
  claims: Claim[];
  coalesceKey?: string;
  /** Of a flow with a limit, whose claim is among the claims. */
  onLimit?: LimitAct;
  /** Of a limit of several runs: room on its counters. */
  limits?: BudgetDemand[];
  /** Its targets take turns: each is claimed and charged when its own comes. */
  turns?: boolean;
}

/** Names of all atoms of a flow and its sub-flows. */
export function atomNames(compiled: CompiledFlow): string[] {
  const names = new Set(Object.values(compiled.atoms).map((a) => a.name));
  for (const sub of Object.values(compiled.flows)) for (const name of atomNames(sub)) names.add(name);
  return [...names].sort();
}

/** Every input that the flow will run with: one, or one per target. */
const inputsOf = (request: StartRequest): Json[] =>
  request.perTarget?.items.map((item) => item.input) ?? [request.input];

/** The input with defaults applied, or a 400 that names the fields. */
export function checkedInput(schema: JsonObject | undefined, input: Json): Json {
  if (schema === undefined) return input;
  const { errors, value } = validateInput(schema, input);
  if (errors.length === 0) return value;
  const named = errors.map((e) => ({ pointer: `/input${e.pointer}`, message: e.message }));
  throw new OpsError('validation', `The input: ${named[0]!.pointer} ${named[0]!.message}`, { errors: named });
}

/** The same start with the defaults of the flow's input; whoever starts it, a flow sees only input that fits its schema. */
export function withDefaults(request: StartRequest, schema: JsonObject | undefined): StartRequest {
  if (request.perTarget === undefined) return { ...request, input: checkedInput(schema, request.input) };
  const items = request.perTarget.items.map((item) => ({ ...item, input: checkedInput(schema, item.input) }));
  return { ...request, perTarget: { ...request.perTarget, items } };
}

/**
 * Targets and claims of a start: those of the decision and those that the flow computes from its input, with the one
 * that holds its limit. `none` and
 * `perItem` leave out the targets' own locks: nobody wants them, or each item takes its own at its turn.
 */
export function planStart(
  request: StartRequest,
  offering: CompiledOffering,
  config: Record<string, JsonObject>,
): StartPlan {
  const { document } = offering;
  const targets = new Set(request.targets);
  const claims: Claim[] = [];
  const limits = new Map<string, BudgetDemand>();
  for (const input of inputsOf(request)) {
    for (const path of computeTargets(document, input, config)) targets.add(path);
    claims.push(...computeLocks(document, input, config));
    const limit = computeLimit(document, input, config);
    if (limit === undefined) continue;
    claims.push(limit.claim);
    if (limit.runs > 1) limits.set(limit.claim.path, limitDemand(request.id, document, limit));
  }
  const list = [...targets].sort();
  if ((document.lockTargets ?? 'all') === 'all') for (const path of list) claims.push({ path, mode: 'exclusive' });
  const merged = mergeClaims(claims);
  refuseBadPaths(merged, list);
  return {
    flow: offering.name,
    version: offering.version,
    effect: offering.effect,
    atoms: atomNames(offering.compiled),
    targets: list,
    claims: merged,
    ...(document.limit === undefined ? {} : { onLimit: document.limit.onConflict ?? 'queue' }),
    ...(limits.size === 0 ? {} : { limits: [...limits.values()] }),
    ...((request.perTarget?.items.length ?? 0) > 1 || document.lockTargets === 'perItem' ? { turns: true } : {}),
    ...(request.coalesce ? { coalesceKey: coalesceKey(request, offering, list) } : {}),
  };
}

/** Identical work: the same version of the same flow, on the same targets, with the same input. */
export function coalesceKey(
  request: StartRequest,
  offering: Pick<CompiledOffering, 'name' | 'version'>,
  targets: readonly string[],
): string {
  const { input, perTarget } = request;
  return digestOf({
    flow: offering.name,
    version: offering.version,
    targets: [...targets].sort(),
    input,
    ...(perTarget === undefined ? {} : { items: perTarget.items }),
  });
}

function refuseBadPaths(claims: readonly Claim[], targets: readonly string[]): void {
  const errors = [...targets, ...claims.map((c) => c.path)].flatMap((path) => {
    const wrong = pathProblem(path);
    return wrong === undefined ? [] : [{ pointer: '/input', message: `target "${path.slice(0, 100)}" ${wrong}` }];
  });
  if (claims.length > RUN_CLAIMS_MAX)
    errors.push({
      pointer: '/input',
      message: `needs ${claims.length} locks, at most ${RUN_CLAIMS_MAX}; lock a common prefix or use lockTargets perItem`,
    });
  if (errors.length > 0)
    throw new OpsError('validation', `The targets cannot be locked: ${errors[0]!.message}`, {
      errors: errors.slice(0, 50),
    });
}
