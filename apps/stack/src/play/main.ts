/**
 * The process behind scenario tests: one line of JSON in, with the tests and their documents; one line out for each
 * test. It has a PostgreSQL of its own and calls nothing else.
 */
import { mkdtempSync, chmodSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { startEmbeddedPostgres } from '@opsloop/embedded';
import type { ScenarioTest } from '@opsloop/flowtest';
import { defaultCacheDir, interpreterSandbox } from '@opsloop/flowtest';
import { readEnvironment } from '../config.js';
import type { PlayedDocument } from './put-documents.js';

interface Work {
  tests: { test: ScenarioTest; documents: PlayedDocument[] }[];
}

async function main(): Promise<void> {
  const work = JSON.parse(await firstLine()) as Work;
  const dataDir = mkdtempSync(join(tmpdir(), 'opsloop-play-'));
  // As root, PostgreSQL runs as another account, which must reach its data.
  chmodSync(dataDir, 0o711);
  const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };
  const postgres = await startEmbeddedPostgres({ dataDir, port: await freePort(), log: () => undefined, settings });
  try {
    const sandbox = await interpreterSandbox(defaultCacheDir(readEnvironment()));
    // Loaded late: from here on the time of this process is the world's.
    const [{ VirtualTime }, { playScenario, START }] = await Promise.all([
      import('./virtual-time.js'),
      import('./play-scenario.js'),
    ]);
    const time = new VirtualTime(Date.parse(START));
    for (const [i, { test, documents }] of work.tests.entries()) {
      const options = { sandbox, time, admin: postgres.url, database: `play_${i}`, port: await freePort() };
      const answer = await playScenario(test, documents, options).then(
        (seen) => ({ seen }),
        (error: unknown) => ({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      );
      process.stdout.write(`${JSON.stringify(answer)}\n`);
    }
  } finally {
    await postgres.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

async function firstLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) return line;
  throw new Error('nothing to play');
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
