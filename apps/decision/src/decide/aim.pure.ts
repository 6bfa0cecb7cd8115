/**
 * What has to be locked and read before a rule can be judged: its targets and the keys of its windows and budgets. They
 * come from the event and from labels, which do not change with observed state, so they can be computed before the locks.
 */
import type { EventMessage, Json, RuleDocument } from '@opsloop/contracts';
import { OpsError, pathProblem } from '@opsloop/contracts';
import { renderTemplate } from '@opsloop/rules';
import type { BudgetKey, Configs, LiveRule, Resource } from '../store/model.js';
import { ruleScope } from './scope.pure.js';

/** Targets of one decision: 1,000 hosts are the largest blast radius that a person can still read in one message. */
export const TARGETS_MAX = 1_000;
/** A key is part of a primary key and of log lines. */
const KEY_CHARS_MAX = 512;

export interface Aim {
  event: EventMessage;
  rule: LiveRule;
  targets: string[];
  /** Known already: `on` matches, as whoever looked the rule up has seen. */
  fits?: boolean;
  dedupeKey?: string;
  throttleKey?: string;
  incidentKey?: string;
  groupKey?: string;
  /** A slot that could not be rendered; the rule's verdict is `error` when it gets that far. */
  error?: { stage: string; text: string };
}

export interface AimInput {
  event: EventMessage;
  rule: LiveRule;
  configs: Configs;
  resource: (path: string) => Resource;
  members: (path: string) => string[];
}

export function aim(input: AimInput): Aim {
  const { event, rule } = input;
  let stage = 'targets';
  try {
    const targets = targetsOf(input);
    const { dedupe, group, throttle, incident } = rule.doc;
    // Most rules have no key; for them the scope is not made.
    if (dedupe === undefined && group === undefined && throttle === undefined && incident === undefined)
      return { event, rule, targets };
    stage = 'dedupe';
    const scope = ruleScope(
      input.configs,
      event,
      event.subject === undefined ? undefined : input.resource(event.subject),
    );
    const dedupeKey = dedupe === undefined ? undefined : keyText(renderTemplate(dedupe.by, scope));
    stage = 'throttle';
    const throttleKey =
      throttle === undefined
        ? undefined
        : throttle.by === undefined
          ? 'all'
          : keyText(renderTemplate(throttle.by, scope));
    stage = 'incident';
    const incidentKey =
      incident === undefined
        ? undefined
        : `${rule.name.split('/', 1)[0]}/${keyText(renderTemplate(incident.by, scope))}`;
    stage = 'group';
    const groupKey = group === undefined ? undefined : keyText(renderTemplate(group.by, scope));
    return {
      event,
      rule,
      targets,
      ...(dedupeKey === undefined ? {} : { dedupeKey }),
      ...(throttleKey === undefined ? {} : { throttleKey }),
      ...(incidentKey === undefined ? {} : { incidentKey }),
      ...(groupKey === undefined ? {} : { groupKey }),
    };
  } catch (error) {
    return {
      event,
      rule,
      targets: event.subject === undefined ? [] : [event.subject],
      error: { stage, text: errorText(error) },
    };
  }
}

function targetsOf({ event, rule, configs, resource, members }: AimInput): string[] {
  const targets = rule.doc.targets ?? { from: 'event' as const };
  let paths: Json[];
  if ('paths' in targets) {
    const scope = ruleScope(configs, event, event.subject === undefined ? undefined : resource(event.subject));
    const rendered = renderTemplate(targets.paths, scope);
    paths = Array.isArray(rendered) ? rendered : [rendered];
  } else {
    if (event.subject === undefined)
      throw new OpsError('validation', 'the event has no subject, so it names no target');
    paths = targets.from === 'members' ? members(event.subject) : [event.subject];
  }
  if (paths.length > TARGETS_MAX) throw new OpsError('validation', `${paths.length} targets, at most ${TARGETS_MAX}`);
  for (const path of paths) {
    const wrong = typeof path === 'string' ? pathProblem(path) : 'is no string';
    if (wrong !== undefined) throw new OpsError('validation', `the target ${JSON.stringify(path)} ${wrong}`);
  }
  return [...new Set(paths as string[])].sort();
}

/** One key per budget of the rule for this target. */
export function budgetKeys(doc: RuleDocument, event: EventMessage, resource: Resource, configs: Configs): BudgetKey[] {
  return (doc.budget ?? []).map((budget, slot) => ({
    rule: doc.name,
    slot,
    key: budget.by === undefined ? 'all' : keyText(renderTemplate(budget.by, ruleScope(configs, event, resource))),
  }));
}

export function keyText(value: Json): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  if (text.length > KEY_CHARS_MAX) throw new OpsError('validation', `a key is longer than ${KEY_CHARS_MAX} characters`);
  return text;
}

export function errorText(error: unknown): string {
  if (error instanceof OpsError) return error.detail;
  return error instanceof Error ? error.message : String(error);
}
