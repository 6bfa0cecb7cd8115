// All checks of a flow of 500 steps with references, conditions and inputs, as validate, publish and plan make them.
import { validateDocument } from '@opsloop/dsl';
import { say, spread, summary } from './stats.mjs';

const STEPS = 500;
const REPEATS = 30;

export function benchValidate() {
  const doc = flowOf(STEPS);
  const cold = timed(doc);
  const warm = Array.from({ length: REPEATS }, () => timed(doc));
  say('validate', `${STEPS} steps`, `first ${cold.toFixed(0)} ms, then ${spread(summary(warm))}`);
}

function timed(doc) {
  const start = performance.now();
  const { findings } = validateDocument('flow', doc);
  const took = performance.now() - start;
  if (findings.length > 0) throw new Error(`the flow is to have no findings: ${JSON.stringify(findings[0])}`);
  return took;
}

/** A read, a computation, a conditional change that reads the read, and a guarded call, over and over. */
function flowOf(steps) {
  const make = [
    (i) => ({ id: `s${i}`, call: 'probe.http@1', with: { url: 'http://${input.host}/', timeout: '5s' } }),
    (i) => ({ id: `s${i}`, set: { n: { $logic: { '+': [{ var: 'vars.n' }, 1] } } } }),
    (i) => ({
      id: `s${i}`,
      if: `steps.s${i - 2}.output.state == 'down' and vars.n > 3`,
      call: 'script.run@1',
      with: { argv: ['restart', '${input.host}'] },
    }),
    (i) => ({ id: `s${i}`, emit: { type: 'fleet.seen', data: { state: `\${steps.s${i - 3}.output.state}` } } }),
  ];
  return {
    ...{ dsl: 'opsloop/v1', kind: 'flow', name: 'bench/long', version: '1.0.0', vars: { n: 0 } },
    input: { schema: { type: 'object', required: ['host'], properties: { host: { type: 'string' } } } },
    do: Array.from({ length: steps }, (_, i) => make[i % make.length](i)),
  };
}
