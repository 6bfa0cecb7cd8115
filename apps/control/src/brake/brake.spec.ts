/** Rules that do harm halt themselves; one run may pass a halt; a second person lifts it. */
import { randomUUID } from 'node:crypto';
import type { EpisodesMessage, HaltView, StartCause } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { dueLoops } from '@opsloop/postgres';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type ControlApp,
  type Peers,
  shared,
  type Shared,
  startControl,
  startPeers,
  tokenOf,
} from '../control-app.spec-kit.js';
import { HaltService } from '../halts/halt.service.js';
import { RetainService } from '../retain/retain.service.js';
import { BRAKE_DEFAULT } from './brake.pure.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;
let rule: string;

beforeAll(async () => {
  [s, peers] = await Promise.all([shared(), startPeers()]);
  // The brake asks for them once in ten seconds.
  peers.kinds = { pool: 20 };
  a = await startControl(s, peers, { control: { brake: { ...BRAKE_DEFAULT, startsPerMinute: 3, kindLeast: 10 } } });
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});
beforeEach(async () => {
  // What another test started is no start of this minute: all use the same flow, and its starts count too.
  await a.db.query(
    "UPDATE control.admission SET created_at = created_at - interval '2 minutes', started_at = started_at - interval '2 minutes'",
  );
  rule = `spec/${randomUUID()}`;
  peers.rules = [{ name: rule, mode: 'active', refs: [], owner: 'team-spec' }];
});

const cause = (): StartCause => ({ rule, ruleVersion: '1.0.0', branch: 'b', rung: 'r', episodes: [] });
const start = (ref = 'demo/quick@1'): Promise<string> => a.send({ ref, cause: cause() });
const becomes = (id: string, state: string): Promise<void> =>
  eventually(async () => expect(await a.state(id)).toBe(state), { timeoutMs: 40_000 });
const halts = async (): Promise<HaltView[]> => (await a.call('GET', '/v1/halts')).body.items;
const braked = (): Promise<HaltView> =>
  eventually(
    async () => {
      // It looks by itself, some of it only every five seconds; what it looks at is here already.
      for (const loop of dueLoops) loop.poke();
      const found = (await halts()).find((one) => one.brake?.subject === `rule ${rule}`);
      expect(found).toBeDefined();
      return found!;
    },
    { timeoutMs: 40_000 },
  );
const lift = (id: string, who?: string) =>
  a.call(
    'POST',
    `/v1/halts/${id}/lift`,
    { reason: 'spec' },
    who === undefined ? {} : { authorization: `Bearer ${tokenOf(who)}` },
  );
const verified = (run: string, fixed: boolean): Promise<void> =>
  a.db.inTransaction('default', async (tx) => {
    const body: EpisodesMessage = {
      id: newId(),
      rule,
      resource: 'host/a',
      state: 'exhausted',
      at: '',
      verified: { run, fixed },
    };
    tx.publish('episodes', { id: newId(), key: body.resource, body });
  });

