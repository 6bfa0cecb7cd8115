// The same rules and events with ansible-rulebook, where it is installed: a source that puts all events at once, rules
// with the action `none`, and one last event whose rule says that all others are through.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { onPath, say } from './stats.mjs';

/** About three seconds of its work with ten matches. */
const EVENTS = 2_000;
/** Loading 1,000 rules takes it half a minute on two idle cores. */
const DEADLINE_MS = 300_000;

export async function compareWithRulebook({ ours, size, matching }) {
  const program = process.env.ANSIBLE_RULEBOOK ?? onPath('ansible-rulebook');
  const version =
    program === undefined
      ? undefined
      : spawnSync(program, ['--version'], { encoding: 'utf8', env: environment(program) });
  if (version?.status !== 0) {
    say(
      'decide',
      'ansible-rulebook',
      `NOT MEASURED: pip install ansible-rulebook ansible-core, with Java 17, and put it on the PATH ${version?.stderr?.trim().split('\n').at(-1) ?? ''}`,
    );
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'opsloop-rulebook-'));
  try {
    writeFiles(folder, size, matching);
    const { loadMs, ms } = await play(program, folder);
    const theirs = (EVENTS / ms) * 1_000;
    const name = version.stdout.split('\n', 1)[0].trim();
    say(
      'decide',
      `ansible-rulebook ${name}`,
      `${theirs.toFixed(0)} events/s, ${(loadMs / 1_000).toFixed(1)} s to load ${size} rules`,
    );
    say('decide', 'ours / ansible-rulebook (goal ≥ 5)', (ours / theirs).toFixed(1));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** It looks for `ansible-galaxy` on the PATH, which stands beside it. */
function environment(program) {
  return { ...process.env, PATH: `${dirname(program)}${delimiter}${process.env.PATH}` };
}

function writeFiles(folder, size, matching) {
  const rules = Array.from({ length: size }, (_, i) => ({
    name: `r${i}`,
    condition: `event.type == "bench.state" and event.data.service == "s${Math.floor(i / matching)}" and event.data.state == "down" and event.data.load >= ${i % matching}`,
    action: { none: {} },
  }));
  rules.push({ name: 'last', condition: 'event.last is defined', action: { debug: { msg: 'ALL-THROUGH' } } });
  const services = size / matching;
  writeFileSync(
    join(folder, 'rulebook.yml'),
    // JSON is YAML; match_multiple_rules lets an event meet more than one rule, as here.
    JSON.stringify([
      {
        name: 'bench',
        hosts: 'all',
        match_multiple_rules: true,
        sources: [{ name: 'burst', burst: { count: EVENTS, services, load: matching } }],
        rules,
      },
    ]),
  );
  writeFileSync(join(folder, 'inventory.yml'), 'all:\n  hosts:\n    localhost:\n');
  writeFileSync(join(folder, 'burst.py'), SOURCE);
}

const SOURCE = `
import asyncio

async def main(queue, args):
    await asyncio.sleep(1)
    print("FIRST-EVENT", flush=True)
    for i in range(args["count"]):
        s = i % int(args["services"])
        await queue.put({"type": "bench.state", "subject": f"host/dc1/h{s}", "id": str(i),
            "data": {"service": f"s{s}", "state": "down", "load": args["load"]}})
    await queue.put({"last": True})
    await asyncio.sleep(3600)
`;

function play(program, folder) {
  const began = performance.now();
  const child = spawn(program, ['--rulebook', 'rulebook.yml', '-i', 'inventory.yml', '-S', '.'], {
    cwd: folder,
    env: environment(program),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return new Promise((resolve, reject) => {
    let text = '';
    let first;
    const timer = setTimeout(
      () => end(new Error(`ansible-rulebook took longer than ${DEADLINE_MS / 1_000} s:\n${text.slice(-2_000)}`)),
      DEADLINE_MS,
    );
    const end = (error, value) => {
      clearTimeout(timer);
      child.kill('SIGTERM');
      if (error === undefined) resolve(value);
      else reject(error);
    };
    const hear = (chunk) => {
      text = `${text}${chunk}`.slice(-20_000);
      if (first === undefined && text.includes('FIRST-EVENT')) first = performance.now();
      if (text.includes('ALL-THROUGH')) end(undefined, { loadMs: first - began, ms: performance.now() - first });
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.once('error', end);
    child.once('exit', (code) => end(new Error(`ansible-rulebook ended with ${code}:\n${text.slice(-2_000)}`)));
  });
}
