/** The process behind `opsloop up`. Progress goes to stderr, the URLs to stdout when everything is ready. */
import { readEnvironment, upOptions, UsageError } from './config.js';
import { startStack } from './up.js';

/** A drain that takes longer than this is stuck; the second Ctrl-C ends it at once. */
const DRAIN_MS = 30_000;

const say = (line: string): void => void process.stderr.write(`opsloop: ${line}\n`);

async function main(): Promise<void> {
  const options = upOptions(process.argv.slice(2), readEnvironment());
  const stack = await startStack(options, {
    progress: say,
    lost: (what) => {
      say(`${what} ended unexpectedly; stopping. Start again with the same command, nothing is lost`);
      void end(1);
    },
  });
  let ending = false;
  const end = async (code: number): Promise<void> => {
    if (ending) process.exit(130);
    ending = true;
    say('draining; press Ctrl-C again to stop at once');
    setTimeout(() => process.exit(1), DRAIN_MS).unref();
    await stack.stop();
    say('stopped');
    process.exit(code);
  };
  process.on('SIGINT', () => void end(0));
  process.on('SIGTERM', () => void end(0));
  process.stdout.write(
    [
      `opsloop is ready   ${stack.url}`,
      `  API pages        ${stack.url}/docs`,
      ...(stack.temporalUrl === undefined ? [] : [`  Temporal Web UI  ${stack.temporalUrl}`]),
      `  admin key        ${stack.adminKeyFile}`,
      `  data             ${stack.dataDir}`,
      'Next: opsloop init my-ops && cd my-ops && opsloop apply -f .',
      '',
    ].join('\n'),
  );
  // A parent that waits for readiness reads one line instead of polling.
  process.send?.({ ready: true, url: stack.url });
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  process.exit(error instanceof UsageError ? 2 : 1);
});
