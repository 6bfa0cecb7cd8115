import type { CompiledFlow, Step } from '@opsloop/contracts';

/** The lists of steps that stand directly inside a step, sub-flows included. */
export function stepsIn(step: Step, ir: CompiledFlow): { steps: readonly Step[]; ir: CompiledFlow }[] {
  const lists: (readonly Step[])[] = [];
  if ('do' in step && step.do !== undefined) lists.push(step.do);
  if ('switch' in step) for (const entry of step.switch) lists.push(entry.do);
  if ('observe' in step) lists.push([step.observe]);
  if ('forEach' in step && step.forEach.batch?.gate !== undefined) lists.push([step.forEach.batch.gate]);
  if ('try' in step) {
    lists.push(step.try, step.finally ?? []);
    for (const clause of step.catch ?? []) lists.push(clause.do ?? []);
  }
  const inner = 'run' in step ? ir.flows[step.run] : undefined;
  return [...lists.map((steps) => ({ steps, ir })), ...(inner === undefined ? [] : listsOf(inner))];
}

export function listsOf(ir: CompiledFlow): { steps: readonly Step[]; ir: CompiledFlow }[] {
  const { flow } = ir;
  const catches = (flow.catch ?? []).map((clause) => clause.do ?? []);
  return [flow.do, flow.finally ?? [], ...catches].map((steps) => ({ steps, ir }));
}

/** Step ids of an instance path: `each[m-17]/work~2/drain` → each, work, drain. */
export function idsOf(path: string): string[] {
  return path.split('/').map((part) => part.replace(/[[~].*$/, ''));
}

/** The step that an instance path names, whichever item, turn or attempt. */
export function findStep(ir: CompiledFlow, path: string): Step | undefined {
  return find(ir, path)?.step;
}

/** The sub-flow that the `run` step at an instance path runs. */
export function flowAt(ir: CompiledFlow, path: string): CompiledFlow | undefined {
  const found = find(ir, path);
  return found !== undefined && 'run' in found.step ? found.ir.flows[found.step.run] : undefined;
}

function find(ir: CompiledFlow, path: string): { step: Step; ir: CompiledFlow } | undefined {
  if (path.endsWith('~undo')) return undefined;
  let lists = listsOf(ir);
  let found: { step: Step; ir: CompiledFlow } | undefined;
  for (const id of idsOf(path)) {
    found = undefined;
    for (const list of lists) {
      const step = list.steps.find((s) => s.id === id);
      if (step === undefined) continue;
      found = { step, ir: list.ir };
      break;
    }
    if (found === undefined) return undefined;
    lists = stepsIn(found.step, found.ir);
  }
  return found;
}
