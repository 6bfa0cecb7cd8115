/**
 * References that can never resolve: a misspelt name would otherwise be found when the step runs, at 3 a.m. Only what
 * is certain from the document alone: names that no scope has, steps that no flow has, inputs that its schema excludes.
 */
import type { FlowDocument, Json, JsonObject, RuleDocument } from '@opsloop/contracts';
import {
  finding,
  logicPaths,
  normaliseCondition,
  parsePath,
  pointerTo,
  templatePaths,
  type Finding,
} from '@opsloop/rules';
import { CONDITIONS, isObject } from './normalise.js';
import { stepsOf } from './walk.js';

/** What a flow sees somewhere: scopes nest, so a name is unknown only when no place has it. */
const FLOW_NAMES = ['input', 'vars', 'steps', 'flow', 'config', 'secrets', 'event', 'result', 'err', 'item', 'index'];
const LOOP_NAMES = ['batch', 'iteration'];

/** Members of a flow that hold templates. */
const TEMPLATES: ReadonlySet<string> = new Set([
  ...['with', 'set', 'output', 'data', 'details', 'collect', 'correlate', 'vars', 'return', 'targets', 'raise'],
  ...['in', 'key', 'queue', 'plan', 'concurrency', 'path', 'subject', 'by', 'title'],
]);
/** Members of a flow that hold the author's data, or what is checked elsewhere. */
const OTHERS: ReadonlySet<string> = new Set(['meta', 'labels', 'use', 'form', 'input', 'retry', 'limit']);

interface Place {
  pointer: string;
  paths: string[];
  step?: string;
}

export function flowReferences(flow: FlowDocument): Finding[] {
  const steps = [...stepsOf(flow)].map(({ step }) => step);
  const ids = new Set(steps.map((step) => step.id));
  const places = [...placesOf(flow as unknown as JsonObject, '')];
  const names = new Set([...FLOW_NAMES, ...LOOP_NAMES, ...declaredNames(flow as unknown as Json)]);
  const inputs = closedInputs(flow.input?.schema);
  return places.flatMap(({ pointer, paths, step }) =>
    paths
      .flatMap((path) => flowProblem(path, pointer, names, ids, inputs) ?? [])
      .map((one) => (step === undefined ? one : { ...one, step })),
  );
}

function flowProblem(
  path: string,
  pointer: string,
  names: ReadonlySet<string>,
  ids: ReadonlySet<string>,
  inputs: ReadonlySet<string> | undefined,
): Finding | undefined {
  const [name, member] = segmentsOf(path);
  if (name === undefined) return undefined;
  if (!names.has(name)) return unknownName(path, name, pointer, [...names]);
  if (name === 'steps' && member !== undefined && !ids.has(member))
    return finding(
      'OPS1502',
      pointer,
      `"${path}" names a step "${member}" that this flow does not have`,
      near(member, ids),
    );
  if (name === 'input' && member !== undefined && inputs !== undefined && !inputs.has(member))
    return finding(
      'OPS1503',
      pointer,
      `"${path}" reads an input "${member}" that input.schema does not allow`,
      near(member, inputs) ?? 'declare it under input.schema.properties',
    );
  return undefined;
}

function unknownName(path: string, name: string, pointer: string, known: readonly string[]): Finding {
  return finding(
    'OPS1501',
    pointer,
    `"${path}" begins with "${name}", which is not there`,
    `names here: ${known.join(', ')}`,
  );
}

/** The same name but for case, `-` and `_`: the usual slip. */
function near(wanted: string, known: ReadonlySet<string>): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  const like = [...known].find((one) => plain(one) === plain(wanted));
  return like === undefined ? undefined : `did you mean "${like}"?`;
}

/** Names of loop items and caught errors, wherever the flow declares them. */
function declaredNames(value: Json): string[] {
  if (Array.isArray(value)) return value.flatMap(declaredNames);
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, member]) =>
    key === 'as' && typeof member === 'string' ? [member] : declaredNames(member),
  );
}

