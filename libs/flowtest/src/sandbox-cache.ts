import { interpreterPreload, interpreterWorkflows, workflowBundle } from '@opsloop/temporal';
import { Sandbox } from './virtual/sandbox.js';

const silent = (): void => undefined;

/** The interpreter of this checkout, bundled once per content and loaded once per process. */
export async function interpreterSandbox(cacheDir: string): Promise<Sandbox> {
  const { codePath } = await workflowBundle({
    workflowsPath: interpreterWorkflows(),
    preload: [interpreterPreload()],
    cacheDir,
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
  return Sandbox.load(codePath);
}
