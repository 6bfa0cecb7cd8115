import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { DEFAULT_PORT, ROOT } from '../config.js';
import { contextOf } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import type { Streams } from '../output.js';

export function registerStack(program: Command, streams: Streams): void {
  program
    .command('up')
    .description('start the whole platform on this machine, in the foreground')
    .option('--port <port>', `port of the API (${DEFAULT_PORT}); Temporal and PostgreSQL take the next ones`)
    .option('--data-dir <folder>', 'where everything is kept (.opsloop)')
    .option('--no-ui', 'without Temporal Web UI')
    .action((options: { port?: string; dataDir?: string; ui: boolean }) => {
      const args = [
        ...(options.port === undefined ? [] : ['--port', options.port]),
        ...(options.dataDir === undefined ? [] : ['--data-dir', options.dataDir]),
        ...(options.ui ? [] : ['--no-ui']),
      ];
      return foreground(join(ROOT, 'apps/stack/dist/main.js'), args, streams);
    });
  program
    .command('demo')
    .description('start everything and heal a real incident on real processes')
    .option('--exit', 'stop at the end, with 0 when all went as it should')
    .action((options: { exit?: boolean }, command: Command) => {
      contextOf(command, streams).out.note('the demo plays about a minute');
      return foreground(join(ROOT, 'tools/demo.mjs'), options.exit === true ? ['--exit'] : [], streams);
    });
}

/** Runs a program of this checkout in the foreground; signals go to it, its exit code is ours. */
async function foreground(file: string, args: string[], streams: Streams): Promise<void> {
  if (!existsSync(file)) throw new CliError(`${file} is missing; run "npm run build" in ${ROOT}`, EXIT.failed);
  const child = spawn(process.execPath, [file, ...args], { stdio: 'inherit', cwd: streams.cwd });
  // Ctrl-C reaches the whole group by itself; here it only must not end us before the child has drained.
  const forward = (signal: NodeJS.Signals): void => void (signal === 'SIGTERM' && child.kill(signal));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, forward);
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (exit, signal) => resolve(signal === null ? (exit ?? 1) : 1));
  });
  // What went wrong stands on the terminal already.
  if (code !== 0) process.exit(code);
}
