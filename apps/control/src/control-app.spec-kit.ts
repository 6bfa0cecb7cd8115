/** A real control on a real database and a real Temporal, for specs; its peers are a small HTTP server. */
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { BusModule, busMigrations, connectBus } from '@opsloop/bus';
import {
  type ApprovalReport,
  type AtomDocument,
  type Claim,
  type CompiledOffering,
  type Effect,
  type FlowDocument,
  type InternalCalls,
  type ResourceView,
  type JsonObject,
  pathsOverlap,
  type RuleReach,
  type RunsMessage,
  type ScheduleDocument,
  type StartRequest,
  TEMPORAL_NAMES,
} from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { compileFlow } from '@opsloop/dsl';
import { createHttpApp, InternalClient, PlatformModule } from '@opsloop/platform';
import { connectDatabase, Database, PostgresModule } from '@opsloop/postgres';
import { createFlowWorker, TemporalConnection, TemporalModule } from '@opsloop/temporal';
import {
  cacheDir,
  createTestDatabase,
  createTestNamespace,
  freePort,
  type HttpTarget,
  startHttpTarget,
} from '@opsloop/testing';
import { ApplicationFailure } from '@temporalio/common';
import type { ControlConfig } from './config.js';
import { ControlModule, controlMigrations } from './index.js';

export const ADMIN = 'ops_spec_admin-key-of-this-spec';
export const SERVICE = 'ops_spec_service-key-of-this-spec';
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

const INPUT = { type: 'object', required: ['host'], properties: { host: { type: 'string' } } };
const flow = (name: string, wait: string): FlowDocument => ({
  dsl: 'opsloop/v1',
  kind: 'flow',
  name,
  version: '1.0.0',
  input: { schema: INPUT },
  targets: '${input.host}',
  do: [
    { id: 'pause', wait: { for: wait } },
    { id: 'note', set: { done: '${input.host}' } },
  ],
  output: { host: '${input.host}' },
});

/** `demo/quick` ends at once, `demo/slow` has to be ended. */
export const FLOWS: Record<string, FlowDocument> = Object.fromEntries(
  [flow('demo/quick', '10ms'), flow('demo/slow', '10m')].map((f) => [f.name, f]),
);

/** Of flows that do more than change something. */
export const EFFECTS: Record<string, Effect> = {};

/** Atoms that flows of a spec call. */
export const ATOMS: Record<string, AtomDocument> = {};

/** `demo/waits` ends with the event about its host; `demo/sleeps` is long enough asleep to show it; `demo/asks` asks two of a group, `demo/form` anybody with a form. */
const waitFor = (name: string, steps: FlowDocument['do'], output: FlowDocument['output']): void => {
  FLOWS[name] = { ...flow(name, '1ms'), do: steps, output: output! };
};
waitFor(
  'demo/waits',
  [{ id: 'up', waitForEvent: { one: { type: 'host.up', correlate: { host: '${input.host}' } }, timeout: '1m' } }],
  { event: '${steps.up.output}' },
);
waitFor('demo/sleeps', [{ id: 'pause', wait: { for: '1h' } }], null);
const approvers = { groups: ['sre'], users: ['zoe'], min: 2, excludeInitiator: true };
waitFor('demo/asks', [{ id: 'ok', approval: { title: 'Work on ${input.host}?', approvers, timeout: '5m' } }], {
  by: '${steps.ok.output.by}',
});
const form = {
  type: 'object',
  required: ['window'],
  additionalProperties: false,
  properties: { window: { type: 'string', enum: ['now', 'tonight'] }, wait: { type: 'integer', default: 5 } },
};
waitFor(
  'demo/form',
  [{ id: 'ok', approval: { title: 'When?', approvers: {}, form, timeout: '5m' } }],
  '${steps.ok.output.form}',
);

/** The token of one of PEOPLE. */
export const tokenOf = (name: string): string => `ops_${name.padEnd(8, '0')}_${'x'.repeat(43)}`;
const PEOPLE: Record<string, string[]> = { anna: ['sre'], bob: ['sre'], cy: ['sre'], zoe: [], eve: ['dev'] };
function principalAnswer(id: string): unknown {
  const name = Object.keys(PEOPLE).find((one) => one.padEnd(8, '0') === id);
  return name === undefined
    ? {}
    : { principal: { tenant: 'default', kind: 'token', name, roles: ['operator'], groups: PEOPLE[name], secrets: [] } };
}

