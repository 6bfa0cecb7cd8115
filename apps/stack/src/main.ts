/** The process behind `opsloop up`. Progress goes to stderr, the URLs to stdout when everything is ready. */
import nodeModule from 'node:module';
import { join } from 'node:path';
import { OpsError } from '@opsloop/contracts';
import { defaultCacheDir } from '@opsloop/embedded';
import { readEnvironment, upOptions, UsageError } from './config.js';

/** A drain that takes longer than this is stuck; the second Ctrl-C ends it at once. */
const DRAIN_MS = 30_000;

const say = (line: string): void => void process.stderr.write(`opsloop: ${line}\n`);

async function main(): Promise<void> {
  const options = upOptions(process.argv.slice(2), readEnvironment());
  // What a start has compiled, the next one reads.
  nodeModule.enableCompileCache(join(defaultCacheDir(options.env), 'compiled'));
  // Loaded after the arguments are known to be right: a typing error need not wait for what comes now.
  const { startStack } = await import('./up.js');
  let lost = false;
  const starting = startStack(options, {
    progress: say,
    lost: (what) => {
      say(`${what} ended unexpectedly; stopping. Start again with the same command, nothing is lost`);
      lost = true;
      void end(1);
    },
  });
  let ending = false;
  const end = async (code: number): Promise<void> => {
    if (ending) process.exit(130);
    ending = true;
    if (!lost) say('draining; press Ctrl-C again to stop at once');
    setTimeout(() => process.exit(1), DRAIN_MS).unref();
    // Also in the middle of a start: what it has started by then must not stay behind.
    await (await starting).stop();
    say('stopped');
    process.exit(code);
  };
  process.on('SIGINT', () => void end(0));
  process.on('SIGTERM', () => void end(0));
  const stack = await starting;
  if (ending) return;
  // As the person called us: through npx the command is not on PATH.
  const cli = options.env['npm_command'] === 'exec' ? 'npx opsloop' : 'opsloop';
  process.stdout.write(
    [
      `opsloop is ready   ${stack.url}`,
      `  API pages        ${stack.url}/docs`,
      ...(stack.temporalUrl === undefined ? [] : [`  Temporal Web UI  ${stack.temporalUrl}`]),
      `  admin key        ${stack.adminKeyFile}`,
      `  data             ${stack.dataDir}`,
      `Next, in another terminal: ${cli} init my-ops && cd my-ops`,
      `  node service.mjs & ${cli} apply -f . --publish`,
      '',
    ].join('\n'),
  );
  // A parent that waits for readiness reads one line instead of polling.
  process.send?.({ ready: true, url: stack.url });
}

main().catch((error: unknown) => {
  say(error instanceof OpsError ? error.detail : error instanceof Error ? error.message : String(error));
  process.exit(error instanceof UsageError ? 2 : 1);
});