/** Declared inputs, when the schema admits no others and says so in the plainest way. */
function closedInputs(schema: JsonObject | undefined): ReadonlySet<string> | undefined {
  if (schema === undefined || schema['additionalProperties'] !== false || !isObject(schema['properties']))
    return undefined;
  return 'patternProperties' in schema ? undefined : new Set(Object.keys(schema['properties']));
}

function* placesOf(value: Json, pointer: string, step?: string): Generator<Place> {
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) yield* placesOf(item, pointerTo(pointer, i), stepId(item) ?? step);
    return;
  }
  if (!isObject(value)) return;
  for (const [key, member] of Object.entries(value)) {
    const at = pointerTo(pointer, key);
    const named = step === undefined ? {} : { step };
    const time = key === 'until' && pointer.endsWith('/wait');
    if (OTHERS.has(key) || (pointer === '' && key === 'title')) continue;
    if (CONDITIONS.has(key) && !time) yield { pointer: at, paths: conditionPaths(member), ...named };
    else if (TEMPLATES.has(key) || time) yield { pointer: at, paths: templatePaths(member), ...named };
    else yield* placesOf(member, at, stepId(member) ?? step);
  }
}

function stepId(value: Json): string | undefined {
  return isObject(value) && typeof value['id'] === 'string' ? value['id'] : undefined;
}

function conditionPaths(condition: Json | undefined): string[] {
  if (condition === undefined) return [];
  try {
    return logicPaths(normaliseCondition(condition));
  } catch {
    // Cannot be read at all, which is a finding of its own.
    return [];
  }
}

/** Name and first member; nothing when the path is not readable, which is a finding of its own. */
function segmentsOf(path: string): readonly string[] {
  try {
    return parsePath(path);
  } catch {
    return [];
  }
}

// ---------------------------------------------------------------- rules
const EVENT = ['event', 'resource', 'config'];
const RUNG = [...EVENT, 'episode', 'facts', 'tier', 'targets', 'batches', 'decision'];
/** The goal is asked without any event: at every look, also years after the one that began the episode. */
const GOAL = ['resource', 'config'];

/** Slots of a rule see fixed names; one that reads another would be the verdict `error`, or a goal never known. */
export function ruleReferences(rule: RuleDocument): Finding[] {
  const condition = (value: Json | undefined, at: string, names: string[]): Finding[] =>
    unknownIn(conditionPaths(value), at, names);
  const template = (value: Json | undefined, at: string, names: string[]): Finding[] =>
    value === undefined ? [] : unknownIn(templatePaths(value), at, names);
  const tiers = Array.isArray(rule.tier) ? rule.tier : [];
  const { goal, targets } = rule;
  return [
    ...condition(rule.when, '/when', EVENT),
    ...template(rule.rollout?.by, '/rollout/by', EVENT),
    ...template(rule.dedupe?.by, '/dedupe/by', EVENT),
    ...template(rule.group?.by, '/group/by', EVENT),
    ...template(rule.batch?.by, '/batch/by', ['resource']),
    ...template(targets !== undefined && 'paths' in targets ? targets.paths : undefined, '/targets/paths', EVENT),
    ...(rule.budget ?? []).flatMap((budget, i) => template(budget.by, `/budget/${i}/by`, EVENT)),
    ...tiers.flatMap((entry, i) => condition(entry.when, `/tier/${i}/when`, EVENT)),
    ...condition(goal?.state, '/goal/state', GOAL),
    ...template(goal?.observe?.with, '/goal/observe/with', GOAL),
    ...rule.branches.flatMap((branch, i) => [
      ...condition(branch.when, `/branches/${i}/when`, [...EVENT, 'tier']),
      ...branch.ladder.flatMap((rung, n) => template(rung.with, `/branches/${i}/ladder/${n}/with`, RUNG)),
    ]),
  ];
}

function unknownIn(paths: readonly string[], pointer: string, names: readonly string[]): Finding[] {
  return paths.flatMap((path) => {
    const [name] = segmentsOf(path);
    // Secrets have a finding of their own that says where they may stand.
    return name === undefined || name === 'secrets' || names.includes(name)
      ? []
      : [unknownName(path, name, pointer, names)];
  });
}
