/**
 * The analysed flow: one walk collects every step with its place, every condition and every read, so that each group
 * of checks is a pass over a list and 500 steps cost no more than 500 visits.
 */
import { VERBS, type AtomDocument, type FlowDocument, type Json, type JsonObject, type Step } from '@opsloop/contracts';
import type { Verb } from '@opsloop/contracts';
import { finding, logicReads, normaliseCondition, templateReads, type Finding, type PathRead } from '@opsloop/rules';
import { bundledAtoms } from '../bundled.js';
import { parseRef, refProblem } from '../refs.js';
import type { World } from './world.js';
import { FINDINGS, fixOf } from './registry.js';

/** A step, or the flow itself (`verb` undefined), with where it stands. */
export interface Node {
  step?: Step;
  id: string;
  verb?: Verb;
  pointer: string;
  parent?: Node;
  /** Which list of its parent holds it: do, try, catch/0, finally, switch/1, gate, observe. */
  branch: string;
  index: number;
  depth: number;
  phase: 'forward' | 'catch' | 'finally';
  children: Node[];
  /** Names that this node adds for what is inside its body. */
  names: readonly string[];
  atom?: AtomDocument;
  flow?: FlowDocument;
}

/**
 * Where a read is evaluated: before element `index` of list `branch` in `container`. `index` of half a step more stands
 * for the end of a step, when what it holds has run and it has not ended itself.
 */
export interface Place {
  container: Node;
  branch: string;
  index: number;
}

export interface Read extends PathRead {
  node: Node;
  place: Place;
  /** Names in scope beyond those that are everywhere. */
  names: readonly string[];
  /** Only what is there before a run is: input and config. */
  early: boolean;
  /** Titles that cannot be rendered never fail a step. */
  harmless: boolean;
}

export interface ConditionSlot {
  pointer: string;
  written: Json;
  /** Undefined when it cannot be read. */
  logic?: Json;
  node: Node;
  names: readonly string[];
  /** Member that holds it: if, when, until, … */
  slot: string;
}

export interface TemplateSlot {
  pointer: string;
  template: Json;
  node: Node;
  /** Member path below the step, such as `with` or `forEach/in`. */
  slot: string;
  secrets: 'refused' | 'allowed';
}

export interface FlowModel {
  flow: FlowDocument;
  world: World;
  root: Node;
  nodes: Node[];
  byId: ReadonlyMap<string, Node>;
  reads: Read[];
  conditions: ConditionSlot[];
  templates: TemplateSlot[];
  /** Variables that a `set` writes. */
  written: ReadonlySet<string>;
  /** Steps visited; the checks must stay linear in it. */
  visits: number;
}

/** Verbs whose body is a scope of its own: ids inside are not seen outside. */
export const SCOPES: ReadonlySet<string> = new Set(['forEach', 'loop', 'reconcile']);

interface Build extends Omit<FlowModel, 'byId' | 'written'> {
  byId: Map<string, Node>;
  written: Set<string>;
}

/** Builds the model of a document that has passed its schema. */
export function analyseFlow(flow: FlowDocument, world: World): FlowModel {
  const root: Node = {
    ...{ id: '', pointer: '', branch: '', index: 0, depth: 0, phase: 'forward', children: [], names: [] },
  };
  const model: Build = {
    ...{ flow, world, root, nodes: [], byId: new Map(), reads: [], conditions: [], templates: [] },
    ...{ written: new Set(), visits: 0 },
  };
  const start: Place = { container: root, branch: 'do', index: 0 };
  const end: Place = { container: root, branch: 'do', index: flow.do.length };
  const early = { early: true };
  template(model, root, 'targets', flow.targets, start, [], early);
  (flow.locks ?? []).forEach((lock, i) => template(model, root, `locks/${i}/path`, lock.path, start, [], early));
  template(model, root, 'limit/by', flow.limit?.by, start, [], early);
  template(model, root, 'vars', flow.vars, start, []);
  list(model, root, 'do', flow.do, '/do', 'forward');
  catches(model, root, flow.catch, '/catch', []);
  list(model, root, 'finally', flow.finally, '/finally', 'finally');
  template(model, root, 'output', flow.output, end, []);
  return model;
}

/** Members of a clause that catches: its name, its condition, its steps. */
function catches(
  model: Build,
  node: Node,
  clauses: FlowDocument['catch'],
  pointer: string,
  outer: readonly string[],
): void {
  (clauses ?? []).forEach((clause, i) => {
    const branch = `catch/${i}`;
    const names = [...outer, clause.as ?? 'err'];
    const place: Place = { container: node, branch, index: 0 };
    condition(model, node, `${pointer}/${i}/when`, 'when', clause.when, place, names);
    list(model, node, branch, clause.do, `${pointer}/${i}/do`, 'catch', names);
  });
}

function list(
  model: Build,
  parent: Node,
  branch: string,
  steps: readonly Step[] | undefined,
  pointer: string,
  phase: Node['phase'],
  names: readonly string[] = parent.names,
): void {
  steps?.forEach((step, index) => one(model, parent, branch, index, step, `${pointer}/${index}`, phase, names));
}

