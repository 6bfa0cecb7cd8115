/** The five apps, behind whatever servers there are. Loading this loads all of their code. */
import 'reflect-metadata';
import { connectBus } from '@opsloop/bus';
import { createHttpApp } from '@opsloop/platform';
import { stackModule, type StackConfig } from './compose.js';
import type { Part } from './up.js';

export { temporalConfigFromEnv } from '@opsloop/temporal';

export async function startApps(config: StackConfig, parts: Part[]): Promise<void> {
  const app = await createHttpApp(stackModule(config), { title: 'opsloop', shutdownHooks: false });
  parts.push({ name: 'apps', stop: () => app.close() });
  await app.listen(config.platform.port, config.platform.host);
  // Only now: handlers call other apps over HTTP.
  await connectBus(app);
}
