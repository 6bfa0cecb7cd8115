import { randomUUID } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { ApprovalView, EventMessage } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { eventually, freePort } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Answer,
  type ControlApp,
  type Peers,
  shared,
  type Shared,
  startControl,
  startPeers,
  tokenOf,
} from './control-app.spec-kit.js';

let s: Shared;
let peers: Peers;
let temporal: Proxy;
let a: ControlApp;
beforeAll(async () => {
  [s, peers] = await Promise.all([shared({ searchAttributes: true }), startPeers()]);
  temporal = await proxyTo(s.address);
  a = await startControl(s, peers, { address: temporal.address });
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close(), temporal.close()]);
});

interface Proxy {
  address: string;
  /** While true nobody gets through, and who was through is cut off. */
  cut(off: boolean): void;
  close(): Promise<void>;
}

async function proxyTo(address: string): Promise<Proxy> {
  const [host, port] = address.split(':') as [string, string];
  const sockets = new Set<Socket>();
  let off = false;
  const server: Server = createServer((socket) => {
    if (off) return void socket.destroy();
    const through = connect(Number(port), host);
    for (const [one, other] of [
      [socket, through],
      [through, socket],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy()).on('close', () => (sockets.delete(one), other.destroy()));
      one.pipe(other);
    }
  });
  const own = await freePort();
  await new Promise<void>((resolve) => server.listen(own, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${own}`,
    cut: (value) => {
      off = value;
      if (off) for (const socket of sockets) socket.destroy();
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

const host = (): string => `host/dc1/${randomUUID()}`;
const as = (name: string, method: string, path: string, body?: unknown): Promise<Answer> =>
  a.call(method, path, body, { authorization: `Bearer ${tokenOf(name)}` });
const run = async (id: string): Promise<Answer['body']> => (await a.call('GET', `/v1/runs/${id}`)).body;
const becomes = (id: string, status: string): Promise<void> =>
  eventually(async () => expect((await run(id)).status).toBe(status), { timeoutMs: 40_000 });

function event(h: string, patch: Partial<EventMessage> = {}): EventMessage {
  const at = new Date().toISOString();
  return {
    eventId: newId(),
    source: 'spec',
    id: randomUUID(),
    type: 'host.up',
    subject: h,
    time: at,
    receivedAt: at,
    data: { host: h },
    correlationId: 'c',
    hops: 0,
    ...patch,
  };
}
const publish = (...events: EventMessage[]): Promise<void> =>
  a.db.inTransaction('default', async (tx) => {
    for (const body of events) tx.publish('events', { id: newId(), key: body.subject ?? '', body });
  });

describe('events for runs', () => {
  const start = (h: string): Promise<string> => a.send({ ref: 'demo/waits@1', input: { host: h } });

  test('reach the run that waits for them, once; nothing is kept after its end', async () => {
    const [h, other] = [host(), host()];
    const id = await start(h);
    await becomes(id, 'waiting');
    const mine = event(h);
    await publish(event(other), event(h, { type: 'host.down' }), mine, mine);
    await becomes(id, 'succeeded');
    const { eventId, id: sent, source, type, subject, time, data } = mine;
    expect((await run(id)).output).toEqual({ event: { eventId, id: sent, source, type, subject, time, data } });
    const left = await a.db.query(
      `SELECT 1 FROM control.run_inbox WHERE run_id = $1 UNION SELECT 1 FROM control.event_wait WHERE run_id = $1
        UNION SELECT 1 FROM control.event_delivery WHERE run_id = $1`,
      [id],
    );
    expect(left).toEqual([]);
  });

  test('that came right after the start was accepted are not missed; older ones and rehearsals are not for it', async () => {
    const h = host();
    await publish(event(h, { data: { host: h, old: true } }));
    const answer = await a.call('POST', '/v1/catalog/demo/waits/runs', { input: { host: h } });
    const mine = event(h);
    await publish(event(h, { replayOf: newId(), replayMode: 'shadow' }), mine);
    await becomes(answer.body.id, 'succeeded');
    expect((await run(answer.body.id)).output.event.eventId).toBe(mine.eventId);
  });

  test('wait with a queued run, and reach it when it starts', async () => {
    const h = host();
    const lock = (
      await a.call('POST', '/v1/locks', { claims: [{ path: h, mode: 'exclusive' }], owner: 'spec', ttl: '1m' })
    ).body;
    const id = await start(h);
    await eventually(async () => expect(await a.state(id)).toBe('queued'));
    const mine = event(h);
    await publish(mine);
    await eventually(async () =>
      expect(await a.db.query('SELECT 1 FROM control.event_delivery WHERE run_id = $1', [id])).toHaveLength(1),
    );
    await a.call('DELETE', `/v1/locks/${lock.fence}`);
    await becomes(id, 'succeeded');
    expect((await run(id)).output.event.eventId).toBe(mine.eventId);
  });

  test('of work that never started are swept away', async () => {
    const h = host();
    const lock = (
      await a.call('POST', '/v1/locks', { claims: [{ path: h, mode: 'exclusive' }], owner: 'spec', ttl: '1m' })
    ).body;
    const id = await start(h);
    await eventually(async () => expect(await a.state(id)).toBe('queued'));
    await a.call('DELETE', `/v1/admissions/${id}`);
    await a.call('DELETE', `/v1/locks/${lock.fence}`);
    const { EventWaits } = await import('./deliver-events/event-waits.repository.js');
    await a.app.get(EventWaits).sweep(100);
    expect(await a.db.query('SELECT 1 FROM control.run_inbox WHERE run_id = $1', [id])).toEqual([]);
  });
});

describe('lists', () => {
  test('know who waits and who is paused', async () => {
    const h = `lists/${randomUUID()}`;
    const start = (flow: string, n: number): Promise<string> =>
      a.send({ ref: `${flow}@1`, input: { host: `${h}/${n}` } });
    const [asleep, paused, asked] = await Promise.all(
      ['demo/sleeps', 'demo/sleeps', 'demo/asks'].map((flow, n) => start(flow, n)),
    );
    const ids = [asleep!, paused!, asked!];
    const listed = async (filter: string): Promise<string[]> =>
      (await a.call('GET', `/v1/runs?under=${h}${filter}`)).body.items.map(
        (r: { id: string; status: string }) => `${ids.indexOf(r.id)} ${r.status}`,
      );
    await Promise.all(ids.map((id) => becomes(id, 'waiting')));
    expect((await a.call('POST', `/v1/runs/${paused}/pause`, { reason: 'spec' })).status).toBe(200);
    // Visibility lags.
    await eventually(async () =>
      expect(new Set(await listed('&status=waiting'))).toEqual(new Set(['0 waiting', '2 waiting'])),
    );
    expect(await listed('&status=paused')).toEqual(['1 paused']);
    expect(await listed('&status=running')).toEqual([]);
    expect((await listed('')).toSorted()).toEqual(['0 waiting', '1 paused', '2 waiting']);
    for (const id of [asked, paused]) await a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });
    expect(await listed('&status=waiting')).toEqual(['0 waiting']);
    expect(await listed('&status=paused')).toEqual([]);
    await a.call('POST', `/v1/runs/${asleep}/terminate`, { reason: 'spec' });
  }, 60_000);
});

describe('approvals', () => {
  const asked = async (id: string): Promise<ApprovalView> => {
    await becomes(id, 'waiting');
    return (await a.call('GET', `/v1/approvals?run=${id}`)).body.items[0];
  };
  /** Started by anna's token, or by a rule. */
  const startBy = async (flow: string, name?: string): Promise<{ id: string; approval: ApprovalView }> => {
    const h = host();
    const id =
      name === undefined
        ? await a.send({ ref: `${flow}@1`, input: { host: h } })
        : (await as(name, 'POST', `/v1/catalog/${flow}/runs`, { input: { host: h } })).body.id;
    return { id, approval: await asked(id) };
  };
  const answer = (name: string, id: string, body: object): Promise<Answer> =>
    as(name, 'POST', `/v1/approvals/${id}/answer`, { reason: 'because', ...body });
  const yes = { answer: 'approve' };

  test('need their quorum of the right people, each once; the run shows who answered what', async () => {
    const { id, approval } = await startBy('demo/asks', 'anna');
    expect(approval).toMatchObject({
      run: id,
      flow: 'demo/asks',
      path: 'ok',
      status: 'open',
      needed: 2,
      approvals: 0,
      answers: [],
    });
    expect((await run(id)).approvals).toEqual([{ id: approval.id, path: 'ok', title: approval.title }]);
    const list = (await a.call('GET', '/v1/runs?limit=500')).body.items.find((r: { id: string }) => r.id === id);
    expect(list).toMatchObject({ status: 'waiting', approvals: [{ id: approval.id }] });
    expect(await answer('anna', approval.id, yes)).toMatchObject({
      status: 403,
      body: { code: 'authorization', detail: expect.stringMatching(/started the run/) },
    });
    expect(await answer('eve', approval.id, yes)).toMatchObject({
      status: 403,
      body: { detail: expect.stringMatching(/needs user zoe or group sre/) },
    });
    expect(await answer('bob', approval.id, yes)).toMatchObject({
      status: 200,
      body: { status: 'open', approvals: 1, answers: [{ by: 'bob', answer: 'approve', reason: 'because' }] },
    });
    expect(await answer('bob', approval.id, yes)).toMatchObject({ status: 200, body: { approvals: 1 } });
    expect(await answer('bob', approval.id, { answer: 'reject' })).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    });
    expect(await answer('zoe', approval.id, yes)).toMatchObject({
      status: 200,
      body: { status: 'approved', approvals: 2 },
    });
    await becomes(id, 'succeeded');
    expect((await run(id)).output).toEqual({ by: ['bob', 'zoe'] });
    expect(await answer('cy', approval.id, yes)).toMatchObject({
      status: 409,
      body: { detail: 'It is approved already' },
    });
    expect(await answer('bob', approval.id, yes)).toMatchObject({ status: 200 });
    const story = (await a.call('GET', `/v1/runs/${id}/timeline`)).body.items.filter(
      (e: { kind: string }) => e.kind === 'approval',
    );
    expect(
      story.map((e: { title: string; cause?: string }) => [e.title.replace(approval.title, 'it'), e.cause]),
    ).toEqual([
      ['"it" is asked of 2 persons', undefined],
      ['bob approved "it"', 'because'],
      ['zoe approved "it"', 'because'],
      ['"it" approved', undefined],
    ]);
  });

  test('a rejection fails the run; of answers at the same moment one decides', async () => {
    const { id, approval } = await startBy('demo/asks');
    const answers = await Promise.all([
      answer('bob', approval.id, { answer: 'reject' }),
      answer('cy', approval.id, { answer: 'reject' }),
    ]);
    expect(answers.map((one) => one.status).sort()).toEqual(expect.arrayContaining([200]));
    await becomes(id, 'failed');
    expect((await run(id)).problem).toMatchObject({ code: 'approval-rejected', status: 403 });
  });

  test('take a form as its schema says', async () => {
    const { id, approval } = await startBy('demo/form');
    expect(await answer('bob', approval.id, { ...yes, form: { window: 'soon' } })).toMatchObject({
      status: 400,
      body: { code: 'validation', errors: [{ pointer: '/form/window' }] },
    });
    expect(await answer('bob', approval.id, yes)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/form/window' }] },
    });
    expect((await answer('bob', approval.id, { ...yes, form: { window: 'now' } })).status).toBe(200);
    await becomes(id, 'succeeded');
    expect((await run(id)).output).toEqual({ window: 'now', wait: 5 });
    const plain = await startBy('demo/asks');
    expect(await answer('bob', plain.approval.id, { ...yes, form: {} })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/form' }] },
    });
    await a.call('POST', `/v1/runs/${plain.id}/cancel`, { reason: 'spec' });
    await becomes(plain.id, 'cancelled');
    expect((await a.call('GET', `/v1/approvals/${plain.approval.id}`)).body.status).toBe('cancelled');
  });

  test('lists know whose turn it is, and page', async () => {
    const { id, approval } = await startBy('demo/asks', 'anna');
    const mine = async (name: string): Promise<boolean> =>
      (await as(name, 'GET', '/v1/approvals?mine=true&limit=500')).body.items.some(
        (one: ApprovalView) => one.id === approval.id,
      );
    expect([await mine('anna'), await mine('bob'), await mine('zoe'), await mine('eve')]).toEqual([
      false,
      true,
      true,
      false,
    ]);
    await answer('bob', approval.id, yes);
    expect(await mine('bob')).toBe(false);
    const first = (await a.call('GET', '/v1/approvals?limit=1')).body;
    expect(first.items.map((one: ApprovalView) => one.id)).toEqual([approval.id]);
    const second = (await a.call('GET', `/v1/approvals?limit=1&cursor=${first.nextCursor}`)).body;
    expect(second.items[0].id).not.toBe(approval.id);
    await a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });
    expect((await a.call('GET', `/v1/approvals/${approval.id}`)).body).toMatchObject({
      status: 'cancelled',
      reason: 'the run has ended',
    });
    expect((await answer('cy', approval.id, yes)).status).toBe(409);
  });

  test.each([
    ['GET', '/v1/approvals/nope', undefined, 404],
    ['GET', `/v1/approvals/${randomUUID()}`, undefined, 404],
    ['GET', '/v1/approvals?run=nope', undefined, 404],
    ['GET', '/v1/approvals?cursor=nope', undefined, 400],
    ['POST', `/v1/approvals/${randomUUID()}/answer`, { answer: 'approve', reason: 'x' }, 404],
    ['POST', `/v1/approvals/${randomUUID()}/answer`, { answer: 'maybe', reason: 'x' }, 400],
    ['POST', `/v1/approvals/${randomUUID()}/answer`, { answer: 'approve' }, 400],
  ])('%s %s → %#', async (method, path, body, status) => {
    expect((await a.call(method, path, body)).status).toBe(status);
  });

  test('are withdrawn when their cause has cleared: when somebody answers, and by themselves', async () => {
    const one = await startBy('demo/asks');
    const two = await startBy('demo/asks');
    try {
      peers.recheck = () => 'unknown';
      expect(await answer('bob', one.approval.id, yes)).toMatchObject({ status: 503, body: { code: 'unavailable' } });
      peers.recheck = () => 'cleared';
      expect(await answer('bob', one.approval.id, yes)).toMatchObject({
        status: 409,
        body: { detail: expect.stringMatching(/no longer needed/) },
      });
      await becomes(one.id, 'cancelled');
      expect((await run(one.id)).problem.detail).toMatch(/^the approval was withdrawn/);
      expect((await a.call('GET', `/v1/approvals/${one.approval.id}`)).body).toMatchObject({
        status: 'withdrawn',
        answers: [],
      });
      // Looked at every 10 s, which is half of what the test has: its turn comes now.
      await a.db.query(`UPDATE control.approval SET checked_at = checked_at - interval '10 s' WHERE id = $1`, [
        two.approval.id,
      ]);
      await becomes(two.id, 'cancelled');
      expect((await a.call('GET', `/v1/approvals/${two.approval.id}`)).body.status).toBe('withdrawn');
    } finally {
      peers.recheck = () => 'stands';
    }
  }, 60_000);

  test('of a run whose closing report is lost: withdrawn is cancelled, rejected is failed', async () => {
    const withdrawn = await startBy('demo/asks');
    const rejected = await startBy('demo/asks', 'anna');
    a.lost.add(withdrawn.id).add(rejected.id);
    try {
      peers.recheck = () => 'cleared';
      expect((await answer('bob', withdrawn.approval.id, yes)).status).toBe(409);
    } finally {
      peers.recheck = () => 'stands';
    }
    expect((await answer('bob', rejected.approval.id, { answer: 'reject' })).status).toBe(200);
    // Visibility is asked every 5 s.
    await becomes(withdrawn.id, 'cancelled');
    await becomes(rejected.id, 'failed');
    const [first, second] = [await run(withdrawn.id), await run(rejected.id)];
    expect(first.problem).toMatchObject({
      code: 'cancelled',
      detail: expect.stringMatching(/^the approval was withdrawn/),
    });
    expect(second.problem).toMatchObject({ code: 'approval-rejected' });
    const story = (await a.call('GET', `/v1/runs/${withdrawn.id}/timeline`)).body.items;
    expect(story.map((e: { title: string }) => e.title)).toContain('cancelled, said by the reconciler');
  }, 60_000);

  test('nobody approves under a halt, but rejects', async () => {
    const { id, approval } = await startBy('demo/asks');
    const halt = (
      await a.call('POST', '/v1/halts', { scope: { flows: ['demo/asks'] }, running: 'leave', reason: 'spec' })
    ).body;
    expect(await answer('bob', approval.id, yes)).toMatchObject({ status: 423, body: { code: 'halted' } });
    expect((await answer('bob', approval.id, { answer: 'reject' })).status).toBe(200);
    await a.call('POST', `/v1/halts/${halt.id}/lift`, { reason: 'spec' });
    await becomes(id, 'failed');
  });

  test('and events are kept while Temporal is away, and handed over when it is back', async () => {
    const h = host();
    const waits = await a.send({ ref: 'demo/waits@1', input: { host: h } });
    const [{ id, approval }] = await Promise.all([startBy('demo/form'), becomes(waits, 'waiting')]);
    temporal.cut(true);
    const answered = answer('bob', approval.id, { ...yes, form: { window: 'now' } });
    await publish(event(h));
    // Nobody can say who waits, so a list of these says so; others are shown without.
    const [waiting, running] = await Promise.all([
      a.call('GET', '/v1/runs?status=waiting'),
      a.call('GET', '/v1/runs?limit=100&status=running'),
    ]);
    expect(waiting).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    expect(running.status).toBe(200);
    expect(running.body.items).toContainEqual(expect.objectContaining({ id: waits, status: 'running' }));
    expect(await answered).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    expect((await a.call('GET', `/v1/approvals/${approval.id}`)).body.answers).toMatchObject([
      { by: 'bob', pending: true },
    ]);
    await eventually(async () =>
      expect(
        await a.db.query('SELECT 1 FROM control.run_inbox WHERE run_id = $1 AND attempts > 0', [waits]),
      ).toHaveLength(1),
    );
    temporal.cut(false);
    for (const one of [id, waits])
      await eventually(async () => expect(await a.state(one)).toBe('closed'), { timeoutMs: 60_000 });
    expect([(await run(id)).status, (await run(waits)).status]).toEqual(['succeeded', 'succeeded']);
    expect((await a.call('GET', `/v1/approvals/${approval.id}`)).body).toMatchObject({
      status: 'approved',
      approvals: 1,
    });
  }, 90_000);
});
