// All checks of a flow of 500 steps with references, conditions and inputs, as validate, publish and plan make them: the
// first one of fresh processes, warm ones, and the whole command with the start of Node in it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { say, spread, summary } from './stats.mjs';

const STEPS = 500;
const PROCESSES = 10;
const REPEATS = 30;
const CHECK = fileURLToPath(new URL('validate.process.mjs', import.meta.url));
const COMMAND = fileURLToPath(new URL('../../apps/cli/bin/opsloop.mjs', import.meta.url));

export function benchValidate() {
  const folder = mkdtempSync(join(tmpdir(), 'opsloop-bench-'));
  try {
    const file = join(folder, 'long.flow.json');
    writeFileSync(file, JSON.stringify(flowOf(STEPS), null, 2));
    const fresh = Array.from({ length: PROCESSES }, () => JSON.parse(node(CHECK, file, String(REPEATS))));
    const command = Array.from({ length: PROCESSES }, () => {
      const start = performance.now();
      node(COMMAND, 'validate', file);
      return performance.now() - start;
    });
    const told = (what, values) => say('validate', `${STEPS} steps, ${what}`, spread(summary(values)));
    told(
      'first check of a process (goal 200)',
      fresh.map(({ first }) => first),
    );
    told(
      'checks after it',
      fresh.flatMap(({ warm }) => warm),
    );
    told(
      'loading the modules',
      fresh.map(({ loaded }) => loaded),
    );
    told('the whole command', command);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const node = (...argv) => execFileSync(process.execPath, argv, { encoding: 'utf8' });

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
