/** Structure: ids, names, references, and that everything leads somewhere. */
import type { FlowDocument, JsonObject } from '@opsloop/contracts';
import { VERBS } from '@opsloop/contracts';
import { finding, pointerTo, type Finding } from '@opsloop/rules';
import { refProblem } from '../refs.js';
import { isObject } from '../normalise.js';
import { checkUserSchema } from '../user-schema.js';
import { atomOf, found, isLost, type FlowModel, type Node } from './model.js';
import { near } from '../near.js';
import type { World } from './world.js';

const BODIES = ['parallel', 'forEach', 'loop', 'reconcile'];
const LISTS = ['do', 'try', 'finally'];
/** Names of every scope: an item of this name would hide one. */
const RESERVED: ReadonlySet<string> = new Set([
  ...['input', 'vars', 'steps', 'flow', 'config', 'secrets', 'event', 'result', 'index', 'batch', 'iteration'],
]);

/** Steps without exactly one verb, found before the schema is asked: it could only answer with all verbs at once. */
export function verbFindings(doc: JsonObject): Finding[] {
  const findings: Finding[] = [];
  const steps = (list: unknown, pointer: string): void => {
    if (Array.isArray(list)) list.forEach((step, i) => visit(step, pointerTo(pointer, i)));
  };
  const catches = (list: unknown, pointer: string): void => {
    if (Array.isArray(list)) list.forEach((clause, i) => isObject(clause) && steps(clause['do'], `${pointer}/${i}/do`));
  };
  const visit = (step: unknown, pointer: string): void => {
    if (!isObject(step)) return;
    const verbs: string[] = VERBS.filter(
      (verb) => Object.hasOwn(step, verb) && (verb !== 'do' || !BODIES.some((body) => Object.hasOwn(step, body))),
    );
    if (verbs.length !== 1) {
      const said = verbs.length === 0 ? 'has none' : `has ${verbs.join(' and ')}`;
      const meant = verbs.length > 0 ? undefined : likelyVerb(step);
      findings.push(
        found(
          'OPS1002',
          pointer,
          `a step has exactly one verb; this one ${said}`,
          meant ?? (verbs.length === 0 ? `add one of ${VERBS.join(', ')}` : 'split it into two steps'),
          typeof step['id'] === 'string' ? step['id'] : undefined,
        ),
      );
      return;
    }
    for (const list of LISTS) steps(step[list], `${pointer}/${list}`);
    catches(step['catch'], `${pointer}/catch`);
    if (Array.isArray(step['switch']))
      step['switch'].forEach((branch, i) => isObject(branch) && steps(branch['do'], `${pointer}/switch/${i}/do`));
  };
  for (const list of ['do', 'finally']) steps(doc[list], `/${list}`);
  catches(doc['catch'], '/catch');
  return findings;
}

/** What other languages call the verbs. */
const ALIASES: Readonly<Record<string, string>> = {
  foreach: 'forEach',
  map: 'forEach',
  for: 'forEach',
  task: 'call',
  action: 'call',
  choice: 'switch',
  fork: 'parallel',
  sleep: 'wait',
  listen: 'waitForEvent',
  human: 'approval',
  fail: 'raise',
  throw: 'raise',
  subflow: 'run',
  while: 'loop',
  repeat: 'loop',
};

function likelyVerb(step: JsonObject): string | undefined {
  for (const key of Object.keys(step)) {
    const meant =
      VERBS.find((verb) => verb.toLowerCase() === key.toLowerCase()) ??
      (Object.hasOwn(ALIASES, key.toLowerCase()) ? ALIASES[key.toLowerCase()] : undefined);
    if (meant !== undefined) return `write "${meant}" instead of "${key}"`;
    const close = near(key, new Set<string>(VERBS));
    if (close !== undefined) return close;
  }
  return undefined;
}

export function structureFindings(model: FlowModel): Finding[] {
  const { flow, nodes } = model;
  return [
    ...(flow.input === undefined ? [] : checkUserSchema(flow.input.schema, '/input/schema')),
    ...retryFindings(flow, flow.defaults?.retry, '/defaults/retry'),
    ...idFindings(nodes),
    ...nodes.flatMap((node) => stepFindings(model, node)),
  ];
}

function idFindings(nodes: readonly Node[]): Finding[] {
  const seen = new Map<string, string>();
  return nodes.flatMap(({ id, pointer }) => {
    const first = seen.get(id);
    if (first === undefined) return (seen.set(id, pointer), []);
    return [
      found('OPS1003', `${pointer}/id`, `the id "${id}" is used at ${first} already`, 'ids are unique in a flow', id),
    ];
  });
}

function stepFindings(model: FlowModel, node: Node): Finding[] {
  const { pointer, id } = node;
  const step = node.step!;
  const findings = retryFindings(model.flow, step.retry, `${pointer}/retry`);
  if ('call' in step) findings.push(...refFindings(model, step.call, 'atom', `${pointer}/call`, node.atom));
  if ('run' in step) findings.push(...refFindings(model, step.run, 'flow', `${pointer}/run`, node.flow));
  if (step.compensate) {
    const { call } = step.compensate;
    const atom = atomOf(model.world, call);
    findings.push(...refFindings(model, call, 'atom', `${pointer}/compensate/call`, atom));
  }
  const as: [string, string | undefined][] = [];
  if ('forEach' in step) as.push([`${pointer}/forEach/as`, step.forEach.as]);
  if ('try' in step) (step.catch ?? []).forEach((clause, i) => as.push([`${pointer}/catch/${i}/as`, clause.as]));
  for (const [at, name] of as)
    if (name !== undefined && RESERVED.has(name))
      findings.push(found('OPS1016', at, `"${name}" has a meaning of its own everywhere`));
  return findings.map((one) => (one.step === undefined ? { ...one, step: id } : one));
}

export function refFindings(
  model: Pick<FlowModel, 'world' | 'flow'>,
  ref: string,
  kind: 'flow' | 'atom',
  pointer: string,
  resolved: unknown,
): Finding[] {
  const problem = refProblem(ref, kind);
  if (problem !== undefined) return [finding('OPS1014', pointer, problem)];
  if (resolved !== undefined || !isLost(model.world, kind, ref)) return [];
  if (kind === 'flow' && ref.slice(0, ref.lastIndexOf('@')) === model.flow.name) return [];
  return [lostFinding(model.world, kind, ref, pointer)];
}

/** A reference that leads nowhere, and what is there of that name. */
export function lostFinding(world: World, kind: 'flow' | 'atom', ref: string, pointer: string): Finding {
  const versions = world.versionsOf?.(kind, ref.slice(0, ref.lastIndexOf('@'))) ?? [];
  const there = versions.length === 0 ? '' : `; there is ${versions.slice(-5).join(', ')}`;
  return found(
    kind === 'atom' ? 'OPS1010' : 'OPS1011',
    pointer,
    `no published ${kind} answers to "${ref}"${there}`,
    there === '' ? undefined : `write a range that fits: ${ref.split('@')[0]}@${versions.at(-1)!.split('.')[0]}`,
  );
}

function retryFindings(flow: FlowDocument, retry: unknown, pointer: string): Finding[] {
  if (typeof retry !== 'string' || Object.hasOwn(flow.use?.retries ?? {}, retry)) return [];
  return [
    found(
      'OPS1040',
      pointer,
      `"${retry}" is not one of use.retries`,
      near(retry, new Set(Object.keys(flow.use?.retries ?? {}))) ?? 'declare it there, or write the policy here',
    ),
  ];
}
