/**
 * From a flow document to what the interpreter walks: every reference resolved, pinned and brought along. The tree stays
 * the author's; atoms and sub-flows stand beside it, keyed by the reference as it is written.
 */
import {
  type AtomDocument,
  type CompiledFlow,
  digestOf,
  type FlowDocument,
  type PinnedAtom,
  type Step,
  TEMPORAL_NAMES,
} from '@opsloop/contracts';
import { finding, pointerTo, type Finding } from '@opsloop/rules';

export type Resolve = (ref: string, kind: 'flow' | 'atom') => FlowDocument | AtomDocument | undefined;

/** Sub-flows inside sub-flows; deeper nesting is no longer read by people, and Temporal keeps each level as a workflow. */
const NESTING_MAX = 8;
const UNRESOLVED = 'OPS1501';
const RECURSION = 'OPS1502';
const NESTING = 'OPS1503';

/** Compiles a document that has passed its checks. Findings instead of a result when something it refers to is missing. */
export function compileFlow(document: FlowDocument, resolve: Resolve): { compiled?: CompiledFlow; findings: Finding[] } {
  const findings: Finding[] = [];
  const compiled = compile(document, resolve, [document.name], '', findings);
  return findings.some((f) => f.severity === 'error') ? { findings } : { compiled, findings };
}

function compile(flow: FlowDocument, resolve: Resolve, above: string[], base: string, findings: Finding[]): CompiledFlow {
  const result: CompiledFlow = { ir: 1, flow, digest: digestOf(flow), atoms: {}, flows: {} };
  for (const { ref, kind, pointer, step } of referencesOf(flow)) {
    const at = base === '' ? pointer : base;
    const found = resolve(ref, kind);
    if (found === undefined) {
      findings.push({ ...finding(UNRESOLVED, at, `${kind} "${ref}" does not exist or has no published version in that range`, kind === 'flow' ? 'publish it first, or correct the reference' : 'put it first, or correct the reference'), step });
    } else if (found.kind === 'atom') {
      pinAtom(found, ref, result, resolve, at, step, findings);
    } else if (above.includes(found.name)) {
      findings.push({ ...finding(RECURSION, at, `"${ref}" runs itself: ${[...above, found.name].join(' → ')}`, 'use loop or forEach'), step });
    } else if (above.length >= NESTING_MAX) {
      findings.push({ ...finding(NESTING, at, `flows are nested deeper than ${NESTING_MAX}`), step });
    } else {
      result.flows[ref] = compile(found, resolve, [...above, found.name], at, findings);
    }
  }
  return result;
}

function pinAtom(atom: AtomDocument, ref: string, into: CompiledFlow, resolve: Resolve, pointer: string, step: string, findings: Finding[]): void {
  if (into.atoms[ref] !== undefined) return;
  into.atoms[ref] = pinned(atom);
  const undo = atom.compensate?.call;
  if (undo === undefined || into.atoms[undo] !== undefined) return;
  const found = resolve(undo, 'atom');
  if (found?.kind === 'atom') pinAtom(found, undo, into, resolve, pointer, step, findings);
  else findings.push({ ...finding(UNRESOLVED, pointer, `"${ref}" is undone by atom "${undo}", which does not exist`), step });
}

function pinned(atom: AtomDocument): PinnedAtom {
  const { name, version, effect, idempotency, targets, timeout, retry, compensate, worker, http, script, output } = atom;
  return {
    name,
    version,
    effect,
    idempotency,
    execution: atom.execution === 'local' ? 'local' : 'activity',
    activity: worker?.activity ?? name,
    // Our own worker serves everything that is declared without code.
    queue: worker?.queue ?? TEMPORAL_NAMES.atomQueue,
    ...(targets === undefined ? {} : { targets }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(retry === undefined ? {} : { retry }),
    ...(compensate === undefined ? {} : { compensate }),
    ...(worker !== undefined || atom.bundled === true
      ? {}
      : { manifest: { name, version, ...(http === undefined ? {} : { http }), ...(script === undefined ? {} : { script }), ...(output === undefined ? {} : { output }) } }),
  };
}

export interface Reference {
  ref: string;
  kind: 'flow' | 'atom';
  pointer: string;
  step: string;
}

/** Every reference of a flow, with its place: calls, runs, compensations, gates, observations. */
export function referencesOf(flow: FlowDocument): Reference[] {
  const found: Reference[] = [];
  const add = (ref: unknown, kind: 'flow' | 'atom', pointer: string, step: string): void => {
    if (typeof ref === 'string') found.push({ ref, kind, pointer, step });
  };
  for (const { step, pointer } of stepsOf(flow)) {
    const s = step as Step & Record<string, unknown>;
    if ('call' in s) add(s.call, 'atom', pointerTo(pointer, 'call'), step.id);
    if ('run' in s) add(s.run, 'flow', pointerTo(pointer, 'run'), step.id);
    if (step.compensate != null) add(step.compensate.call, 'atom', `${pointer}/compensate/call`, step.id);
  }
  return found;
}

/** All steps of a flow at any depth, gates and observations included, in the order in which they stand. */
export function stepsOf(flow: FlowDocument): { step: Step; pointer: string }[] {
  const out: { step: Step; pointer: string }[] = [];
  const list = (steps: unknown, pointer: string): void => {
    if (Array.isArray(steps)) steps.forEach((step, i) => one(step as Step, pointerTo(pointer, i)));
  };
  const one = (step: Step, pointer: string): void => {
    if (step === null || typeof step !== 'object') return;
    out.push({ step, pointer });
    const s = step as unknown as Record<string, unknown>;
    list(s['do'], `${pointer}/do`);
    list(s['try'], `${pointer}/try`);
    list(s['finally'], `${pointer}/finally`);
    clauses(s['catch'], `${pointer}/catch`);
    clauses(s['switch'], `${pointer}/switch`);
    const gate = (s['forEach'] as { batch?: { gate?: Step } } | undefined)?.batch?.gate;
    if (gate !== undefined) one(gate, `${pointer}/forEach/batch/gate`);
    if (s['observe'] !== undefined) one(s['observe'] as Step, `${pointer}/observe`);
  };
  const clauses = (value: unknown, pointer: string): void => {
    if (Array.isArray(value)) value.forEach((clause: { do?: unknown }, i) => list(clause?.do, `${pointer}/${i}/do`));
  };
  list(flow.do, '/do');
  clauses(flow.catch, '/catch');
  list(flow.finally, '/finally');
  return out;
}

