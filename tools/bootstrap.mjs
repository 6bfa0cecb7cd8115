// What every command of a fresh clone needs first: packages, the right Node, compiled code. Built-ins only, since it
// runs before anything is installed.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const bin = join(root, 'node_modules', '.bin');
/** Vitest and the sources need it; the packages bring their own copy, so the host's Node only has to start this file. */
const NODE_MAJOR_MIN = 24;

/** The environment for children: our binaries first, and no Nx daemon that would outlive the command. */
export function childEnv(extra = {}) {
  return {
    ...process.env,
    PATH: `${bin}${delimiter}${process.env.PATH ?? ''}`,
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    ...extra,
  };
}

/** Runs a program with the terminal handed through; ends this process with its code when it fails. */
export function run(command, args, env = {}, output = 'inherit') {
  const stdio = ['inherit', output, 'inherit'];
  const result = spawnSync(command, args, { cwd: root, env: childEnv(env), stdio });
  if (result.error) fail(`could not start ${command}: ${result.error.message}`);
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/** Runs checks of our own packages side by side, prints what each said when it ends, and ends this process when one failed. */
export async function runTogether(commands) {
  const codes = await Promise.all(
    commands.map(async ([command, ...args]) => {
      const child = spawn(join(bin, command), args, { cwd: root, env: childEnv(), stdio: ['ignore', 'pipe', 'pipe'] });
      const said = [];
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => said.push(chunk));
      const code = await new Promise((resolve) => {
        child.once('error', (error) => {
          said.push(Buffer.from(`opsloop: could not start ${command}: ${error.message}\n`));
          resolve(1);
        });
        child.once('close', resolve);
      });
      process.stderr.write(Buffer.concat(said));
      if (code !== 0) process.stderr.write(`opsloop: ${command} ${args.join(' ')} found faults\n`);
      return code;
    }),
  );
  if (codes.some((code) => code !== 0)) process.exit(1);
}

export function fail(message) {
  process.stderr.write(`opsloop: ${message}\n`);
  process.exit(1);
}

function checkHostNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    fail(`Node ${process.versions.node} is too old; install Node 20.19 or newer and run the command again`);
  }
}

/** True when the installed tree is the one of the lock file. */
function isInstalled() {
  const marker = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(marker)) return false;
  const lock = join(root, 'package-lock.json');
  return statSync(marker).mtimeMs >= statSync(lock).mtimeMs || sameLock(marker, lock);
}

/** A checkout changes times without changing content: compare the packages before installing again. */
function sameLock(marker, lock) {
  const installed = JSON.parse(readFileSync(marker, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(lock, 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, pkg]) =>
      !path.startsWith('node_modules/') ||
      pkg.optional ||
      pkg.link ||
      (installed[path] && installed[path].version === pkg.version),
  );
}

export function install() {
  checkHostNode();
  if (isInstalled()) return;
  process.stderr.write('opsloop: installing packages (npm ci, about a minute)\n');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

/** Continues this very command on the Node of the repository when the host's is older. Does not return in that case. */
export function useOwnNode(script) {
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN) return;
  const own = join(bin, 'node');
  if (!existsSync(own))
    fail(`no Node ${NODE_MAJOR_MIN} for this platform came with the packages; install Node ${NODE_MAJOR_MIN}`);
  const result = spawnSync(own, [script, ...process.argv.slice(2)], {
    cwd: process.cwd(),
    env: childEnv(),
    stdio: 'inherit',
  });
  process.exit(result.status ?? 1);
}

/** `tsc -b` is incremental: 0.1 s when nothing changed. */
export function build() {
  run(join(bin, 'tsc'), ['-b']);
}
