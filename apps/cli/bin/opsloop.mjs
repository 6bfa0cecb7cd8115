#!/usr/bin/env node
// Runs the CLI from a checkout: on the Node that came with the packages when the host's is older, and built when its
// sources are newer than what was built. Built-ins only, so that it can say what is missing.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync, utimesSync } from 'node:fs';
import module from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 24;
const self = fileURLToPath(import.meta.url);
const root = resolve(dirname(self), '../../..');
const say = (line) => process.stderr.write(`opsloop: ${line}\n`);

/** Hands over to another Node; signals go through, the exit code comes back. */
function runOn(node) {
  const child = spawn(node, [self, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    say(`${node} could not be started: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 1));
}

/** Newest change of a file below a folder. */
function newest(folder) {
  let time = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() && !entry.name.endsWith('.spec.ts'))
      time = Math.max(time, statSync(join(entry.parentPath, entry.name)).mtimeMs);
  }
  return time;
}

/** A project and those that it refers to. */
function projectsOf(folder, seen = new Set()) {
  if (seen.has(folder)) return seen;
  seen.add(folder);
  const { references = [] } = JSON.parse(readFileSync(join(folder, 'tsconfig.json'), 'utf8'));
  for (const { path } of references) projectsOf(resolve(folder, path), seen);
  return seen;
}

function isStale(folder) {
  const info = join(folder, 'dist/tsconfig.tsbuildinfo');
  if (!existsSync(info) || !existsSync(join(folder, 'dist/index.js'))) return true;
  return newest(join(folder, 'src')) > statSync(info).mtimeMs;
}

function build(targets) {
  const stale = [...new Set(targets.flatMap((target) => [...projectsOf(join(root, target))]))].filter(isStale);
  if (stale.length === 0) return;
  say(`building ${targets.join(' and ')} …`);
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [tsc, '-b', ...targets], { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    say('the build failed; the messages above say where');
    process.exit(1);
  }
  // A file that was saved without a change is newer than what was built, and tsc sees no reason to build again.
  const now = new Date();
  for (const folder of stale) utimesSync(join(folder, 'dist/tsconfig.tsbuildinfo'), now, now);
}

const bundled = join(root, 'node_modules/.bin/node');
if (!existsSync(join(root, 'node_modules/typescript'))) {
  say(`the packages are not installed; run "npm ci" in ${root}`);
  process.exit(1);
}
if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) {
  // Only `up` needs the stack; everything else should not wait for it to build.
  build(process.argv.includes('up') ? ['apps/cli', 'apps/stack'] : ['apps/cli']);
  // What one command has compiled the next one reads.
  module.enableCompileCache();
  await import('../dist/main.js');
} else if (existsSync(bundled)) {
  runOn(bundled);
} else {
  say(
    `Node ${NODE_MAJOR} is needed, this is ${process.versions.node}, and no packaged one is there; run "npm ci" in ${root}`,
  );
  process.exit(1);
}
