/**
 * Bundles workflow code in a process of its own: webpack leaves 150 MB behind, which a worker would keep for as long as
 * it lives. `<file to write>` and the options as JSON are the arguments; what went wrong is said on stderr.
 */
import { writeFile } from 'node:fs/promises';
import { bundleWorkflowCode, type BundleOptions } from '@temporalio/worker';

const [file, given] = process.argv.slice(2) as [string, string];
const { workflowsPath, preloadModules, conditionNames } = JSON.parse(given) as {
  workflowsPath: string;
  preloadModules: string[];
  conditionNames?: string[];
};
const said: string[] = [];
const nothing = (): void => undefined;
/** webpack's statistics are of no use to an operator; its errors are what the parent tells. */
const logger: NonNullable<BundleOptions['logger']> = {
  log: nothing,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: (message) => void said.push(message.slice(0, 2_000)),
};
try {
  const { code } = await bundleWorkflowCode({
    workflowsPath,
    preloadModules,
    logger,
    webpackConfigHook: (config) => ({
      ...config,
      resolve: { ...config.resolve, ...(conditionNames === undefined ? {} : { conditionNames }) },
    }),
  });
  await writeFile(file, code);
} catch (error) {
  process.stderr.write(said.join('; ') || String(error));
  process.exitCode = 1;
}
