/** References: every read leads to a step that has surely ended, or to a name that is there. */
import { digestOf, type Json, type JsonObject } from '@opsloop/contracts';
import { pointerTo, type Finding } from '@opsloop/rules';
import { near } from '../near.js';
import { isObject } from '../normalise.js';
import { found, SCOPES, upward, type FlowModel, type Node, type Read } from './model.js';

/** Names that every place of a flow sees. */
const EVERYWHERE = ['input', 'vars', 'steps', 'flow', 'config', 'secrets'];
/** All that is there before a run is. */
const EARLY = ['input', 'config'];
const STEP_MEMBERS = ['status', 'output', 'error', 'attempts', 'startedAt', 'endedAt', 'failed'];
const FLOW_MEMBERS = ['name', 'version', 'runId', 'startedAt', 'initiator', 'now'];

export function referenceFindings(model: FlowModel): Finding[] {
  const elsewhere = new Set(model.reads.flatMap((read) => read.names));
  for (const node of model.nodes) node.names.forEach((name) => elsewhere.add(name));
  const inputs = closedMembers(model.flow.input?.schema);
  const guards = new Guards();
  const seen = new Set<string>();
  const findings = model.reads.flatMap((read) => {
    if (read.inItem) return [];
    const one = nameFinding(model, read, elsewhere) ?? memberFinding(model, read, inputs, guards);
    // The same mistake in one slot is said once, however often the path stands there.
    const key = one === undefined ? '' : `${one.code} ${one.pointer} ${read.path}`;
    if (one === undefined || seen.has(key)) return [];
    seen.add(key);
    return [{ ...one, ...(read.node.step === undefined ? {} : { step: read.node.id }) }];
  });
  return [...findings, ...unusedFindings(model)];
}