type Recheck = InternalCalls['POST /internal/decision/recheck']['answer']['verdict'];

/** What decision and service-catalog would answer. */
export interface Peers {
  target: HttpTarget;
  /** Status 503 while false. */
  catalogUp: boolean;
  recheck: (path: string) => Recheck;
  /** Live rules as decision tells them; undefined: it does not answer. */
  rules: RuleReach[] | undefined;
  /** How many resources there are. */
  kinds: Record<string, number>;
  schedules: ScheduleDocument[];
  /** Events that came. */
  events: JsonObject[];
  /** Manifests that the catalog has. */
  atoms: AtomDocument[];
  /** The inventory; undefined: it does not answer. */
  resources: ResourceView[] | undefined;
  close(): Promise<void>;
}

export async function startPeers(): Promise<Peers> {
  const peers: Peers = {
    target: undefined as never,
    catalogUp: true,
    recheck: () => 'stands',
    rules: [],
    kinds: {},
    schedules: [],
    events: [],
    atoms: [],
    resources: [],
    close: () => peers.target.close(),
  };
  peers.target = await startHttpTarget(({ path, body }) => {
    if (path === '/internal/catalog/configs') return { body: { configs: {} } };
    if (path === '/internal/catalog/atom') {
      const { ref } = body as { ref: string };
      const atom = peers.atoms.find((one) => one.name === ref.split('@')[0]);
      return atom === undefined ? { status: 404, body: { code: 'not-found', detail: ref } } : { body: atom };
    }
    if (path === '/internal/catalog/compile')
      return peers.catalogUp
        ? compileAnswer((body as { ref: string }).ref)
        : { status: 503, body: { code: 'unavailable', detail: 'down' } };
    if (path === '/internal/catalog/tokens/find') return { body: principalAnswer((body as { id: string }).id) };
    if (path === '/internal/decision/recheck') {
      const targets = (body as { targets: string[] }).targets.map((p) => ({ path: p, verdict: peers.recheck(p) }));
      const verdicts = new Set(targets.map((t) => t.verdict));
      const verdict = verdicts.has('stands') ? 'stands' : verdicts.has('unknown') ? 'unknown' : 'cleared';
      return { body: { verdict, reason: `spec says ${verdict}`, targets } };
    }
    if (path === '/internal/decision/rules')
      return peers.rules === undefined
        ? { status: 503, body: { code: 'unavailable', detail: 'down' } }
        : { body: { rules: peers.rules } };
    if (path === '/internal/decision/resources' || path === '/internal/decision/inventory') {
      const { paths, kind } = body as { paths?: string[]; kind?: string };
      const items = peers.resources?.filter((r) => paths?.includes(r.path) ?? r.kind === kind);
      return items === undefined ? { status: 503, body: { code: 'unavailable', detail: 'down' } } : { body: { items } };
    }
    if (path === '/internal/decision/groups') return groupsAnswer(peers, (body as { paths: string[] }).paths);
    if (path === '/internal/catalog/schedules')
      return {
        body: { schedules: peers.schedules.map((d) => ({ name: d.name, digest: JSON.stringify(d), body: d })) },
      };
    if (path === '/internal/decision/kinds') return { body: { kinds: peers.kinds } };
    if (path === '/v1/events') {
      peers.events.push(body as JsonObject);
      return { status: 202, body: { items: [] } };
    }
    if (path === '/internal/decision/story')
      return { body: { entries: [{ at: '2026-01-01T00:00:00.000Z', kind: 'event', title: 'it went down' }] } };
    return { status: 404, body: { code: 'not-found', detail: path } };
  });
  return peers;
}

/** As decision says it: members at a path, above it and below it, and the groups of groups. */
function groupsAnswer({ resources }: Peers, paths: readonly string[]): { status?: number; body: unknown } {
  if (resources === undefined) return { status: 503, body: { code: 'unavailable', detail: 'down' } };
  const of = (path: string, seen: Set<string>): Set<string> => {
    for (const r of resources.filter((one) => pathsOverlap(one.path, path)))
      for (const group of r.memberOf) if (!seen.has(group)) of(group, seen.add(group));
    return seen;
  };
  const groups = paths.map((p): [string, string[]] => [p, [...of(p, new Set())].sort()]);
  const kinds = [...new Set(resources.filter((r) => r.memberOf.length > 0).map((r) => r.kind))];
  return { body: { groups: Object.fromEntries(groups.filter(([, g]) => g.length > 0)), kinds } };
}

