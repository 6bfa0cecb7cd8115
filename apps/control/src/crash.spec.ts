import { once } from 'node:events';
import { newId } from '@opsloop/contracts/ids';
import { bundleChild, type ChildProgram, eventually } from '@opsloop/testing';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Peers, quiet, shared, type Shared, startControl, startPeers } from './control-app.spec-kit.js';
import { ReconcileService } from './runs/reconcile.service.js';

let s: Shared;
let peers: Peers;
let program: ChildProgram;

beforeAll(async () => {
  [s, peers, program] = await Promise.all([
    shared(),
    startPeers(),
    bundleChild(new URL('../fixtures/control-process.ts', import.meta.url)),
  ]);
});
afterAll(async () => {
  await program?.close();
  await Promise.all([s.drop(), peers.close()]);
});

test.each(['control.after-commit', 'control.after-start'])(
  'a start survives kill -9 at %s and happens once',
  async (failpoint) => {
    const child = program.start(s.databaseUrl, s.address, s.namespace, peers.target.url, `${failpoint}:1`);
    const exit = once(child, 'exit') as Promise<[number | null, string | null]>;
    await once(child.stdout!, 'data');
    const sender = await quiet(s.databaseUrl);
    const id = await sender.send({ id: newId() });
    expect((await exit)[1]).toBe('SIGKILL');
    expect(await sender.state(id)).toBe('admitted');
    await sender.close();
    const control = await startControl(s, peers);
    await eventually(async () => expect(await control.state(id)).toBe('closed'), { timeoutMs: 25_000 });
    expect(await control.story(id)).toEqual(['verdict:admitted', 'started', 'closed:succeeded']);
    await control.close();
  },
  // Two processes one after the other; 5 s alone, several times that when all cores are busy.
  90_000,
);

test('while Temporal cannot be reached nothing is freed; what is admitted starts when it is back', async () => {
  const proxy = await startProxy(s.address);
  const control = await startControl(s, peers, { address: proxy.address });
  const input = { host: `host/${newId()}` };
  const open = await control.send({ ref: 'demo/slow@1', input });
  await eventually(async () => expect(await control.state(open)).toBe('started'));
  await proxy.cut();
  const later = await control.send({ input: { host: `host/${newId()}` } });
  await eventually(async () => expect(await control.state(later)).toBe('admitted'));
  const [row] = await control.db.query<{ workflow_id: string; started_at: Date }>(
    'SELECT * FROM control.admission WHERE id = $1',
    [open],
  );
  const reconcile = control.app.get(ReconcileService);
  await expect(
    reconcile.check({ id: open, tenant: 'default', workflow_id: row!.workflow_id, started_at: new Date(0) }),
  ).rejects.toThrow();
  expect(await control.state(open)).toBe('started');
  expect((await control.call('GET', `/v1/locks?path=${input.host}`)).body.items).toMatchObject([
    { runId: open, state: 'held' },
  ]);
  const seen = await control.call('GET', `/v1/runs/${open}`);
  expect([seen.status, seen.body.stale]).toEqual([200, true]);
  await proxy.restore();
  await eventually(async () => expect(await control.state(later)).toBe('closed'), { timeoutMs: 25_000 });
  await control.call('POST', `/v1/runs/${open}/terminate`, { reason: 'spec' });
  await control.close();
  await proxy.close();
}, 90_000);

test('a workflow that Temporal has lost is run-lost, but not within its first seconds', async () => {
  const control = await startControl(s, peers);
  const id = await control.send({ ref: 'demo/slow@1' });
  await eventually(async () => expect(await control.state(id)).toBe('started'));
  const reconcile = control.app.get(ReconcileService);
  const lost = { id, tenant: 'default', workflow_id: `gone.${id}` };
  await reconcile.check({ ...lost, started_at: new Date() });
  expect(await control.state(id)).toBe('started');
  await reconcile.check({ ...lost, started_at: new Date(Date.now() - 31_000) });
  const run = (await control.call('GET', `/v1/runs/${id}`)).body;
  expect([run.status, run.problem.code]).toEqual(['failed', 'run-lost']);
  await control.temporal.client.workflow.getHandle(run.workflowId).terminate();
  await control.close();
});

/** A TCP proxy that can be cut. */
async function startProxy(
  address: string,
): Promise<{ address: string; cut(): Promise<void>; restore(): Promise<void>; close(): Promise<void> }> {
  const [host = '', port = ''] = address.split(':');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const upstream = connect(Number(port), host);
    socket.pipe(upstream).pipe(socket);
    for (const end of [socket, upstream]) {
      end.on('error', () => end.destroy());
      sockets.add(end);
    }
  });
  const listen = (at: number): Promise<void> => new Promise((resolve) => server.listen(at, '127.0.0.1', resolve));
  await listen(0);
  const own = (server.address() as AddressInfo).port;
  const cut = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await closed;
  };
  return { address: `127.0.0.1:${own}`, cut, restore: () => listen(own), close: cut };
}
