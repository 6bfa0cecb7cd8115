// Starts one platform and runs the benches against it. Every figure is compared with something measured in the same run.
import { cpus, loadavg, totalmem } from 'node:os';
import { Api } from '../../tools/api.mjs';
import { startStackProcess } from '../../tools/stack-process.mjs';
import { benchDecide } from './decide.bench.mjs';
import { benchControl } from './control.bench.mjs';
import { benchEvents } from './events.bench.mjs';
import { benchFlow } from './flow.bench.mjs';
import { benchLock } from './lock.bench.mjs';
import { benchStart } from './start.bench.mjs';
import { benchValidate } from './validate.bench.mjs';

const BENCHES = {
  flow: benchFlow,
  start: benchStart,
  lock: benchLock,
  control: benchControl,
  validate: benchValidate,
  decide: benchDecide,
  events: benchEvents,
};

export async function runBenches(names) {
  const unknown = names.filter((n) => !Object.hasOwn(BENCHES, n));
  if (unknown.length > 0) {
    process.stderr.write(`no bench ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}\n`);
    process.exit(2);
  }
  process.stdout.write(
    `${cpus().length} × ${cpus()[0]?.model ?? 'cpu'}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Node ${process.versions.node}, load ${loadavg()[0].toFixed(1)} before\n`,
  );
  const stack = await startStackProcess({
    say: (line) => process.stderr.write(`${line}\n`),
    // What a bench starts in a minute is what the brake is there to stop.
    env: { OPSLOOP_BRAKE: 'off' },
  });
  try {
    const stage = { stack, api: new Api(stack.url, stack.key) };
    for (const name of names.length > 0 ? names : Object.keys(BENCHES)) await BENCHES[name](stage);
  } finally {
    await stack.stop();
  }
  process.exit(0);
}