function one(
  model: Build,
  parent: Node,
  branch: string,
  index: number,
  step: Step,
  pointer: string,
  phase: Node['phase'],
  names: readonly string[],
): Node {
  const verb = verbIn(step);
  const node: Node = {
    ...{ step, id: step.id, verb, pointer, parent, branch, index, depth: parent.depth + 1, children: [], names },
    phase: parent.phase === 'forward' ? phase : parent.phase,
  };
  parent.children.push(node);
  model.nodes.push(node);
  model.visits += 1;
  if (!model.byId.has(step.id)) model.byId.set(step.id, node);
  if ('call' in step) node.atom = atomOf(model.world, step.call);
  if ('run' in step) node.flow = flowOf(model.world, step.run);
  slotsOf(model, node, step);
  return node;
}

/** The verb of a checked step; a step that is wrong has been reported before and counts as a group. */
function verbIn(step: Step): Verb {
  return VERBS.find((verb) => Object.hasOwn(step, verb)) ?? 'do';
}

function slotsOf(model: Build, node: Node, step: Step): void {
  const { pointer, names } = node;
  const enter: Place = { container: node.parent!, branch: node.branch, index: node.index };
  const leave: Place = { ...enter, index: node.index + 0.5 };
  template(model, node, 'title', step.title, enter, names, { harmless: true });
  condition(model, node, `${pointer}/if`, 'if', step.if, enter, names);
  template(model, node, 'output', step.output, leave, [...names, 'result']);
  if (step.compensate) {
    // Rendered after the step has ended, when it is undone.
    const undo = [...names, 'result'];
    template(model, node, 'compensate/with', step.compensate.with, { ...enter, index: node.index + 1 }, undo, {
      secrets: 'allowed',
    });
  }
  verbSlots(model, node, step, enter);
}

function verbSlots(model: Build, node: Node, step: Step, enter: Place): void {
  const { pointer, names, phase } = node;
  const here = (slot: string, value: unknown, more: readonly string[] = names): void =>
    template(model, node, slot, value, enter, more);
  if ('call' in step) {
    template(model, node, 'with', step.with, enter, names, { secrets: 'allowed' });
    here('queue', step.queue);
  } else if ('run' in step) here('with', step.with);
  else if ('forEach' in step) forEachSlots(model, node, step, enter);
  else if ('set' in step) {
    here('set', step.set);
    for (const name of Object.keys(step.set)) model.written.add(name);
  } else if ('emit' in step) {
    here('emit/type', step.emit.type);
    here('emit/subject', step.emit.subject);
    here('emit/data', step.emit.data);
  } else if ('raise' in step) here('raise/detail', step.raise.detail);
  else if ('return' in step) here('return', step.return);
  else if ('wait' in step) {
    here('wait/for', step.wait.for);
    here('wait/until', step.wait.until);
  } else if ('approval' in step) {
    const { title, details, approvers } = step.approval as unknown as JsonObject;
    here('approval/title', title);
    here('approval/details', details);
    here('approval/approvers', approvers);
  } else if ('waitForEvent' in step) {
    for (const [at, pattern] of patternsOf(step.waitForEvent as unknown as JsonObject))
      patternSlots(model, node, `waitForEvent/${at}`, pattern, enter);
  } else if ('switch' in step) {
    step.switch.forEach((branch, i) => {
      condition(model, node, `${pointer}/switch/${i}/when`, 'when', branch.when, enter, names);
      list(model, node, `switch/${i}`, branch.do, `${pointer}/switch/${i}/do`, phase);
    });
  } else if ('try' in step) {
    list(model, node, 'try', step.try, `${pointer}/try`, phase);
    catches(model, node, step.catch, `${pointer}/catch`, names);
    list(model, node, 'finally', step.finally, `${pointer}/finally`, 'finally');
  } else if ('reconcile' in step) reconcileSlots(model, node, step);
  else if ('loop' in step) {
    const inside = [...names, 'iteration'];
    list(model, node, 'do', step.do, `${pointer}/do`, phase, inside);
    condition(model, node, `${pointer}/loop/while`, 'while', step.loop.while, endOf(node, step.do), inside);
    condition(model, node, `${pointer}/loop/until`, 'until', step.loop.until, endOf(node, step.do), inside);
  } else if ('do' in step) {
    if ('lock' in step && step.lock !== undefined)
      step.lock.claims.forEach((claim, i) => here(`lock/claims/${i}/path`, claim.path));
    list(model, node, 'do', step.do, `${pointer}/do`, phase);
  }
}