function nameFinding(model: FlowModel, read: Read, elsewhere: ReadonlySet<string>): Finding | undefined {
  const name = read.segments[0]!;
  const here = read.early ? EARLY : [...EVERYWHERE, ...read.names];
  // An operator or a call: saying that such a name is not there would send people looking for it.
  const computes = read.computed ? undefined : /[()+*\/<>=!,]|\s/.exec(read.path.replaceAll(/\["[^"]*"\]/g, ''));
  if (computes != null)
    return found(
      'OPS1410',
      read.pointer,
      `"\${${read.path}}" computes, and a template only reads one path`,
      'compute with {"$logic": …}, in a "set" before when it belongs into a text',
    );
  // Secrets have findings of their own, which say where they may stand.
  if (here.includes(name) || name === 'secrets') return undefined;
  if (!EVERYWHERE.includes(name) && !elsewhere.has(name))
    return found(
      'OPS1501',
      read.pointer,
      `"${read.path}" begins with "${name}", which is not there`,
      near(name, new Set(here)) ??
        `names here: ${here.join(', ')}${read.computed ? `; a text stands in quotes: '${name}'` : ''}`,
    );
  return found(
    'OPS1509',
    read.pointer,
    read.early
      ? `"${read.path}" is not known before the run starts; only input and config are`
      : `"${read.path}" begins with "${name}", which is there only inside the block that names it`,
    read.early ? 'compute it from the input' : undefined,
  );
}

function memberFinding(
  model: FlowModel,
  read: Read,
  inputs: ReadonlySet<string> | undefined,
  guards: Guards,
): Finding | undefined {
  const [name, member] = read.segments;
  if (member === undefined) return undefined;
  switch (name) {
    case 'steps':
      return stepFinding(model, read, guards);
    case 'input':
      return inputFinding(model, read, member, inputs, guards);
    case 'vars':
      if (model.written.has(member) || Object.hasOwn(model.flow.vars ?? {}, member)) return undefined;
      return found(
        'OPS1507',
        read.pointer,
        `"${read.path}" reads a variable "${member}" that nothing declares or sets`,
        near(member, new Set([...Object.keys(model.flow.vars ?? {}), ...model.written])),
      );
    case 'flow':
      return FLOW_MEMBERS.includes(member)
        ? undefined
        : found(
            'OPS1501',
            read.pointer,
            `"${read.path}": flow has no "${member}"`,
            `it has ${FLOW_MEMBERS.join(', ')}`,
          );
    case 'config':
      return configFinding(model, read, member);
    default:
      return undefined;
  }
}

function configFinding({ world: { configs } }: FlowModel, read: Read, member: string): Finding | undefined {
  if (configs === undefined) return undefined;
  if (!Object.hasOwn(configs, member))
    return found(
      'OPS1512',
      read.pointer,
      `there is no config "${member}"`,
      near(member, new Set(Object.keys(configs))),
    );
  const key = read.segments[2];
  const values = configs[member]!;
  return key === undefined || Object.hasOwn(values, key)
    ? undefined
    : found('OPS1512', read.pointer, `the config "${member}" has no "${key}"`, near(key, new Set(Object.keys(values))));
}

function inputFinding(
  model: FlowModel,
  read: Read,
  member: string,
  inputs: ReadonlySet<string> | undefined,
  guards: Guards,
): Finding | undefined {
  if (inputs !== undefined && !inputs.has(member))
    return found(
      'OPS1503',
      read.pointer,
      `"${read.path}" reads an input "${member}" that input.schema does not allow`,
      near(member, inputs) ?? 'declare it under input.schema.properties',
    );
  const schema = model.flow.input?.schema;
  if (read.optional || read.harmless || schema === undefined || !isObject(schema['properties'])) return undefined;
  const declared = schema['properties'][member];
  const required = Array.isArray(schema['required']) && schema['required'].includes(member);
  if (required || !isObject(declared) || 'default' in declared) return undefined;
  if (guards.reads(read.node, (path) => path[0] === 'input' && path[1] === member, model)) return undefined;
  return found(
    'OPS1511',
    read.pointer,
    `"${read.path}" reads an input that need not be given`,
    `write \${${read.path}?}, give it a default, or require it in input.schema`,
  );
}

function stepFinding(model: FlowModel, read: Read, guards: Guards): Finding | undefined {
  const id = read.segments[1]!;
  const target = model.byId.get(id);
  if (target === undefined) {
    return found(
      'OPS1502',
      read.pointer,
      `"${read.path}" names a step "${id}" that this flow does not have`,
      near(id, new Set(model.byId.keys())),
    );
  }
  const seen = sight(target, read);
  if (seen.is === 'inner')
    return found(
      'OPS1506',
      read.pointer,
      `"${read.path}": "${id}" stands inside ${seen.by.verb} "${seen.by.id}", whose steps are seen only there`,
      seen.by.verb === 'forEach'
        ? `collect it in "${seen.by.id}" and read steps.${seen.by.id}.output`
        : seen.by.verb === 'reconcile'
          ? `read steps.${seen.by.id}.output, which is what was observed last`
          : 'keep it in a variable with set',
    );
  if (seen.is === 'not-yet') return found('OPS1504', read.pointer, `"${read.path}": ${seen.why}`, seen.hint);
  const member = read.segments[2];
  if (member !== undefined && !STEP_MEMBERS.includes(member))
    return found(
      'OPS1510',
      read.pointer,
      `"${read.path}": a step has no "${member}"`,
      near(member, new Set(STEP_MEMBERS)) ??
        `write steps.${id}.output.${read.segments.slice(2).join('.')}? A step has ${STEP_MEMBERS.join(', ')}`,
    );
  if (seen.is === 'sure' || read.optional || read.harmless) return undefined;
  // A skipped step is there, with the output null; only what is below is missing.
  const skippedOnly = seen.reasons.every((node) => node === target && node.step?.if !== undefined);
  if (skippedOnly && read.segments.length <= 3) return undefined;
  if (guards.cover(read, target, seen, model)) return undefined;
  return found(
    'OPS1505',
    read.pointer,
    `"${read.path}": "${id}" may not have run, ${whyMaybe(seen.reasons[0]!, target)}`,
    `write \${${read.path}?}, or give this step the same condition`,
  );
}

function whyMaybe(node: Node, target: Node): string {
  if (node.step?.if !== undefined) return node === target ? 'since it has an "if"' : `since "${node.id}" has an "if"`;
  if (node.verb === 'switch') return `since it stands in a branch of "${node.id}"`;
  if (node.verb === 'parallel') return `since "${node.id}" does not wait for all`;
  return `since "${node.id || 'the flow'}" can go on after an error`;
}

type Sight =
  | { is: 'sure' }
  | { is: 'inner'; by: Node }
  | { is: 'not-yet'; why: string; hint?: string }
  | { is: 'maybe'; reasons: Node[]; common: Node };

/** Whether `target` has ended where a read is evaluated. Costs the depth of both, never the size of the flow. */
export function sight(target: Node, read: Pick<Read, 'place'>): Sight {
  // Positions of the read, from the innermost container outward.
  const positions = new Map<Node, { branch: string; index: number }>();
  for (let at: Node | undefined = read.place.container, p = read.place as { branch: string; index: number }; at;) {
    positions.set(at, { branch: p.branch, index: p.index });
    p = { branch: at.branch, index: at.index };
    at = at.parent;
  }
  const reasons: Node[] = [];
  let child = target;
  let common = target.parent;
  let inner: Node | undefined;
  for (; common !== undefined && !positions.has(common); child = common, common = common.parent) {
    if (SCOPES.has(common.verb ?? '')) inner = common;
    else if (uncertain(child, common)) reasons.push(common);
    if (common.step?.if !== undefined) reasons.push(common);
  }
  if (common === undefined) return { is: 'sure' };
  const mine = positions.get(common)!;
  const order = orderOf(child, common, mine, child === target);
  if (order !== 'before' && order !== 'maybe') {
    // Where it stands inside a loop, that is the more telling half.
    if (inner !== undefined && order.order !== 'later') return { is: 'inner', by: inner };
    return { is: 'not-yet', why: order.why, ...(order.hint === undefined ? {} : { hint: order.hint }) };
  }
  if (inner !== undefined) return { is: 'inner', by: inner };
  if (child.branch === 'gate' && mine.branch !== 'gate') return { is: 'inner', by: common };
  if (target.step?.if !== undefined) reasons.unshift(target);
  // An element of the same list is certain; one of another list of the block (try → catch) is not.
  if (order === 'maybe') reasons.push(common);
  return reasons.length === 0 ? { is: 'sure' } : { is: 'maybe', reasons, common };
}

/** Whether a child of a finished block may not have run. */
function uncertain(child: Node, block: Node): boolean {
  if (block.verb === 'switch') return true;
  if (block.verb === 'parallel') return !waitsForAll(block);
  if (child.branch.startsWith('catch/')) return true;
  return child.branch === 'try' && block.step !== undefined && 'try' in block.step && swallows(block.step.catch);
}

function waitsForAll(node: Node): boolean {
  const step = node.step!;
  if (!('parallel' in step)) return true;
  const { join = 'all' } = step.parallel;
  return join === 'all' || (typeof join === 'object' && join.count >= step.do.length);
}

/** Whether an error may be caught such that the steps after the block run. */
function swallows(clauses: readonly { do?: readonly object[]; retry?: unknown }[] | undefined): boolean {
  return (clauses ?? []).some((clause) => {
    if (clause.do === undefined) return clause.retry === undefined;
    const last = clause.do.at(-1);
    return last === undefined || !(('raise' in last || 'return' in last) && !('if' in last));
  });
}

type Order = 'before' | 'maybe' | { order: 'later' | 'beside' | 'around'; why: string; hint?: string };

/** How a child of a block stands to a position in the same block. */
function orderOf(child: Node, block: Node, mine: { branch: string; index: number }, itself: boolean): Order {
  const { id } = child;
  if (child.branch === mine.branch) {
    if (block.verb === 'parallel') return inParallel(child, block, mine.index, itself);
    if (child.index < mine.index && Math.floor(mine.index) !== child.index) return 'before';
    if (child.index === Math.floor(mine.index)) {
      // Half a step more: its end. What it holds has run; the step itself has not ended.
      if (mine.index !== child.index && !itself) return 'before';
      return { order: 'around', why: `"${id}" has not ended where this is read`, hint: 'a step cannot read itself' };
    }
    return { order: 'later', why: `"${id}" comes after it`, hint: `move "${id}" before this step` };
  }
  if (block.verb === 'switch') return { order: 'beside', why: `"${id}" stands in another branch of "${block.id}"` };
  if (child.branch === 'observe' || child.branch === 'gate') return 'before';
  const rank = (branch: string): number => (['try', 'do'].includes(branch) ? 0 : branch.startsWith('catch/') ? 1 : 2);
  if (rank(child.branch) === 1 && rank(mine.branch) === 1)
    return { order: 'beside', why: `"${id}" stands in another clause of catch` };
  if (rank(child.branch) < rank(mine.branch)) return 'maybe';
  return { order: 'later', why: `"${id}" comes after it` };
}

function inParallel(child: Node, block: Node, index: number, itself: boolean): Order {
  const at = Math.floor(index);
  if (child.index === at)
    return index === at || itself
      ? { order: 'around', why: `"${child.id}" has not ended where this is read`, hint: 'a step cannot read itself' }
      : 'before';
  const me = block.children.find((one) => one.branch === 'do' && one.index === at);
  if (me === undefined) return 'before';
  if (neededBy(me, block).has(child.id)) return 'before';
  return {
    order: 'beside',
    why: `"${child.id}" runs beside it, in any order`,
    hint: `add "needs": ["${child.id}"] to "${me.id}"`,
  };
}

const needed = new WeakMap<Node, ReadonlySet<string>>();

/** All siblings that have surely ended before a child of a parallel step begins. */
function neededBy(node: Node, block: Node): ReadonlySet<string> {
  const known = needed.get(node);
  if (known !== undefined) return known;
  const ids = new Set<string>();
  needed.set(node, ids);
  for (const id of node.step?.needs ?? []) {
    ids.add(id);
    const sibling = block.children.find((one) => one.id === id);
    if (sibling !== undefined && sibling !== node) for (const more of neededBy(sibling, block)) ids.add(more);
  }
  return ids;
}

/** Conditions under which a place is reached; each is read once. */
class Guards {
  private readonly texts = new Map<Node, string | null>();

  /** Whether whoever reads runs only when the step that is read has run. */
  cover(read: Read, target: Node, seen: { reasons: Node[]; common: Node }, model: FlowModel): boolean {
    const about = (path: readonly string[]): boolean => path[0] === 'steps' && path[1] === target.id;
    if (this.reads(read.node, about, model, seen.common)) return true;
    const mine = new Set([...upward(read.node)].map((node) => this.text(node)).filter((text) => text !== null));
    return seen.reasons.every((node) => mine.has(this.text(node) ?? ''));
  }

  /** Whether a condition on the way to a node reads such a path. */
  reads(node: Node, about: (path: readonly string[]) => boolean, model: FlowModel, until?: Node): boolean {
    const on = conditionsOn(model);
    for (const at of upward(node)) {
      if (at === until) break;
      if ((on.get(at) ?? []).some(about)) return true;
    }
    return false;
  }

  private text(node: Node): string | null {
    let text = this.texts.get(node);
    if (text === undefined) {
      const condition = node.step?.if;
      text = condition === undefined ? null : digestOf(condition);
      this.texts.set(node, text);
    }
    return text;
  }
}

const conditionReads = new WeakMap<FlowModel, Map<Node, (readonly string[])[]>>();

/** Paths that the `if` of a step, and the `when` of its switch, read. */
function conditionsOn(model: FlowModel): Map<Node, (readonly string[])[]> {
  let map = conditionReads.get(model);
  if (map === undefined) {
    map = new Map();
    for (const read of model.reads) {
      if (!read.computed || !/\/(if|when)$/.test(read.pointer)) continue;
      const paths = map.get(read.node) ?? [];
      paths.push(read.segments);
      map.set(read.node, paths);
    }
    conditionReads.set(model, map);
  }
  return map;
}

function unusedFindings(model: FlowModel): Finding[] {
  const { flow } = model;
  const usesAll = (name: string): boolean => model.reads.some((r) => r.segments[0] === name && r.segments.length === 1);
  const used = (name: string): Set<string> =>
    new Set(model.reads.filter((r) => r.segments[0] === name).map((r) => r.segments[1] ?? ''));
  const findings: Finding[] = [];
  const vars = used('vars');
  if (!usesAll('vars'))
    for (const name of Object.keys(flow.vars ?? {}))
      if (!vars.has(name))
        findings.push(found('OPS1508', pointerTo('/vars', name), `the variable "${name}" is never read`));
  const secrets = used('secrets');
  (flow.use?.secrets ?? []).forEach((name, i) => {
    if (!secrets.has(name) && !usesAll('secrets'))
      findings.push(found('OPS1508', `/use/secrets/${i}`, `the secret "${name}" is never used`));
  });
  const policies = new Set(model.nodes.map((node) => node.step?.retry));
  policies.add(flow.defaults?.retry);
  for (const name of Object.keys(flow.use?.retries ?? {}))
    if (!policies.has(name))
      findings.push(found('OPS1508', pointerTo('/use/retries', name), `the retry policy "${name}" is never used`));
  return findings;
}

/** Declared members, when the schema admits no others and says so in the plainest way. */
export function closedMembers(schema: JsonObject | undefined): ReadonlySet<string> | undefined {
  if (schema === undefined || schema['additionalProperties'] !== false || !isObject(schema['properties']))
    return undefined;
  return 'patternProperties' in schema ? undefined : new Set(Object.keys(schema['properties'] as Record<string, Json>));
}