describe('the automatic brake', () => {
  test('stops a rule that starts too much, pages its owner once, and counts anew after a lift', async () => {
    const ids = await Promise.all([1, 2, 3, 4].map(() => start()));
    for (const id of ids) await becomes(id, 'closed');
    const halt = await braked();
    expect(halt).toMatchObject({
      scope: { rules: [rule] },
      running: 'pause',
      by: 'the automatic brake',
      brake: { cause: 'starts', owner: 'team-spec' },
    });
    expect(halt.reason).toBe(`4 starts of rule ${rule} within a minute, more than 3`);
    const held = await start();
    await becomes(held, 'held');
    expect((await a.call('GET', '/v1/status')).body.items[0]).toMatchObject({ level: 'stopped', code: 'brake' });
    await eventually(() =>
      expect(peers.events).toContainEqual(
        expect.objectContaining({
          type: 'opsloop.brake.pulled',
          subject: `halt/${halt.id}`,
          data: expect.objectContaining({ owner: 'team-spec', figures: { starts: 4, allowed: 3 } }),
        }),
      ),
    );
    expect((await lift(halt.id)).status).toBe(200);
    await becomes(held, 'closed');
    const again = await start();
    await becomes(again, 'closed');
    // Looked at several times since: the four from before the lift are forgiven.
    const [{ n }] = (await a.db.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM control.halt WHERE brake->>'subject' = $1`,
      [`rule ${rule}`],
    )) as [{ n: number }];
    expect(n).toBe(1);
    expect(peers.events.filter((e) => e['subject'] === `halt/${halt.id}`)).toHaveLength(1);
  });

  test('stops a rule whose runs are in vain, and one that changes too much of a kind', async () => {
    const ids = await Promise.all([1, 2, 3].map(() => start()));
    for (const id of ids) await becomes(id, 'closed');
    for (const id of ids) await verified(id, false);
    const halt = await braked();
    expect(halt.brake).toMatchObject({ cause: 'not-fixed' });
    await lift(halt.id);
    rule = `spec/${randomUUID()}`;
    const wide = await a.send({ cause: cause(), targets: ['pool/1', 'pool/2', 'pool/3'] });
    await becomes(wide, 'closed');
    const second = await braked();
    expect(second.reason).toContain('changed 3 of 20 resources of kind pool within 10 minutes');
    await lift(second.id);
  });
});

test('a rule whose runs are in vain asks, then starts nothing, until it is reset', async () => {
  const vain = async (level: string): Promise<void> => {
    const ids = await Promise.all([1, 2, 3].map(() => newest()));
    for (const id of ids) await verified(id, false);
    const row = async () => (await a.call('GET', `/v1/autonomy?rule=${rule}`)).body.items[0];
    await eventually(async () => expect(await row()).toMatchObject({ level, flow: 'demo/quick', changedBy: 'itself' }));
    await lift((await braked()).id);
  };
  // Runs that are known; what they did does not matter here.
  const newest = async (): Promise<string> => {
    const [row] = await a.db.query<{ id: string }>(
      `INSERT INTO control.admission SELECT (jsonb_populate_record(NULL::control.admission, to_jsonb(a) || jsonb_build_object('id', gen_random_uuid(), 'rule', $1::text, 'coalesce_key', NULL,
        'created_at', clock_timestamp() - interval '1 day', 'started_at', clock_timestamp() - interval '1 day'))).* FROM (SELECT * FROM control.admission WHERE flow = 'demo/quick' AND state = 'closed' LIMIT 1) a RETURNING id`,
      [rule],
    );
    return row!.id;
  };
  await becomes(await start(), 'closed');
  await vain('approval');
  await becomes(await start(), 'needs-approval');
  await vain('shadow');
  await becomes(await start(), 'rejected');
  expect(peers.events).toContainEqual(
    expect.objectContaining({
      type: 'opsloop.rule.demoted',
      subject: `rule/${rule}`,
      data: expect.objectContaining({ from: 'approval', to: 'shadow' }),
    }),
  );
  const reset = (body: object) => a.call('POST', '/v1/autonomy/reset', { reason: 'mended', ...body });
  expect(await reset({ rule })).toMatchObject({ status: 200, body: { reset: 1 } });
  expect(await reset({ rule: 'no/such' })).toMatchObject({ status: 404 });
  const again = await start();
  await becomes(again, 'closed');
});

test('a look that began before a lift does not undo it', async () => {
  const halts = a.app.get(HaltService);
  const pull = (lookedMs: number): Promise<string | undefined> =>
    halts.brake(
      'default',
      {
        scope: { rules: [rule] },
        reason: 'spec',
        brake: { subject: `rule ${rule}`, cause: 'not-fixed' },
        figures: {},
      },
      lookedMs,
    );
  const first = await pull(0);
  expect(await pull(0)).toBeUndefined();
  await lift(first!);
  // What it counted is what the lift has forgiven.
  expect(await pull(0)).toBeUndefined();
  await a.db.query("UPDATE control.halt SET lifted_at = lifted_at - interval '20 seconds' WHERE id = $1", [first]);
  expect(await pull(30_000)).toBeUndefined();
  const second = await pull(1_000);
  expect(second).toBeDefined();
  await lift(second!);
});

test('what is old goes, and nothing that is open', async () => {
  const [old, open] = [await a.send({}), await a.send({ ref: 'demo/slow@1' })];
  await Promise.all([becomes(old, 'closed'), becomes(open, 'started')]);
  await a.db.query(`INSERT INTO control.run_log (tenant, run_id) VALUES ('default', $1), ('default', $2)`, [old, open]);
  await a.db.query(`UPDATE control.admission SET ended_at = ended_at - interval '40 days' WHERE id = $1`, [old]);
  const ages = ['40 days', '1 day'];
  for (const age of ages) {
    await a.db.query(
      `INSERT INTO control.act (tenant, at, act, ref, made_by, reason) VALUES ('default', clock_timestamp() - $1::text::interval, 'lock-broken', $1::text, 'spec', 'r')`,
      [age],
    );
    await a.db.query(
      `INSERT INTO control.halt (tenant, id, scope, running, reason, made_by, lifted_at) VALUES ('default', gen_random_uuid(), '{}', 'leave', $1::text, 'spec', clock_timestamp() - $1::text::interval)`,
      [age],
    );
    await a.db.query(
      `INSERT INTO control.approval (tenant, id, run_id, path, workflow_id, flow, title, approvers, on_timeout, initiator, status, opened_at, expires_at, closed_at)
        VALUES ('default', gen_random_uuid(), $1, 'p', '', 'f', $2::text, '{}', 'reject', '{}', 'approved', now(), now(), clock_timestamp() - $2::text::interval)`,
      [old, age],
    );
  }
  await a.app.get(RetainService).sweep(30 * 86_400_000);
  const left = (table: string, what: string): Promise<unknown[]> =>
    a.db.query(`SELECT ${what} AS what FROM control.${table} WHERE ${what} = ANY($1)`, [ages]);
  for (const [table, what] of [
    ['act', 'ref'],
    ['halt', 'reason'],
    ['approval', 'title'],
  ] as const)
    expect(await left(table, what), table).toEqual([{ what: '1 day' }]);
  expect([await a.state(old), await a.state(open)]).toEqual(['none', 'started']);
  await a.call('POST', `/v1/runs/${open}/terminate`, { reason: 'spec' });
});

describe('halts', () => {
  const make = async (more: object): Promise<string> =>
    (
      await a.call(
        'POST',
        '/v1/halts',
        { scope: { rules: [rule] }, reason: 'spec', ...more },
        { authorization: `Bearer ${tokenOf('anna')}` },
      )
    ).body.id;

  test('one run passes when it is let, the others stay', async () => {
    const id = await make({});
    const [one, other] = [await start(), await start()];
    await Promise.all([becomes(one, 'held'), becomes(other, 'held')]);
    const allow = (run: string, who?: string) =>
      a.call(
        'POST',
        `/v1/runs/${run}/allow`,
        { reason: 'the one fix' },
        who === undefined ? {} : { authorization: `Bearer ${tokenOf(who)}` },
      );
    expect(await allow(one, 'anna')).toMatchObject({ status: 403 });
    expect(await allow(one)).toMatchObject({ status: 200, body: { id: one, halts: [id] } });
    await becomes(one, 'closed');
    expect(await a.state(other)).toBe('held');
    expect(await allow(one)).toMatchObject({ status: 409, body: { code: 'run-closed' } });
    expect(await a.call('POST', `/v1/runs/${other}/allow`, {})).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/reason' }] },
    });
    expect(await allow(randomUUID())).toMatchObject({ status: 404 });
    const { items } = (await a.call('GET', `/v1/runs/${one}/timeline`)).body;
    expect(items).toContainEqual(
      expect.objectContaining({ kind: 'operator', title: `may pass halt ${id} by admin: the one fix` }),
    );
    expect((await halts()).find((halt) => halt.id === id)?.allowed).toEqual([one]);
    const free = await a.send({ ref: 'demo/slow@1' });
    await becomes(free, 'started');
    expect(await allow(free)).toMatchObject({ status: 409, body: { code: 'conflict' } });
    await a.call('POST', `/v1/runs/${free}/terminate`, { reason: 'spec' });
    expect((await lift(id, 'anna')).status).toBe(200);
    await becomes(other, 'closed');
  });

  test('whoever asked for a second person is not that person', async () => {
    const id = await make({ secondPerson: true });
    expect(await lift(id, 'anna')).toMatchObject({ status: 403, body: { code: 'authorization' } });
    expect((await halts()).find((halt) => halt.id === id)).toMatchObject({ secondPerson: true });
    expect(await lift(id, 'bob')).toMatchObject({ status: 200 });
    // It is over: there is nothing left that a second person would have to do.
    expect(await lift(id, 'anna')).toMatchObject({ status: 200, body: { released: 0 } });
  });
});
