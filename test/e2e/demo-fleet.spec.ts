/** The machines of the demo alone, without opsloop: they must be honest before anything is proven with them. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AtomDocument, DocumentKind, FlowDocument, OpsDocument, RuleDocument } from '@opsloop/contracts';
import { bundledAtoms, compileFlow, computeTargets, parseRef, type Resolve, validateDocument } from '@opsloop/dsl';
import { eventually } from '@opsloop/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, countJournal, type Fleet, fleetPlan, resourcesOf, startFleet } from '../../examples/demo-fleet/fleet.mjs';
import { runNaive } from '../../examples/demo-fleet/naive.mjs';

const PLAN = [
  { name: 'host/dc1/rack1/web-01', rack: 'rack1', service: 'pay' },
  { name: 'host/dc1/rack1/web-02', rack: 'rack1', service: 'search' },
];
const [FIRST, SECOND] = [PLAN[0]!.name, PLAN[1]!.name];

let dir: string;
let journal: string;
let fleet: Fleet;

const post = (path: string, headers: Record<string, string> = {}) =>
  ask(fleet.agent, path, { method: 'POST', headers });
const stateOf = async (name: string): Promise<unknown> => {
  const { body } = await ask(fleet.agent, '/machines');
  return (body['items'] as { name: string; state: string }[]).find((m) => m.name === name)?.state;
};
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    // A zombie still takes signals; on Linux its state says that it has ended.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? process.platform !== 'linux' : false;
  }
};

describe('a fleet', () => {
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'demo-fleet-'));
    journal = join(dir, 'journal.jsonl');
    fleet = await startFleet({ plan: PLAN, journal, workMs: 200 });
  });

  afterEach(async () => {
    await fleet.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  describe('the rack agent', () => {
    it('brings every machine up as a process of its own, and takes them along when it is killed with -9', async () => {
      const pids = new Set(fleet.machines.map((m) => m.pid));
      expect(pids.size).toBe(PLAN.length);
      for (const { addr } of fleet.machines) expect((await fetch(`http://${addr}/healthz`)).status).toBe(200);
      expect(countJournal(journal).starts).toEqual({ [FIRST]: 1, [SECOND]: 1 });

      // What it does not know is refused.
      expect((await post('/machines/host/nowhere/restart')).status).toBe(404);
      expect((await ask(fleet.agent, `/machines/${FIRST}/restart`)).status).toBe(405);

      process.kill(fleet.pid, 'SIGKILL');
      await eventually(() => expect([...pids].filter(alive)).toEqual([]));
    });

    it('restarts a killed machine on its old address', async () => {
      await post(`/machines/${FIRST}/kill`);
      expect(await stateOf(FIRST)).toBe('down');
      expect(await post(`/machines/${FIRST}/restart`)).toMatchObject({ status: 200, body: { exitCode: 0 } });
      const { addr } = fleet.machines.find((m) => m.name === FIRST)!;
      expect((await fetch(`http://${addr}/healthz`)).status).toBe(200);
      expect(countJournal(journal)).toMatchObject({
        starts: { [FIRST]: 2, [SECOND]: 1 },
        overlaps: 0,
        twoProcesses: 0,
      });
    });

    it('applies one Idempotency-Key once, also while the first call still works, and answers the same', async () => {
      const headers = { 'idempotency-key': 'ops-1' };
      const [a, b] = await Promise.all([
        post(`/machines/${FIRST}/restart`, headers),
        post(`/machines/${FIRST}/restart`, headers),
      ]);
      const later = await post(`/machines/${FIRST}/restart`, headers);
      expect(b).toEqual(a);
      expect(later).toEqual(a);
      expect((await ask(fleet.agent, '/stats')).body).toMatchObject({
        restarts: 1,
        duplicatesAbsorbed: 2,
        overlaps: 0,
      });
      expect(countJournal(journal).starts[FIRST]).toBe(2);
      expect(await post(`/machines/${SECOND}/restart`, headers)).toMatchObject({
        status: 409,
        body: { code: 'idempotency-conflict' },
      });
    });

    it('refuses a fence below the highest it has seen for that machine, and touches nothing', async () => {
      expect((await post(`/machines/${FIRST}/restart`, { 'opsloop-fence': '100' })).status).toBe(200);
      expect(await post(`/machines/${FIRST}/restart`, { 'opsloop-fence': '99' })).toMatchObject({
        status: 409,
        body: { code: 'stale-fence' },
      });
      expect((await post(`/machines/${FIRST}/restart`, { 'opsloop-fence': '100' })).status).toBe(200);
      expect((await post(`/machines/${SECOND}/restart`, { 'opsloop-fence': '99' })).status).toBe(200);
      expect((await post(`/machines/${FIRST}/restart`, { 'opsloop-fence': 'x' })).status).toBe(400);
      expect((await ask(fleet.agent, '/stats')).body).toMatchObject({ staleFences: 1, restarts: 3 });
    });

    it('lies when told to: a restart exits 0, the machine stays sick until it is replaced', async () => {
      await post(`/machines/${FIRST}/lie`);
      expect(await post(`/machines/${FIRST}/restart`)).toMatchObject({ status: 200, body: { exitCode: 0 } });
      expect(await stateOf(FIRST)).toBe('sick');
      expect(await post(`/machines/${FIRST}/replace`)).toMatchObject({ status: 200, body: { generation: 2 } });
      expect(await stateOf(FIRST)).toBe('up');
    });

    it('counts work that overlaps on one machine', async () => {
      await Promise.all([
        post(`/machines/${FIRST}/restart`),
        post(`/machines/${FIRST}/restart`),
        post(`/machines/${SECOND}/restart`),
      ]);
      expect((await ask(fleet.agent, '/stats')).body).toMatchObject({ overlaps: 1, maxAtOnce: 2, restarts: 3 });
      expect(countJournal(journal)).toMatchObject({ overlaps: 1, twoProcesses: 0 });
      expect(await stateOf(FIRST)).toBe('up');
    });
  });

  describe('the naive way', () => {
    it('acts on every copy, lets scripts meet on one host and believes an exit code', async () => {
      await post(`/machines/${SECOND}/lie`);
      await post(`/machines/${FIRST}/kill`);
      await post(`/machines/${SECOND}/kill`);
      const report = await runNaive({
        agent: fleet.agent,
        alerts: [
          { id: 'a', host: FIRST },
          { id: 'a', host: FIRST },
          { id: 'b', host: SECOND },
        ],
      });
      expect(report).toMatchObject({
        alerts: 3,
        incidents: 2,
        scripts: 3,
        exitZero: 3,
        copiesActedOn: 1,
        exitZeroButSick: 1,
        stillBroken: [SECOND],
      });
    });
  });
});

describe('the plan of the fleet', () => {
  it('lays out twelve hosts over three racks, one of each service per rack', () => {
    const plan = fleetPlan();
    expect(plan).toHaveLength(12);
    for (const rack of ['rack1', 'rack2', 'rack3']) {
      expect(plan.filter((m) => m.rack === rack).map((m) => m.service)).toEqual(['pay', 'login', 'search', 'cart']);
    }
    const [resource] = resourcesOf(plan, [{ name: plan[0]!.name, addr: '127.0.0.1:1' }], 'http://127.0.0.1:2');
    expect(resource).toMatchObject({
      path: 'host/dc1/rack1/web-01',
      labels: { rack: 'rack1', role: 'web', addr: '127.0.0.1:1', service: 'pay' },
    });
  });

  it('has documents without findings, whose every reference resolves', () => {
    const folder = fileURLToPath(new URL('../../examples/demo-fleet/opsloop/', import.meta.url));
    const documents = readdirSync(folder).map(
      (file) =>
        JSON.parse(readFileSync(join(folder, file), 'utf8')) as OpsDocument & { kind: DocumentKind; name: string },
    );
    for (const d of documents)
      expect({ name: d.name, findings: validateDocument(d.kind, d).findings }).toEqual({ name: d.name, findings: [] });
    const offerings = [...documents, ...bundledAtoms] as (FlowDocument | AtomDocument)[];
    const resolve: Resolve = (ref, kind) => offerings.find((d) => d.kind === kind && d.name === parseRef(ref).name);
    for (const flow of documents.filter((d) => d.kind === 'flow')) {
      expect(compileFlow(flow as FlowDocument, resolve).findings).toEqual([]);
      expect(computeTargets(flow as FlowDocument, { host: 'host/dc1/rack1/web-01', addr: '127.0.0.1:1' }, {})).toEqual([
        'host/dc1/rack1/web-01',
      ]);
    }
    const rungs = documents.flatMap((d) =>
      d.kind === 'rule' ? (d as RuleDocument).branches.flatMap((b) => b.ladder) : [],
    );
    for (const rung of rungs) expect(resolve(rung.run!, 'flow')).toBeDefined();
  });

  it('keeps every document in a file that is named after it', () => {
    const folder = fileURLToPath(new URL('../../examples/demo-fleet/opsloop/', import.meta.url));
    for (const file of readdirSync(folder)) {
      const { kind, name } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as { kind: string; name: string };
      expect(file).toBe(`${kind}.${name.replace('/', '.')}.json`);
    }
  });
});
