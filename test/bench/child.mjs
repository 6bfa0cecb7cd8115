// Worker processes of a bench, ended with it.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const READY_MS = 60_000;

export async function startWorkerProcess(role, address, namespace = 'default') {
  const child = fork(fileURLToPath(new URL('./worker.process.mjs', import.meta.url)), [role, address, namespace], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  let ready;
  child.stderr.on('data', (chunk) => (said = `${said}${chunk}`.slice(-4_000)));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the ${role} worker was not ready in time:\n${said}`)), READY_MS);
    child.once('message', (message) => {
      clearTimeout(timer);
      resolve((ready = message));
    });
    void exited.then((code) => {
      clearTimeout(timer);
      reject(new Error(`the ${role} worker ended with ${code}:\n${said}`));
    });
  });
  return {
    pid: child.pid,
    ready,
    /** Calls `listener` for every message after the first. */
    listen: (listener) => child.on('message', listener),
    stop: async () => {
      if (child.exitCode === null) child.send('stop');
      await exited;
    },
  };
}
