import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, startEmbeddedPostgres } from '@opsloop/embedded';

export interface RunningPostgres {
  /** Of the maintenance database `postgres`. */
  url: string;
  stop(): Promise<void>;
}

/** Durability costs test time and proves nothing here: the fault tests that kill PostgreSQL start their own. */
const SETTINGS = {
  fsync: 'off',
  full_page_writes: 'off',
  max_connections: '300',
  shared_buffers: '64MB',
  log_min_messages: 'fatal',
};

/** Starts a PostgreSQL of its own on a free port, data in the system's temporary directory. */
export async function startPostgres(): Promise<RunningPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'opsloop-pg-'));
  // As root, PostgreSQL runs as another user, who must reach its directory.
  await chmod(dataDir, 0o711);
  const server = await startEmbeddedPostgres({
    dataDir,
    port: await freePort(),
    log: () => undefined,
    settings: SETTINGS,
  });
  return {
    url: server.url.replace(/\/opsloop$/, '/postgres'),
    stop: async () => {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