function compileAnswer(ref: string): { status?: number; body: unknown } {
  const document = FLOWS[ref.split('@')[0]!];
  if (document === undefined) return { status: 404, body: { code: 'not-found', detail: `${ref} is not published` } };
  const { compiled } = compileFlow(document, (one) => ATOMS[one.split('@')[0]!]);
  const offering: CompiledOffering = {
    kind: 'flow',
    name: document.name,
    version: document.version,
    effect: EFFECTS[document.name] ?? 'mutate',
    compiled: compiled!,
    document,
    inputSchema: document.input!.schema,
  };
  return { body: offering };
}

export interface Answer {
  status: number;
  headers: Headers;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- answers of all routes; specs look at what they expect
  body: any;
}

export interface ControlApp {
  url: string;
  app: NestFastifyApplication;
  db: Database;
  temporal: TemporalConnection;
  /** Closing reports of these runs never arrive. */
  lost: Set<string>;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Puts a start on the bus, as decision does. */
  send(start: Partial<StartRequest>): Promise<string>;
  withdraw(id: string): Promise<void>;
  /** Messages about a run, in order, as `verdict:queued` or `closed:failed`. */
  story(id: string): Promise<string[]>;
  state(id: string): Promise<string>;
  close(): Promise<void>;
}

export interface Shared {
  databaseUrl: string;
  namespace: string;
  address: string;
  drop(): Promise<void>;
}

/** A database and a Temporal namespace that several controls may share; `searchAttributes`: to ask Temporal who waits. */
export async function shared(options: { searchAttributes?: boolean } = {}): Promise<Shared> {
  const [{ url, drop }, { address, namespace }] = await Promise.all([
    createTestDatabase(),
    createTestNamespace('control', options),
  ]);
  return { databaseUrl: url, namespace, address, drop };
}

class SpecModule {}

export async function startControl(
  s: Shared,
  peers: Peers,
  options: { failpoint?: string; address?: string; port?: number; worker?: boolean; control?: ControlConfig } = {},
): Promise<ControlApp> {
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  const other = peers.target.url;
  const app = await createHttpApp(
    {
      module: SpecModule,
      imports: [
        PlatformModule.forRoot({
          host: '127.0.0.1',
          port,
          publicUrl: url,
          adminKey: ADMIN,
          serviceToken: SERVICE,
          urls: { ingest: other, decision: other, control: url, catalog: other },
          embedded: true,
          logLevel: 'silent',
          httpAllow: [],
          ownPorts: [port],
          ...(options.failpoint === undefined ? {} : { failpoint: options.failpoint }),
          tenant: 'default',
          version: '0.0.0',
        }),
        PostgresModule.forRoot({ url: s.databaseUrl, poolMax: 12, migrations: [busMigrations, controlMigrations] }),
        TemporalModule.forRoot({ address: options.address ?? s.address, namespace: s.namespace, uiUrl: 'http://ui' }),
        BusModule.forRoot(),
        ControlModule.register(options.control ?? {}),
      ],
    },
    { title: 'control', shutdownHooks: false },
  );
  await connectBus(app);
  await app.listen(port, '127.0.0.1');
  const db = app.get(Database);
  const temporal = app.get(TemporalConnection);
  const lost = new Set<string>();
  const stopWorker = options.worker === false ? undefined : await startWorker(app.get(InternalClient), temporal, lost);
  return {
    url,
    app,
    db,
    temporal,
    lost,
    ...helpers(url, db),
    close: () => stopWorker?.().then(() => app.close()) ?? app.close(),
  };
}

