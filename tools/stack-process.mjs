// Starts the platform as a child process, on a data directory of its own that is removed at the end.
import { fork } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './bootstrap.mjs';

/** A cold start fetches the Temporal server (45 MB); a warm one takes 5–8 s. */
const READY_MS = 240_000;
const PREFERRED_PORT = 7300;

/** `keepLines`: how much of the log is kept in memory. */
export async function startStackProcess({
  say = () => undefined,
  env = {},
  firstPort = PREFERRED_PORT,
  keepLines = 200,
} = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), 'opsloop-stack-'));
  chmodSync(dataDir, 0o711);
  const port = await freePortFrom(firstPort);
  const child = fork(join(root, 'apps/stack/dist/main.js'), ['--port', String(port), '--data-dir', dataDir], {
    cwd: dataDir,
    // Not the caller's: a test runner resolves modules by conditions of its own.
    execArgv: [],
    // A group of its own: Ctrl-C reaches the demo alone, which then stops the stack in order.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // Servers of its own, whatever the caller's shell points at.
    env: { ...process.env, DATABASE_URL: undefined, TEMPORAL_ADDRESS: undefined, ...env },
  });
  const lines = [];
  const keep = (chunk) => {
    for (const line of chunk.toString().split('\n').filter(Boolean)) {
      lines.push(line);
      if (lines.length > keepLines) lines.shift();
      if (line.startsWith('opsloop: ')) say(line.slice('opsloop: '.length));
    }
  };
  child.stderr.on('data', keep);
  let urls = '';
  child.stdout.on('data', (chunk) => (urls += chunk));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not ready within ${READY_MS / 1000} s`)), READY_MS);
    child.once('message', () => {
      clearTimeout(timer);
      resolve();
    });
    void exited.then((code) => {
      clearTimeout(timer);
      reject(new Error(`the platform ended with ${code}:\n${lines.slice(-15).join('\n')}`));
    });
  });
  const stop = async () => {
    child.kill('SIGTERM');
    const forced = setTimeout(() => child.kill('SIGKILL'), 40_000);
    await exited;
    clearTimeout(forced);
    rmSync(dataDir, { recursive: true, force: true });
  };
  const temporalUrl = /Temporal Web UI\s+(\S+)/.exec(urls)?.[1];
  return {
    url: `http://127.0.0.1:${port}`,
    temporalUrl,
    temporalAddress: `127.0.0.1:${port + 1}`,
    pid: child.pid,
    key: readFileSync(join(dataDir, 'admin.key'), 'utf8').trim(),
    dataDir,
    log: lines,
    stop,
  };
}

/** The platform takes four ports in a row; one that is still starting has some of them already. */
async function freePortFrom(first) {
  for (let port = first; port < first + 100; port += 10) {
    const busy = await Promise.all([0, 1, 2, 3].map((i) => isBusy(port + i)));
    if (!busy.includes(true)) return port;
  }
  throw new Error(`no free port from ${first} on`);
}

function isBusy(port) {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
