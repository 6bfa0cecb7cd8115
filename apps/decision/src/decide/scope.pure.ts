/** What conditions and templates of a rule see. Copies are made once per value: a batch of 64 events asks the same ones often. */
import type { Because, EventMessage, Json, RuleDocument } from '@opsloop/contracts';
import { durationMs } from '@opsloop/contracts';
import type { Scope } from '@opsloop/rules';
import { evaluateCondition, explainCondition, toScopeValue } from '@opsloop/rules';
import type { GoalTruth } from '../episodes/machine.pure.js';
import type { Configs, Resource } from '../store/model.js';

/** An observation older than this is unknown, unless the rule says otherwise. */
const STALE_AFTER_MS = 60_000;

const copies = new WeakMap<object, unknown>();

function once(value: object, make: () => Json): unknown {
  let copy = copies.get(value);
  if (copy === undefined) copies.set(value, (copy = toScopeValue(make())));
  return copy;
}

export function eventScope(event: EventMessage): unknown {
  return once(event, () => event as unknown as Json);
}

export function resourceScope(resource: Resource): unknown {
  return once(resource, () => viewOf(resource));
}

/** The public view of a resource. */
export function viewOf(resource: Resource): Json & object {
  return {
    path: resource.path,
    kind: resource.kind,
    labels: resource.labels,
    state: resource.state,
    stateAt: resource.stateAt,
    ...(resource.observedAt === undefined ? {} : { observedAt: resource.observedAt }),
    memberOf: resource.memberOf,
    dependsOn: resource.dependsOn,
    ...(resource.owner === undefined ? {} : { owner: resource.owner }),
    ...(resource.retired === undefined ? {} : { retired: { ...resource.retired } }),
  };
}

export function configScope(configs: Configs): unknown {
  return once(configs, () => configs);
}

export function ruleScope(
  configs: Configs,
  event: EventMessage,
  resource: Resource | undefined,
  more: Record<string, Json> = {},
): Scope {
  const seen = { event: eventScope(event), config: configScope(configs) };
  const scope: Record<string, unknown> =
    resource === undefined
      ? seen
      : {
          ...seen,
          // Each report makes another resource, and most conditions read the event alone.
          get resource() {
            return resourceScope(resource);
          },
        };
  for (const [name, value] of Object.entries(more)) scope[name] = toScopeValue(value);
  return scope;
}

/** Evaluates a condition and, when it is false, says which part made it so. */
export function whyFalse(condition: Json, scope: Scope): Because | undefined {
  if (evaluateCondition(condition, scope)) return undefined;
  const { text, path, expected, actual } = explainCondition(condition, scope);
  return {
    text,
    ...(path === undefined ? {} : { path }),
    ...(expected === undefined ? {} : { expected }),
    ...(actual === undefined ? {} : { actual }),
  };
}

/**
 * Is the goal of the rule met, as far as anybody can know? With `observe` a look must be younger than `staleAfter` and
 * than the last end of a run on the resource; without it the last report counts, since sources tell of changes only.
 */
export function goalTruth(doc: RuleDocument, resource: Resource, configs: Configs, now: number): GoalTruth {
  if (doc.goal === undefined) return 'none';
  if (resource.observedAt === undefined) return 'unknown';
  if (doc.goal.observe !== undefined && !isFresh(doc, resource, now)) return 'unknown';
  try {
    return evaluateCondition(doc.goal.state, { resource: resourceScope(resource), config: configScope(configs) })
      ? 'true'
      : 'false';
  } catch {
    // The goal reads what is not there (yet): nobody can say, and that is never a reason to act.
    return 'unknown';
  }
}

export function isFresh(doc: RuleDocument, resource: Resource, now: number): boolean {
  if (resource.observedAt === undefined) return false;
  const seen = Date.parse(resource.observedAt);
  if (resource.lastRunEnd !== undefined && seen < Date.parse(resource.lastRunEnd)) return false;
  const staleAfter = doc.goal?.observe?.staleAfter;
  return now - seen <= (staleAfter === undefined ? STALE_AFTER_MS : durationMs(staleAfter));
}