/** A worker of flows beside a control that comes and goes at one address. */
export async function workerFor(s: Shared, url: string): Promise<{ runs(): Promise<number>; stop(): Promise<void> }> {
  const temporal = await TemporalConnection.connect({ address: s.address, namespace: s.namespace }, silent);
  const call = async (key: string, body: unknown, params: { id?: string } = {}): Promise<unknown> => {
    const answer = await fetch(url + key.replace('POST ', '').replace(':id', params.id ?? ''), {
      method: 'POST',
      headers: { authorization: `Bearer ${SERVICE}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${key} answered ${answer.status}`);
    return answer.json();
  };
  const stopWorker = await startWorker({ call } as unknown as InternalClient, temporal, new Set());
  return {
    runs: async () => (await temporal.client.workflow.count()).count,
    stop: async () => {
      await stopWorker();
      await temporal.connection.close();
    },
  };
}

async function startWorker(
  internal: InternalClient,
  temporal: TemporalConnection,
  lost: ReadonlySet<string>,
): Promise<() => Promise<void>> {
  const worker = await createFlowWorker({
    temporal,
    cacheDir: cacheDir(),
    log: silent,
    activities: {
      [TEMPORAL_NAMES.approvalActivity]: async (r: { run: string; report: ApprovalReport }) =>
        void (await internal.call('POST /internal/runs/:id/approvals', r.report, { id: r.run })),
      [TEMPORAL_NAMES.claimActivity]: (r: { run: string; step: string; claims: Claim[] }) =>
        internal.call('POST /internal/runs/:id/claims', { step: r.step, claims: r.claims }, { id: r.run }),
      [TEMPORAL_NAMES.gateActivity]: async () => null,
      [TEMPORAL_NAMES.releaseActivity]: (r: { run: string; step: string }) =>
        internal.call('POST /internal/runs/:id/release', { step: r.step }, { id: r.run }),
      [TEMPORAL_NAMES.reportActivity]: async (r: { run: string; outcome: never }) => {
        if (lost.has(r.run)) throw ApplicationFailure.nonRetryable('the report is lost');
        await internal.call('POST /internal/runs/:id/outcome', r.outcome, { id: r.run });
      },
    },
  });
  const running = worker.run();
  return async () => {
    worker.shutdown();
    await running;
  };
}

function helpers(url: string, db: Database): Pick<ControlApp, 'call' | 'send' | 'withdraw' | 'story' | 'state'> {
  return {
    call: async (method, path, body, headers = {}) => {
      const response = await fetch(url + path, {
        method,
        headers: {
          authorization: `Bearer ${ADMIN}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
    },
    send: async (start) => {
      const request = startRequest(start);
      await db.inTransaction('default', async (tx) =>
        tx.publish('starts', { id: newId(), key: request.id, body: { kind: 'start', start: request } }),
      );
      return request.id;
    },
    withdraw: (id) =>
      db.inTransaction('default', async (tx) =>
        tx.publish('starts', { id: newId(), key: id, body: { kind: 'withdraw', id, reason: 'goal met' } }),
      ),
    story: async (id) => {
      const rows = await db.query<{ body: RunsMessage }>(
        `SELECT body FROM bus.message WHERE topic = 'runs' AND key = $1 ORDER BY id`,
        [id],
      );
      return rows.map(({ body }) =>
        body.kind === 'verdict'
          ? `verdict:${body.verdict}`
          : body.kind === 'closed'
            ? `closed:${body.status}`
            : body.kind,
      );
    },
    state: async (id) =>
      (await db.query<{ state: string }>('SELECT state FROM control.admission WHERE id = $1', [id]))[0]?.state ??
      'none',
  };
}

export function startRequest(start: Partial<StartRequest>): StartRequest {
  const host = (start.input as { host?: string } | undefined)?.host ?? `host/${randomUUID()}`;
  const id = newId();
  return {
    id,
    tenant: 'default',
    ref: 'demo/quick@1',
    input: { host },
    targets: [host],
    tier: 'P2',
    initiator: { kind: 'rule', name: 'demo/rule' },
    cause: { rule: 'demo/rule', ruleVersion: '1.0.0', branch: 'b', rung: 'r', episodes: [] },
    coalesce: false,
    correlationId: id,
    hops: 0,
    at: new Date().toISOString(),
    ...start,
  };
}

/** Only the database: puts starts on the bus and looks, without taking part. */
export async function quiet(
  databaseUrl: string,
): Promise<Pick<ControlApp, 'db' | 'send' | 'state' | 'story' | 'close'>> {
  const db = await connectDatabase(
    { url: databaseUrl, poolMax: 2, migrations: [busMigrations, controlMigrations] },
    silent,
  );
  return { db, ...helpers('', db), close: () => db.dataSource.destroy() };
}
