// Starts one platform and runs the benches against it. Every figure is compared with something measured in the same run.
import { cpus, loadavg, totalmem } from 'node:os';
import { Api } from '../../tools/api.mjs';
import { startStackProcess } from '../../tools/stack-process.mjs';
import { benchDecide } from './decide.bench.mjs';
import { benchControl } from './control.bench.mjs';
import { benchAccept } from './accept.bench.mjs';
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
  accept: benchAccept,
};
/** Start what they need themselves: the platform beside them would only take its share of the machine. */
const ALONE = new Set(['accept', 'validate']);
/** All that is promised of events, in one run. */
const TOGETHER = { events: ['accept', 'decide'] };

export async function runBenches(names) {
  const asked = (names.length > 0 ? names : Object.keys(BENCHES)).flatMap((name) => TOGETHER[name] ?? [name]);
  const unknown = asked.filter((n) => !Object.hasOwn(BENCHES, n));
  if (unknown.length > 0) {
    const known = [...Object.keys(BENCHES), ...Object.keys(TOGETHER)];
    process.stderr.write(`no bench ${unknown.join(', ')}; there are ${known.join(', ')}\n`);
    process.exit(2);
  }
  process.stdout.write(
    `${cpus().length} × ${cpus()[0]?.model ?? 'cpu'}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Node ${process.versions.node}, load ${loadavg()[0].toFixed(1)} before\n`,
  );
  for (const name of asked.filter((one) => ALONE.has(one))) await BENCHES[name]();
  const others = asked.filter((one) => !ALONE.has(one));
  if (others.length > 0) await onOnePlatform(others);
  process.exit(0);
}

async function onOnePlatform(names) {
  const stack = await startStackProcess({
    say: (line) => process.stderr.write(`${line}\n`),
    // What a bench starts in a minute is what the brake is there to stop.
    env: { OPSLOOP_BRAKE: 'off' },
  });
  try {
    const stage = { stack, api: new Api(stack.url, stack.key) };
    for (const name of names) await BENCHES[name](stage);
  } finally {
    await stack.stop();
  }
}
