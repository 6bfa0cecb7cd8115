import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setBrokerUrl, setRunFolder, shareCompiledCode } from './config.js';
import { KafkaBroker } from './kafka-server.js';
import { type RunningPostgres, startPostgres } from './postgres-server.js';
import { type RunningTemporal, startTemporal } from './temporal-server.js';

/** Real servers, each started at the first request of any spec and stopped at the end of the run. */
class Servers {
  private postgres: Promise<RunningPostgres> | undefined;
  private temporal: Promise<RunningTemporal> | undefined;
  private kafka: Promise<KafkaBroker> | undefined;

  async answer(path: string): Promise<unknown> {
    if (path === '/postgres') return { url: (await (this.postgres ??= startPostgres())).url };
    if (path === '/temporal') {
      const { address, namespace, uiUrl } = await (this.temporal ??= startTemporal());
      return { address, namespace, uiUrl };
    }
    if (path === '/kafka') return { brokers: (await (this.kafka ??= KafkaBroker.start())).brokers };
    throw new Error(`no test server ${path}`);
  }

  async stop(): Promise<void> {
    const stopping = [this.postgres, this.temporal].map(async (server) =>
      (await server?.catch(() => undefined))?.stop(),
    );
    await Promise.all([...stopping, this.kafka?.then((broker) => broker.close()).catch(() => undefined)]);
  }
}

/** vitest's globalSetup: hands out the servers over HTTP, since specs run in forks that come and go. */
export default async function setup(): Promise<() => Promise<void>> {
  shareCompiledCode();
  const servers = new Servers();
  const reply = (res: ServerResponse, status: number, body: unknown): void => {
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const http: Server = createServer((req, res) => {
    servers.answer(req.url ?? '').then(
      (body) => reply(res, 200, body),
      (error: unknown) => reply(res, 500, { error: error instanceof Error ? error.message : String(error) }),
    );
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const folder = await mkdtemp(join(tmpdir(), 'opsloop-specs-'));
  setRunFolder(folder);
  setBrokerUrl(`http://127.0.0.1:${(http.address() as AddressInfo).port}`);

  return async () => {
    http.closeAllConnections();
    http.close();
    await servers.stop();
    await rm(folder, { recursive: true, force: true });
  };
}
