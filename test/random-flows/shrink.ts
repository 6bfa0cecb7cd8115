/** Makes a flow that differs small, so that a person can read it. */
import type { FlowDocument, Json } from '@opsloop/contracts';
import type { Sandbox } from '@opsloop/flowtest';
import { type Treatment, type Verdict, compareFlow, worldOf } from './compare.js';
import type { RandomFlow } from './generate.js';

/** A flow of 30 steps is small after some dozen removals. */
const TRIES_MAX = 2_000;
/** A try of a flow of some hundred steps that go on in new runs takes 0.2 s: what is smallest then is small enough. */
const TRIES_MS_MAX = 10_000;

/** Removes steps and keys one by one, as long as the flow still differs. */
export function shrink(sandbox: Sandbox, flow: RandomFlow, seed: number, treatment: Treatment): Verdict {
  const world = worldOf(seed);
  const differs = (one: RandomFlow): Verdict | undefined => {
    try {
      const verdict = compareFlow(sandbox, one, world, seed, treatment);
      return verdict.kind === 'different' ? verdict : undefined;
    } catch {
      // Something that another part needs was taken away.
      return undefined;
    }
  };
  let best = differs(flow)!;
  let tries = 0;
  const until = Date.now() + TRIES_MS_MAX;
  for (let again = true; again;) {
    again = false;
    for (const smaller of smallerOnes(best.flow.flow as unknown as Json)) {
      if ((tries += 1) > TRIES_MAX || Date.now() > until) return best;
      const verdict = differs({ flow: smaller as unknown as FlowDocument, flows: best.flow.flows });
      if (verdict === undefined || verdict.differences[0]?.includes('Error') !== best.differences[0]?.includes('Error'))
        continue;
      best = verdict;
      again = true;
      break;
    }
  }
  return best;
}

const KEPT = new Set([
  'id',
  'dsl',
  'kind',
  'name',
  'version',
  'vars',
  'output',
  'with',
  'call',
  'approvers',
  'title',
  'approval',
  'wait',
  'goal',
  'when',
  'until',
  '$logic',
]);

/** Every copy with one list entry or one member less. */
function* smallerOnes(value: Json): Generator<Json> {
  if (value === null || typeof value !== 'object') return;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) yield value.filter((_, j) => j !== i);
    for (const [i, member] of value.entries())
      for (const less of smallerOnes(member)) yield value.map((one, j) => (j === i ? less : one));
    return;
  }
  for (const key of Object.keys(value)) {
    if (KEPT.has(key)) continue;
    if (
      [
        'if',
        'timeout',
        'retry',
        'compensate',
        'finally',
        'catch',
        'tolerate',
        'batch',
        'collect',
        'every',
        'limit',
        'join',
        'onError',
        'needs',
        'onItemError',
      ].includes(key)
    ) {
      const { [key]: _gone, ...rest } = value;
      yield rest;
    }
    if (key !== 'if') for (const less of smallerOnes(value[key]!)) yield { ...value, [key]: less };
  }
}
