import { type CompiledFlow, digestOf, type Json } from '@opsloop/contracts';
import type { Asked } from '../policies/policy-verdict.pure.js';

/** What is approved: nothing else may run on the strength of it. */
export interface ApprovedPlan {
  flow: string;
  version: string;
  targets: string[];
  input: string;
  /** Digest of the compiled flow, sub-flows and pinned atoms included. */
  steps: string;
  /** `<step path> <what it calls>`, so that a difference can be shown. */
  outline: string[];
}

/** An outline is for people who compare; longer flows show its beginning. */
const OUTLINE_MAX = 200;

export function planOf(
  plan: { flow: string; version: string; targets: readonly string[] },
  input: Json,
  ir?: { digest: string; compiled?: CompiledFlow },
): ApprovedPlan {
  return {
    flow: plan.flow,
    version: plan.version,
    targets: [...plan.targets].sort(),
    input: digestOf(input),
    steps: ir?.digest ?? '',
    outline: ir?.compiled === undefined ? [] : outlineOf(ir.compiled).slice(0, OUTLINE_MAX),
  };
}

export const planHash = (plan: ApprovedPlan): string => digestOf(plan as unknown as Json);

/** What a flow would do, step by step, with the versions that are pinned. */
export function outlineOf(compiled: CompiledFlow): string[] {
  const lines: string[] = [];
  const walk = (value: unknown, path: string): void => {
    if (Array.isArray(value)) {
      for (const one of value) walk(one, path);
      return;
    }
    if (typeof value !== 'object' || value === null) return;
    const step = value as Record<string, unknown>;
    const here = typeof step['id'] === 'string' ? `${path}${path === '' ? '' : '/'}${step['id']}` : path;
    if (here !== path) {
      const ref =
        typeof step['call'] === 'string' ? step['call'] : typeof step['run'] === 'string' ? step['run'] : undefined;
      const atom = ref === undefined ? undefined : compiled.atoms[ref];
      lines.push(`${here}${ref === undefined ? '' : ` ${atom === undefined ? ref : `${atom.name}@${atom.version}`}`}`);
    }
    for (const key of ['do', 'try', 'catch', 'finally', 'switch', 'else', 'parallel', 'forEach'] as const)
      walk(step[key], here);
  };
  walk(compiled.flow.do, '');
  return lines;
}

/** In what the plan of now differs from the approved one; undefined when it does not. Fewer targets are no drift. */
export function driftOf(approved: ApprovedPlan, now: ApprovedPlan): string | undefined {
  const said: string[] = [];
  const was = new Set(approved.targets);
  const added = now.targets.filter((t) => !was.has(t));
  const gone = approved.targets.filter((t) => !now.targets.includes(t));
  // A target whose cause has cleared is left out: the rest was approved. Others in its place were not.
  if (added.length > 0) said.push(`targets ${signed('+', added)}${gone.length === 0 ? '' : ` ${signed('-', gone)}`}`);
  if (approved.flow !== now.flow || approved.version !== now.version)
    said.push(`flow ${approved.flow}@${approved.version} is now ${now.flow}@${now.version}`);
  if (approved.steps !== now.steps) {
    const more = now.outline.filter((l) => !approved.outline.includes(l));
    const less = approved.outline.filter((l) => !now.outline.includes(l));
    const lines = [more.length === 0 ? '' : signed('+', more), less.length === 0 ? '' : signed('-', less)];
    said.push(`steps ${lines.filter((l) => l !== '').join(' ') || 'have changed'}`);
  }
  if (approved.input !== now.input && gone.length === 0) said.push('the input has changed');
  return said.length === 0 ? undefined : said.join('; ');
}

const signed = (sign: string, list: readonly string[]): string =>
  `${list
    .slice(0, 5)
    .map((one) => `${sign}${one}`)
    .join(' ')}${list.length > 5 ? ` and ${list.length - 5} more` : ''}`;

/** How a question of a policy stands for the plan of now. */
export function askedOf(
  row: { id: string; status: string; reason: string | null; plan: ApprovedPlan | null } | undefined,
  by: readonly string[],
  now: ApprovedPlan,
): Asked {
  if (row === undefined) return { state: 'none' };
  const { id } = row;
  if (row.status === 'approved') {
    const drift = row.plan === null ? undefined : driftOf(row.plan, now);
    return drift === undefined ? { state: 'approved', id, by: [...by] } : { state: 'drifted', id, reason: drift };
  }
  if (row.status === 'open') return { state: 'open', id };
  const state = row.status === 'timed-out' ? 'timed-out' : 'rejected';
  return { state, id, reason: row.reason ?? `${state}` };
}