function forEachSlots(model: Build, node: Node, step: Step & { forEach: object }, enter: Place): void {
  if (!('forEach' in step)) return;
  const { forEach: spec, do: body } = step as Extract<Step, { forEach: unknown }>;
  const { names, pointer } = node;
  const item = [...names, spec.as ?? 'item', 'index'];
  const inside = [...item, 'batch'];
  template(model, node, 'forEach/in', spec.in, enter, names);
  template(model, node, 'forEach/key', spec.key, enter, item);
  template(model, node, 'forEach/batch/plan', spec.batch?.plan, enter, names);
  template(model, node, 'forEach/concurrency', spec.concurrency, enter, names);
  const gate = spec.batch?.gate;
  if (gate !== undefined) {
    const at = `${pointer}/forEach/batch/gate`;
    const inner = one(model, node, 'gate', 0, gate as Step, at, node.phase, names);
    const after: Place = { container: node, branch: 'gate', index: 1 };
    condition(model, inner, `${at}/expect`, 'expect', gate.expect, after, names);
  }
  list(model, node, 'do', body, `${pointer}/do`, node.phase, inside);
  template(model, node, 'forEach/collect', spec.collect, endOf(node, body), inside);
}

function reconcileSlots(model: Build, node: Node, step: Extract<Step, { reconcile: unknown }>): void {
  const { pointer, phase, names } = node;
  const inside = [...names, 'iteration'];
  one(model, node, 'observe', 0, step.observe, `${pointer}/observe`, phase, inside);
  list(model, node, 'do', step.do, `${pointer}/do`, phase, inside);
  const seen: Place = { container: node, branch: 'do', index: 0 };
  condition(model, node, `${pointer}/reconcile/goal`, 'goal', step.reconcile.goal, seen, inside);
  const enter: Place = { container: node.parent!, branch: node.branch, index: node.index };
  (step.reconcile.wakeOn ?? []).forEach((pattern, i) =>
    patternSlots(model, node, `reconcile/wakeOn/${i}`, pattern as unknown as JsonObject, enter),
  );
}

/** `one`, `any` and `all` of a wait, each pattern with its place below the verb. */
export function patternsOf(spec: JsonObject): [string, JsonObject][] {
  return ['one', 'any', 'all'].flatMap((key) => {
    const value = spec[key];
    if (Array.isArray(value)) return value.map((one, i): [string, JsonObject] => [`${key}/${i}`, one as JsonObject]);
    return value === undefined ? [] : [[key, value as JsonObject] as [string, JsonObject]];
  });
}

function patternSlots(model: Build, node: Node, at: string, pattern: JsonObject, enter: Place): void {
  template(model, node, `${at}/subject`, pattern['subject'], enter, node.names);
  template(model, node, `${at}/correlate`, pattern['correlate'], enter, node.names);
  condition(model, node, `${node.pointer}/${at}/filter`, 'filter', pattern['filter'], enter, [...node.names, 'event']);
}

function endOf(node: Node, body: readonly Step[]): Place {
  return { container: node, branch: 'do', index: body.length };
}

interface Options {
  early?: boolean;
  harmless?: boolean;
  secrets?: 'allowed';
}

function template(
  model: Build,
  node: Node,
  slot: string,
  value: unknown,
  place: Place,
  names: readonly string[],
  { early = false, harmless = false, secrets }: Options = {},
): void {
  if (value === undefined) return;
  const pointer = `${node.pointer}/${slot}`;
  model.templates.push({ pointer, template: value as Json, node, slot, secrets: secrets ?? 'refused' });
  for (const read of templateReads(value as Json))
    model.reads.push({ ...read, pointer: pointer + read.pointer, node, place, names, early, harmless });
}

function condition(
  model: Build,
  node: Node,
  pointer: string,
  slot: string,
  written: Json | undefined,
  place: Place,
  names: readonly string[],
): void {
  if (written === undefined) return;
  const entry: ConditionSlot = { pointer, written, node, names, slot };
  model.conditions.push(entry);
  try {
    entry.logic = normaliseCondition(written);
  } catch {
    // Cannot be read at all: a finding of its own.
    return;
  }
  for (const read of logicReads(entry.logic))
    model.reads.push({ ...read, pointer, node, place, names, early: false, harmless: false });
}

const bundledByName = new Map(bundledAtoms.map((atom) => [atom.name, atom]));

/** The atom that a reference means. Those that come with opsloop are known without any catalog. */
export function atomOf(world: World, ref: string): AtomDocument | undefined {
  if (refProblem(ref, 'atom') !== undefined) return undefined;
  return world.atom?.(ref) ?? bundledByName.get(parseRef(ref).name);
}

export function flowOf(world: World, ref: string): FlowDocument | undefined {
  return refProblem(ref, 'flow') === undefined ? world.flow?.(ref) : undefined;
}

/** Whether a reference that resolves to nothing is a mistake of whoever refers. */
export function isLost(world: World, kind: 'flow' | 'atom' | 'table', ref: string): boolean {
  return world.complete === true && world.broken?.has(`${kind} ${ref.slice(0, ref.lastIndexOf('@'))}`) !== true;
}

/** A finding of the table: severity and the general hint come from there, the particular words from the check. */
export function found(code: string, pointer: string, message: string, hint?: string, step?: string): Finding {
  const kind = FINDINGS[code]!;
  return {
    ...finding(code, pointer, message, hint ?? fixOf(code)),
    severity: kind.severity,
    ...(step === undefined || step === '' ? {} : { step }),
  };
}

/** Ancestors from the step itself outward, the flow not included. */
export function* upward(node: Node | undefined): Generator<Node> {
  for (let at = node; at?.step !== undefined; at = at.parent) yield at;
}
