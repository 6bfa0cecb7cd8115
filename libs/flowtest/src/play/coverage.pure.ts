/** Which branches of a flow its tests have taken. */
import type { CatchClause, FlowDocument, Step, StepRecord } from '@opsloop/contracts';
import { staticPath } from './paths.pure.js';

export interface Branch {
  /** `replace/drain`, `replace/wipe: skipped`, `choose: no case`. */
  name: string;
  taken: boolean;
}

export interface Coverage {
  flow: string;
  taken: number;
  total: number;
  /** Names of branches that no test has taken. */
  missed: string[];
}

/** Branches of one flow over all its tests. */
export class CoverageOf {
  private readonly seen = new Set<string>();

  constructor(readonly flow: FlowDocument) {}

  /** Adds what one run did; steps of sub-flows are theirs. */
  add(steps: readonly StepRecord[]): void {
    for (const step of steps) {
      const path = staticPath(step.path);
      this.seen.add(step.status === 'skipped' ? `${path}: skipped` : path);
      if (step.verb === 'approval' && step.status !== 'running')
        this.seen.add(`${path}: ${step.status === 'succeeded' ? 'approved' : 'not approved'}`);
      if (step.verb === 'switch' && step.status === 'succeeded' && isNoCase(step)) this.seen.add(`${path}: no case`);
    }
  }

  result(): Coverage {
    const branches = branchesOf(this.flow);
    const missed = branches.filter((name) => !this.seen.has(name));
    return { flow: this.flow.name, taken: branches.length - missed.length, total: branches.length, missed };
  }
}

function isNoCase({ output }: StepRecord): boolean {
  return typeof output === 'object' && output !== null && !Array.isArray(output) && output['case'] === null;
}

/** Every way that a step can go: run, skipped, approved or not, no case. */
export function branchesOf(flow: FlowDocument): string[] {
  return [...inList(flow.do, ''), ...inCatches(flow.catch, ''), ...inList(flow.finally, '')];
}

function inList(steps: readonly Step[] | undefined, prefix: string): string[] {
  return (steps ?? []).flatMap((step) => ofStep(step, prefix));
}

function inCatches(clauses: readonly CatchClause[] | undefined, prefix: string): string[] {
  return (clauses ?? []).flatMap((clause) => inList(clause.do, prefix));
}

function ofStep(step: Step, prefix: string): string[] {
  const path = prefix === '' ? step.id : `${prefix}/${step.id}`;
  const found = 'approval' in step ? [`${path}: approved`, `${path}: not approved`] : [path];
  if (step.if !== undefined) found.push(`${path}: skipped`);
  if ('switch' in step) {
    found.push(...step.switch.flatMap((branch) => inList(branch.do, path)));
    if (step.switch.every((branch) => branch.when !== undefined)) found.push(`${path}: no case`);
  }
  if ('try' in step)
    found.push(...inList(step.try, path), ...inCatches(step.catch, path), ...inList(step.finally, path));
  if ('observe' in step) found.push(...ofStep(step.observe, path));
  if ('forEach' in step && step.forEach.batch?.gate !== undefined) found.push(...ofStep(step.forEach.batch.gate, path));
  if ('do' in step) found.push(...inList(step.do, path));
  return found;
}
