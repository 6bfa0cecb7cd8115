/** The five apps as ten processes on PostgreSQL, Temporal and Kafka: what holds in one process holds there as well. */
import {
  createTestDatabase,
  createTestNamespace,
  eventually,
  testKafka,
  type TestDatabase,
  whereKafka,
} from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type App, APPS, Cluster, shippedLocations } from './cluster.spec-kit.js';
import { flow, plainRule } from './documents.spec-kit.js';
import { Stack, World } from './stack.spec-kit.js';

/** Events before, between and after the five deaths. */
const EVENTS = 36;

const HOST = { schema: { type: 'object', required: ['host'], properties: { host: { type: 'string' } } } };

describe('a cluster', () => {
  let made: TestDatabase;
  let cluster: Cluster;
  let stack: Stack;
  let world: World;

  beforeAll(async () => {
    const [database, temporal, kafka, aWorld] = await Promise.all([
      createTestDatabase(),
      // A namespace of its own: workers of other specs serve the same queues.
      createTestNamespace('cluster'),
      // Without a broker the same holds on PostgreSQL alone.
      whereKafka().then((found) => (found.length > 0 ? testKafka() : undefined)),
      World.start(),
    ]);
    made = database;
    world = aWorld;
    cluster = await Cluster.start({
      databaseUrl: made.url,
      temporal,
      ...(kafka === undefined ? {} : { kafka: { brokers: kafka.brokers, prefix: `${temporal.namespace}.` } }),
    });
    stack = Stack.at(cluster.url, cluster.key);
    await stack.put(
      { kind: 'config', name: 'world', values: { url: world.target.url } },
      {
        kind: 'atom',
        name: 'cluster.fix',
        effect: 'mutate',
        idempotency: 'native',
        input: HOST,
        targets: ['${input.host}'],
        http: { method: 'POST', url: '${config.world.url}/fix/${input.host}' },
        // Short: it is how long the step of a worker that was killed is waited for.
        timeout: { startToClose: '2s' },
        retry: { initialInterval: '100ms', maximumInterval: '1s', maximumAttempts: 50 },
      },
      flow('cluster/fix', [{ id: 'fix', call: 'cluster.fix@1', with: { host: '${input.host}' } }]),
      plainRule('cluster/down', 'cluster.down', 'cluster/fix', { targets: { paths: ['${event.subject}'] } }),
    );
  }, 400_000);
  afterAll(async () => {
    await cluster?.close();
    await world?.target.close();
    await made?.drop();
  });

  /** As an honest sender: again, until it is told that the event is kept. */
  async function down(host: string): Promise<void> {
    world.down.add(host);
    const event = { specversion: '1.0', id: host, source: 'cluster', type: 'cluster.down', subject: host, data: {} };
    const headers = { 'content-type': 'application/cloudevents+json' };
    await eventually(async () => expect((await stack.send('POST', '/v1/events', event, headers)).status).toBe(202), {
      timeoutMs: 40_000,
      everyMs: 50,
    });
  }

  async function healed(hosts: readonly string[]): Promise<void> {
    await eventually(() => expect(hosts.filter((host) => world.down.has(host))).toEqual([]), {
      timeoutMs: 40_000,
      everyMs: 100,
    });
  }

  test('the gateway that we ship sends every public route to the app that serves it', async () => {
    const locations = shippedLocations();
    const wrong: string[] = [];
    for (const app of APPS.filter((name) => name !== 'dsl-interpreter')) {
      const { paths } = (await (await fetch(`${cluster.of(app)[0]!.url}/openapi.json`)).json()) as { paths: object };
      const served = Object.keys(paths).filter((path) => /^\/v\d+\//.test(path));
      expect(served.length, app).toBeGreaterThan(0);
      for (const path of served) {
        const example = path.replaceAll(/\{[^}]+\}/g, 'x');
        const to = locations.find(({ match }) => match.test(example))?.app;
        if (to !== app) wrong.push(`${path} is served by ${app} and goes to ${to}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('heals while one of each app is killed, and loses nothing', async () => {
    const names = Array.from({ length: EVENTS }, (_, i) => `box/r${i % 5}/h${i}`);
    const share = EVENTS / (APPS.length + 1);
    for (const [i, app] of (APPS as readonly App[]).entries()) {
      const some = names.slice(i * share, (i + 1) * share);
      // In the middle of the work: some are sent, none of these is known to be healed.
      await Promise.all(some.slice(0, share / 2).map(down));
      const [victim] = cluster.of(app);
      expect(await victim!.end('SIGKILL'), app).toBe('SIGKILL');
      await Promise.all(some.slice(share / 2).map(down));
      victim!.start();
    }
    await Promise.all(names.slice(APPS.length * share).map(down));
    await healed(names);
    await cluster.allReady();
    const { items } = await eventually(
      async () => {
        const page = await stack.get('/v1/runs?rule=cluster/down&limit=200');
        expect(page.items.map((run: { status: string }) => run.status)).toEqual(names.map(() => 'succeeded'));
        return page as { items: { targets: string[] }[] };
      },
      { timeoutMs: 40_000, everyMs: 200 },
    );
    expect(items.map((run) => run.targets[0]).toSorted()).toEqual(names.toSorted());
    // A step may have been asked for twice, with the same key; never two steps for one host.
    const keys = new Map(world.calls('/fix/').map((call) => [call.headers['idempotency-key'], call.path]));
    expect(keys.size).toBe(EVENTS);
    expect(new Set(keys.values()).size).toBe(EVENTS);
  }, 240_000);

  test('SIGTERM drains: what a process has in hand it finishes, and the others go on', async () => {
    const names = Array.from({ length: 12 }, (_, i) => `drain/h${i}`);
    const slow = 'drain/slow';
    world.stuck.add(slow);
    await down(slow);
    await eventually(() => expect(world.calls(`/fix/${slow}`)).toHaveLength(1), { timeoutMs: 40_000 });
    await Promise.all(names.slice(0, 6).map(down));
    const leaving = [...cluster.of('dsl-interpreter'), ...APPS.slice(0, -1).map((app) => cluster.of(app)[1]!)];
    const ends = Promise.all(leaving.map((replica) => replica.end('SIGTERM')));
    world.stuck.delete(slow);
    await Promise.all(names.slice(6).map(down));
    // After its hooks Nest ends the process by the signal that it got.
    expect(await ends).toEqual(leaving.map(() => 'SIGTERM'));
    // A worker that had just gone would have left this step to another one, which asks for it again.
    expect(world.down.has(slow)).toBe(false);
    expect(world.calls(`/fix/${slow}`)).toHaveLength(1);
    cluster.of('dsl-interpreter')[0]!.start();
    await healed(names);
  }, 180_000);
});
