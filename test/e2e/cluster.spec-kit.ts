/** The five apps as processes of their own, several of each, behind the gateway whose configuration we ship. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { eventually, freePort } from '@opsloop/testing';
import { childEnvironment, QUICK_KAFKA } from '../faults/config.js';

export const APPS = ['event-ingest', 'decision', 'control', 'service-catalog', 'dsl-interpreter'] as const;
export type App = (typeof APPS)[number];

const ROOT = new URL('../../', import.meta.url);
const KEY = 'admin-key-of-the-cluster-specs-0123456789';
const URL_VARIABLES: Partial<Record<App, string>> = {
  'event-ingest': 'OPSLOOP_INGEST_URL',
  decision: 'OPSLOOP_DECISION_URL',
  control: 'OPSLOOP_CONTROL_URL',
  'service-catalog': 'OPSLOOP_CATALOG_URL',
};

/** One process of an app, on a port of its own. */
export class Replica {
  private child: ChildProcess | undefined;
  private log = '';

  constructor(
    readonly app: App,
    readonly port: number,
    private readonly env: Record<string, string>,
  ) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  start(): void {
    const main = fileURLToPath(new URL(`apps/${this.app}/dist/main.js`, ROOT));
    if (!existsSync(main)) throw new Error(`apps/${this.app} is not built: tsc -b apps/${this.app}`);
    const env = childEnvironment({ ...this.env, OPSLOOP_PORT: String(this.port), OPSLOOP_PUBLIC_URL: this.url });
    const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr!.on('data', (chunk: Buffer) => (this.log = (this.log + chunk.toString()).slice(-50_000)));
    this.child = child;
    child.once('exit', () => {
      if (this.child === child) this.child = undefined;
    });
  }

  /** Throws what is missing. */
  async ready(): Promise<void> {
    const answer = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(3_000) }).catch(
      (error: Error) => error,
    );
    if (answer instanceof Error || answer.status !== 200)
      throw new Error(`not ready: ${answer instanceof Error ? answer.message : await answer.text()}\n${this.tail()}`);
  }

  /** Whether it has started as far as answering. */
  async answers(): Promise<boolean> {
    const answer = await fetch(`${this.url}/healthz`, { signal: AbortSignal.timeout(1_000) }).catch(() => undefined);
    return answer?.status === 200;
  }

  /** Memory of the process. */
  rssMb(): number {
    return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(this.child!.pid)])) / 1_024;
  }

  drop(): void {
    this.child?.kill('SIGKILL');
  }

  /** How it ended: the exit code or the signal. */
  async end(signal: NodeJS.Signals): Promise<string> {
    const child = this.child;
    if (child === undefined) return 'already';
    const exit = once(child, 'exit');
    child.kill(signal);
    const [code, by] = (await exit) as [number | null, NodeJS.Signals | null];
    return String(by ?? code);
  }

  tail(lines = 15): string {
    return `${this.app}:\n${this.log.split('\n').slice(-lines).join('\n')}`;
  }
}

export interface ClusterOptions {
  databaseUrl: string;
  temporal: { address: string; namespace: string };
  /** Absent: PostgreSQL is the carrier. */
  kafka?: { brokers: string; prefix: string };
  env?: Record<string, string>;
  /** Processes of each app. Default 2; of those that are not named here none, when any is. */
  replicas?: Partial<Record<App, number>>;
}

export class Cluster {
  private readonly servers: Server[] = [];
  readonly key = KEY;
  url = '';

  /** A run that is ended the hard way must not leave processes behind. */
  private readonly onExit = (): void => this.replicas.forEach((replica) => replica.drop());

  private constructor(readonly replicas: Replica[]) {
    process.once('exit', this.onExit);
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const { replicas } = options;
    const count = (app: App): number => (replicas === undefined ? 2 : (replicas[app] ?? 0));
    const ports = await Promise.all(
      APPS.flatMap((app) => Array.from({ length: count(app) }, async () => ({ app, port: await freePort() }))),
    );
    const env: Record<string, string> = {
      OPSLOOP_ADMIN_KEY: KEY,
      OPSLOOP_SERVICE_TOKEN: 'service-token-of-the-cluster-specs-0123456',
      OPSLOOP_SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
      OPSLOOP_HTTP_ALLOW: '127.0.0.0/8',
      OPSLOOP_RESYNC: '1s',
      // Many starts of one rule within a minute are what these specs are about.
      OPSLOOP_BRAKE: 'off',
      OPSLOOP_LOG_LEVEL: 'warn',
      DATABASE_URL: options.databaseUrl,
      TEMPORAL_ADDRESS: options.temporal.address,
      TEMPORAL_NAMESPACE: options.temporal.namespace,
      ...(options.kafka === undefined
        ? {}
        : { KAFKA_BROKERS: options.kafka.brokers, KAFKA_TOPIC_PREFIX: options.kafka.prefix, ...QUICK_KAFKA }),
      ...options.env,
    };
    const cluster = new Cluster([]);
    const of = (app: string): Replica[] => cluster.replicas.filter((replica) => replica.app === app);
    for (const [app, name] of Object.entries(URL_VARIABLES)) env[name] = await cluster.listen(() => of(app));
    for (const { app, port } of ports) cluster.replicas.push(new Replica(app, port, env));
    const locations = shippedLocations();
    cluster.url = await cluster.listen((path) => of(locations.find(({ match }) => match.test(path))?.app ?? ''));
    for (const replica of cluster.replicas) replica.start();
    await cluster.allReady();
    return cluster;
  }

  of(app: App): Replica[] {
    return this.replicas.filter((replica) => replica.app === app);
  }

  async allReady(timeoutMs = 300_000): Promise<void> {
    for (const replica of this.replicas) {
      await eventually(() => replica.ready(), { timeoutMs, everyMs: 100 });
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.end('SIGKILL')));
    process.off('exit', this.onExit);
    for (const server of this.servers) {
      server.closeAllConnections();
      server.close();
    }
  }

  /** An origin that hands each request to one of the replicas that `choose` names, and to the next when that is away. */
  private async listen(choose: (path: string) => Replica[]): Promise<string> {
    let turn = 0;
    const server = createServer((req, res) => {
      const targets = choose((req.url ?? '').split('?', 1)[0]!);
      turn += 1;
      const order = targets.map((_, i) => targets[(turn + i) % targets.length]!);
      void bodyOf(req).then((body) => forward(req, res, body, order));
    });
    this.servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
}

/** The routes of the shipped gateway, in order. */
export function shippedLocations(): { match: RegExp; app: string }[] {
  const text = readFileSync(new URL('docker/gateway.conf', ROOT), 'utf8');
  return [...text.matchAll(/location ~ (\S+) \{ proxy_pass \$(\w+); \}/g)].map(([, match, app]) => ({
    match: new RegExp(match!),
    app: app!.replaceAll('_', '-'),
  }));
}

async function bodyOf(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function forward(req: IncomingMessage, res: ServerResponse, body: Buffer, targets: readonly Replica[]): void {
  const [target, ...others] = targets;
  if (target === undefined) return void res.writeHead(502).end('{}');
  const out = request(`${target.url}${req.url}`, { method: req.method, headers: req.headers }, (answer) => {
    res.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.on('error', () => res.destroy());
    answer.pipe(res);
  });
  out.on('error', (error: NodeJS.ErrnoException) => {
    if (res.headersSent) res.destroy();
    // Only what cannot have arrived may be sent again.
    else if (error.code === 'ECONNREFUSED') forward(req, res, body, others);
    else res.writeHead(502).end('{}');
  });
  out.end(body);
}
