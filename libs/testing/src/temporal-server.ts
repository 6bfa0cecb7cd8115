import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findTemporalBinary, freePort, startEmbeddedTemporal, type Log } from '@opsloop/embedded';
import { cacheDir } from './config.js';

export interface RunningTemporal {
  address: string;
  namespace: string;
  uiUrl?: string;
  stop(): Promise<void>;
}

const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** The server that the product itself starts, found in the same way, on a free port and without the Web UI. */
export async function startTemporal(): Promise<RunningTemporal> {
  const { path: binary } = await findTemporalBinary(silent, cacheDir());
  const dataDir = await mkdtemp(join(tmpdir(), 'opsloop-temporal-'));
  const server = await startEmbeddedTemporal({ binary, dataDir, port: await freePort(), log: silent });
  // A run that is ended the hard way must not leave a server behind.
  const onExit = (): void => {
    try {
      process.kill(server.pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
  };
  process.once('exit', onExit);
  return {
    address: server.address,
    namespace: server.namespace,
    stop: async () => {
      process.off('exit', onExit);
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
