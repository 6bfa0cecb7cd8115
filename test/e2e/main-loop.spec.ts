/** From an event to a converged goal on the composed stack, and everything that may stand in between. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineAtom, serveAtoms, type AtomService } from '@opsloop/atoms';
import { runCli } from '@opsloop/cli';
import type { AtomDocument } from '@opsloop/contracts';
import { eventually, startHttpTarget } from '@opsloop/testing';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { badInputs } from './bad-input.spec-kit.js';
import { documents, plainRule, probe, repairRule } from './documents.spec-kit.js';
import { missingPrograms, startMonitoring } from './prometheus.spec-kit.js';
import { Stack, World } from './stack.spec-kit.js';

let stack: Stack;
let world: World;
/** What the command line recorded, and how its play ends. */
let recorded: string;
let played: Promise<{ code: number; said: string }> | undefined;

beforeAll(async () => {
  recorded = mkdtempSync(join(tmpdir(), 'opsloop-e2e-record-'));
  [stack, world] = await Promise.all([Stack.start(), World.start()]);
  await stack.put(...documents(world.target.url));
});
afterAll(async () => {
  await played;
  rmSync(recorded, { recursive: true, force: true });
  await stack?.stop();
  await world?.target.close();
});

const resources = (paths: string[], labels: Record<string, string> = {}) =>
  stack.ok('PUT', '/v1/resources', {
    items: paths.map((path) => ({ path, labels: { rack: path.split('/')[1]!, ...labels }, state: { state: 'up' } })),
  });
const state = (subject: string, value: string): Promise<string> =>
  stack.event('e2e.box.state', subject, { state: value });
const cli = async (...args: string[]): Promise<{ code: number; said: string }> => {
  const said: string[] = [];
  const code = await runCli(args, {
    ...{ out: (text) => void said.push(text), err: (text) => void said.push(text), isTTY: false, cwd: recorded },
    env: { ...process.env, OPSLOOP_URL: stack.process.url, OPSLOOP_TOKEN: stack.process.key },
    stdin: () => Promise.resolve(''),
  });
  return { code, said: said.join('') };
};
const pathOf = (call: { path: string }): string => call.path.split('/').slice(2).join('/');

describe('the loop', () => {
  test('observes, decides, admits, runs, acts with key and fence, and converges', async () => {
    const box = 'main/r1/a';
    await resources([box], { role: 'main' });
    await stack.put(
      {
        kind: 'source',
        name: 'e2e-probe',
        type: 'poll',
        every: '1s',
        for: { kind: 'main' },
        call: 'probe.http@1',
        with: { url: `${world.target.url}/box/\${resource.path}/healthz` },
        event: { type: 'e2e.main.state', data: { state: '${result.state}' } },
      },
      repairRule(
        'e2e/main-down',
        { type: 'e2e.main.state', subject: 'main/*', data: { state: 'down' } },
        {
          goal: { state: "resource.state.state == 'up'", observe: probe(world.address), stableFor: '1s' },
          tier: [{ tier: 'P1' }],
        },
      ),
    );
    world.down.add(box);
    await stack.episode('e2e/main-down', box, 'converged', 20_000);
    const run = await stack.run(`rule=e2e/main-down`, 'succeeded');
    expect(run).toMatchObject({ flow: 'e2e/fix', targets: [box], tier: 'P1', rule: 'e2e/main-down' });
    const fixes = world.calls('/fix/main');
    expect(fixes).toHaveLength(1);
    expect(fixes[0]!.headers).toMatchObject({ 'opsloop-fence': run.fence });
    expect(fixes[0]!.headers['idempotency-key']).toMatch(/\S{8,}/);

    const { items: events } = await stack.get(`/v1/events?subject=${box}&limit=100`);
    const down = events.find((e: { type: string; data: { state?: string } }) => e.data.state === 'down');
    const fixed = events.find((e: { type: string }) => e.type === 'e2e.fixed');
    expect(fixed).toMatchObject({ hops: 1, correlationId: down.correlationId });
    expect(
      events.some((e: { data: { state?: string }; time: string }) => e.data.state === 'up' && e.time > down.time),
    ).toBe(true);

    const why = await stack.get(`/v1/events/${down.eventId}/explain`);
    expect(why.rules).toContainEqual(
      expect.objectContaining({ rule: 'e2e/main-down', verdict: 'decided', decisionId: run.id }),
    );
    expect(why.decisions[0]).toMatchObject({
      rung: 'fix',
      targets: [box],
      admissions: [{ runId: run.id, verdict: 'admitted' }],
    });
    expect(why.text).toContain('e2e/main-down');
    const now = await stack.get(`/v1/explain?resource=${box}`);
    expect(now).toMatchObject({ resource: { path: box, state: { state: 'up' } }, locks: [], waiting: [], halts: [] });

    const { items: story } = await stack.get(`/v1/runs/${run.id}/timeline`);
    const times = story.map((e: { at: string }) => Date.parse(e.at));
    expect(times).toEqual(times.toSorted((x: number, y: number) => x - y));
    const kinds = story.map((e: { kind: string }) => e.kind);
    const order = ['event', 'decision', 'admission', 'lock', 'run', 'step'].map((kind) => kinds.indexOf(kind));
    expect(order).toEqual(order.toSorted((x, y) => x - y));
    expect(kinds[0]).toBe('event');
    // Whoever looks first sees it up: a poll before the run has closed, or after.
    expect(story.findLast((e: { kind: string }) => e.kind === 'state').title).toMatch(/up/);
  }, 40_000);

  test('what happened is recorded as a scenario', async () => {
    const ended = await stack.episode('e2e/main-down', 'main/r1/a', 'converged');
    const { items } = (await stack.get('/v1/rules?limit=500')) as { items: { name: string; body: object }[] };
    const rule = items.find(({ name }) => name === 'e2e/main-down')!.body;
    const known = documents(world.target.url).filter(({ name }) => ['world', 'e2e.fix', 'e2e/fix'].includes(name));
    const whole = known.map((one) => ({ dsl: 'opsloop/v1', owner: 'e2e', version: '1.0.0', ...one }));
    const { version: _none, ...config } = whole[0]!;
    for (const [i, one] of [config, ...whole.slice(1), rule].entries())
      writeFileSync(join(recorded, `d${i}.json`), JSON.stringify(one));
    expect(await cli('test', 'record', ended.id, '-o', 'main.scenario.json')).toMatchObject({ code: 0 });
    // A process with a database of its own, which takes its time beside all that follows.
    played = cli('test', '.');
  });

  test('walks four hosts canary first, and one failure under tolerate does not stop it', async () => {
    const boxes = ['a', 'b', 'c', 'd'].map((x) => `batch/r1/${x}`);
    await resources(boxes);
    await stack.put(
      repairRule(
        'e2e/batch-down',
        { type: 'e2e.box.state', subject: 'batch/*', data: { state: 'down' } },
        {
          group: { by: '${resource.labels.rack}', within: '1s' },
          batch: { canary: 1, size: 2, tolerate: { failures: 1 } },
          goal: { state: "resource.state.state == 'up'", observe: probe(world.address) },
        },
      ),
    );
    for (const box of boxes) world.down.add(box);
    world.broken.add(boxes[2]!);
    for (const box of boxes) await state(box, 'down');
    const run = await stack.run('rule=e2e/batch-down', 'succeeded', 20_000);
    expect(run.targets).toEqual(boxes);
    const done = world.calls('/fix/batch').map(pathOf);
    expect(done[0]).toBe(boxes[0]);
    expect(new Set(done)).toEqual(new Set(boxes));
    const { batches } = (await stack.get(`/v1/decisions/${run.id}`)) as { batches: string[][] };
    expect(batches.map((b) => b.length)).toEqual([1, 2, 1]);
    for (const box of [boxes[0]!, boxes[1]!, boxes[3]!]) await stack.episode('e2e/batch-down', box, 'converged');
    // Each attempt of the failing host carried the same key, and every host one of its own.
    const keys = new Map<string, Set<unknown>>();
    for (const c of world.calls('/fix/batch'))
      keys.set(pathOf(c), (keys.get(pathOf(c)) ?? new Set()).add(c.headers['idempotency-key']));
    expect([...keys.values()].map((set) => set.size)).toEqual([1, 1, 1, 1]);
    expect(new Set([...keys.values()].flatMap((set) => [...set])).size).toBe(4);
    expect((await stack.send('DELETE', '/v1/rules/e2e/batch-down')).status).toBe(204);
  }, 40_000);
});

describe('the catalog', () => {
  test('runs a script, a worker of a team and a flow above the size of a start', async () => {
    const manifest: AtomDocument = {
      dsl: 'opsloop/v1',
      kind: 'atom',
      name: 'e2e.worker',
      version: '1.0.0',
      owner: 'e2e',
      effect: 'mutate',
      idempotency: 'native',
      input: { schema: { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } } },
      worker: { queue: 'e2e-team', activity: 'e2e.worker' },
      timeout: { startToClose: '10s' },
    };
    const atom = defineAtom<{ n: number }, { twice: number; run: string }>({
      manifest,
      execute: ({ input, context }) => Promise.resolve({ twice: input.n * 2, run: context.run }),
    });
    const service: AtomService = await serveAtoms([atom], { address: stack.process.temporalAddress });
    try {
      await stack.ok('PUT', '/v1/atoms/e2e.worker', manifest);
      const worker = await stack.start('atom/e2e.worker', { input: { n: 21 }, wait: '20s' });
      expect([worker.status, worker.body.status, worker.body.flow]).toEqual([200, 'succeeded', 'atom/e2e.worker']);
      expect(worker.body.output).toEqual({ twice: 42, run: worker.body.id });
    } finally {
      await service.shutdown();
    }
    const script = await stack.start('e2e/script', { input: { host: 'lab/script' }, wait: '20s' });
    expect(script.body).toMatchObject({ status: 'succeeded', output: { values: { host: 'lab/script' } } });
    const big = await stack.start('e2e/big', { input: { host: 'lab/big' }, wait: '20s' });
    expect([big.status, big.body.status, big.body.output.length]).toEqual([200, 'succeeded', 4_002]);
    const bad = await stack.start('atom/e2e.worker', { input: { n: 'x' } });
    expect([bad.status, bad.body.errors[0].pointer]).toEqual([400, '/input/n']);
  }, 60_000);

  test('runs show in Temporal with their tier and phase', async () => {
    const { body } = await stack.start('e2e/note', { input: { host: 'lab/attributes' }, wait: '20s' });
    const connection = await Connection.connect({ address: stack.process.temporalAddress });
    try {
      const { searchAttributes } = await new Client({ connection }).workflow.getHandle(body.workflowId).describe();
      expect(searchAttributes).toMatchObject({
        OpsTier: ['P3'],
        OpsTargets: ['lab/attributes'],
        OpsTenant: ['default'],
      });
      expect(searchAttributes['OpsPhase']).toHaveLength(1);
    } finally {
      await connection.close();
    }
  });

  test('one Idempotency-Key is one run; another body is a conflict', async () => {
    const key = { 'idempotency-key': crypto.randomUUID() };
    const body = { input: { host: 'lab/key' } };
    const first = await stack.start('e2e/note', body, key);
    const again = await stack.start('e2e/note', body, key);
    expect([again.status, again.body, again.headers.get('idempotency-replayed')]).toEqual([202, first.body, 'true']);
    const other = await stack.start('e2e/note', { input: { host: 'lab/other' } }, key);
    expect([other.status, other.body.code]).toEqual([409, 'idempotency-conflict']);
    await eventually(() => expect(world.calls('/act/lab/key')).toHaveLength(1));
  });

  test('what waits longer than a policy allows expires', async () => {
    await stack.put({
      kind: 'policy',
      name: 'e2e/short',
      type: 'mutex',
      match: { targets: 'expiring/*' },
      validFor: '500ms',
    });
    const holder = await stack.start('e2e/slow', { input: { host: 'expiring/a' } });
    const waiting = await stack.start('e2e/note', { input: { host: 'expiring/a' } });
    expect(waiting.body).toMatchObject({
      status: 'queued',
      admission: { verdict: 'queued', blockedBy: [{ runId: holder.body.id }] },
    });
    await eventually(async () =>
      expect(await stack.get(`/v1/runs/${waiting.body.id}`)).toMatchObject({
        status: 'cancelled',
        admission: { verdict: 'expired' },
      }),
    );
    const ended = await stack.ok('POST', `/v1/runs/${holder.body.id}/terminate`, { reason: 'e2e' });
    expect(ended).toEqual({ id: holder.body.id, status: 'terminated', undone: [] });
  });
});

describe('halts', () => {
  const halt = (body: object) => stack.ok('POST', '/v1/halts', { reason: 'e2e halt', ...body });
  const lift = (id: string) => stack.ok('POST', `/v1/halts/${id}/lift`, { reason: 'over', perMinute: 6_000 });

  test('before the start: what was healed meanwhile is withdrawn, the rest goes on', async () => {
    const [ill, healed] = ['gate/r1/ill', 'gate/r1/healed'];
    await resources([ill, healed]);
    await stack.put(repairRule('e2e/gate-down', { type: 'e2e.box.state', subject: 'gate/*', data: { state: 'down' } }));
    const { id, hits } = await halt({ scope: { rules: ['e2e/gate-*'] } });
    expect(hits).toEqual({ rules: 1, queued: 0, running: 0, targets: 0 });
    const event = await state(ill, 'down');
    await state(healed, 'down');
    expect((await stack.verdict(event, 'e2e/gate-down')).verdict).toBe('halted');
    const held = await eventually(async () => {
      const { items } = await stack.get('/v1/runs?rule=e2e/gate-down');
      expect(items.map((r: { admission: { verdict: string } }) => r.admission.verdict)).toEqual(['held', 'held']);
      return items as { id: string; targets: string[] }[];
    });
    await state(healed, 'up');
    await eventually(async () => expect((await stack.get(`/v1/resources/${healed}`)).state.state).toBe('up'));
    expect(world.calls('/fix/gate')).toEqual([]);
    await lift(id);
    const of = (path: string) => stack.get(`/v1/runs/${held.find((r) => r.targets[0] === path)!.id}`);
    await eventually(async () => expect((await of(ill)).status).toBe('succeeded'), { timeoutMs: 40_000 });
    await eventually(async () => expect((await of(healed)).admission.verdict).toBe('withdrawn'), { timeoutMs: 40_000 });
    expect(world.calls('/fix/gate').map(pathOf)).toEqual([ill]);
  }, 40_000);

  test('between two steps: nothing that changes anything starts until it is lifted', async () => {
    const { body } = await stack.start('e2e/two-steps', { input: { host: 'pause/a' } });
    await eventually(() => expect(world.calls('/act/pause/a')).toHaveLength(1));
    const { id, hits } = await halt({ scope: { flows: ['e2e/two-steps'] } });
    expect(hits).toMatchObject({ running: 1, targets: 1 });
    await eventually(async () => expect((await stack.get(`/v1/runs/${body.id}`)).status).toBe('paused'));
    expect(world.calls('/fix/pause')).toEqual([]);
    await lift(id);
    await eventually(async () => expect((await stack.get(`/v1/runs/${body.id}`)).status).toBe('succeeded'));
    expect(world.calls('/fix/pause')).toHaveLength(1);
  });

  test('with cancel: compensation and finally run, and nothing else', async () => {
    const { body } = await stack.start('e2e/undoable', { input: { host: 'undo/a' } });
    await eventually(() => expect(world.calls('/act/undo/a')).toHaveLength(1));
    const { id } = await halt({ scope: { paths: ['undo'] }, running: 'cancel' });
    await eventually(async () => expect((await stack.get(`/v1/runs/${body.id}`)).status).toBe('cancelled'));
    expect([
      world.calls('/undo/undo').length,
      world.calls('/clean/undo').length,
      world.calls('/fix/undo').length,
    ]).toEqual([1, 1, 0]);
    await lift(id);
  });

  test('terminate runs nothing and lists what stays undone', async () => {
    const { body } = await stack.start('e2e/undoable', { input: { host: 'left/a' } });
    await eventually(async () => {
      const { steps } = await stack.get(`/v1/runs/${body.id}`);
      expect(steps?.map((s: { id: string }) => s.id)).toContain('wait');
    });
    const ended = await stack.ok('POST', `/v1/runs/${body.id}/terminate`, { reason: 'e2e' });
    expect(ended).toEqual({ id: body.id, status: 'terminated', undone: ['act'] });
    expect([world.calls('/undo/left').length, world.calls('/clean/left').length]).toEqual([0, 0]);
  });
});

describe('rules', () => {
  test('two on one event: the second waits for the first and is withdrawn when that was enough', async () => {
    const box = 'twice/r1/a';
    await resources([box]);
    const on = { type: 'e2e.box.state', subject: 'twice/*', data: { state: 'down' } };
    const goal = { state: "resource.state.state == 'up'", observe: probe(world.address) };
    await stack.put(
      repairRule('e2e/twice-one', on, { goal, tier: [{ tier: 'P0' }] }),
      repairRule('e2e/twice-two', on, { goal }, 'e2e/mend'),
    );
    world.down.add(box);
    world.stuck.add(box);
    await state(box, 'down');
    // Both were decided at once, so either may be the first.
    const second = await stack.run('under=twice', 'queued');
    const first = await stack.run('under=twice', 'running');
    expect(second.rule).not.toBe(first.rule);
    expect(second.admission).toMatchObject({
      verdict: 'queued',
      position: 1,
      blockedBy: [{ path: box, runId: first.id }],
    });
    const holds = await stack.get(`/v1/explain?resource=${box}`);
    expect(holds).toMatchObject({ locks: [{ runId: first.id }], waiting: [{ id: second.id }] });
    world.stuck.delete(box);
    await eventually(
      async () => expect((await stack.get(`/v1/runs/${second.id}`)).admission.verdict).toBe('withdrawn'),
      { timeoutMs: 40_000 },
    );
    expect(world.calls('/fix/twice')).toHaveLength(1);
    await stack.episode(first.rule, box, 'converged');
  });

  test('that answer their own events end after 16 hops', async () => {
    await stack.put(plainRule('e2e/echo', 'e2e.echo', 'e2e/echo'));
    await stack.event('e2e.echo', 'echo/e');
    const last = await eventually(
      async () => {
        const { items } = await stack.get('/v1/events?type=e2e.echo&limit=100');
        const end = items.find((e: { hops: number }) => e.hops === 16);
        expect(end).toBeDefined();
        expect(items).toHaveLength(17);
        return end;
      },
      { timeoutMs: 30_000, everyMs: 200 },
    );
    expect(await stack.verdict(last.eventId, 'e2e/echo')).toMatchObject({ verdict: 'hop-limit' });
    expect((await stack.get('/v1/runs?rule=e2e/echo&limit=100')).items).toHaveLength(16);
  }, 40_000);

  test('stop at their budget', async () => {
    await stack.put(plainRule('e2e/budget', 'e2e.budget', 'e2e/note', { budget: [{ runs: 1, within: '1h' }] }));
    const one = await stack.event('e2e.budget', 'budget/a');
    expect((await stack.verdict(one, 'e2e/budget')).verdict).toBe('decided');
    // Only events about one subject are judged in their order.
    const two = await stack.event('e2e.budget', 'budget/b');
    expect((await stack.verdict(two, 'e2e/budget')).verdict).toBe('budget');
    await stack.run('rule=e2e/budget', 'succeeded');
    expect(world.calls('/act/budget').map(pathOf)).toEqual(['budget/a']);
  });

  test('in shadow start nothing, and a PATCH makes them act; disabled they are not asked', async () => {
    await stack.put(plainRule('e2e/mode', 'e2e.mode', 'e2e/note', { mode: 'shadow' }));
    const patch = (mode: string) => stack.ok('PATCH', '/v1/rules/e2e/mode', { mode, reason: 'e2e' });
    const shadow = await stack.event('e2e.mode', 'mode/a');
    expect((await stack.verdict(shadow, 'e2e/mode')).verdict).toBe('shadow');
    await patch('active');
    const active = await stack.event('e2e.mode', 'mode/b');
    expect((await stack.verdict(active, 'e2e/mode')).verdict).toBe('decided');
    await stack.run('rule=e2e/mode', 'succeeded');
    await patch('disabled');
    const last = await stack.event('e2e.mode', 'mode/c');
    await stack.verdict(last, 'e2e/budget');
    const { rules } = await stack.get(`/v1/events/${last}/explain`);
    expect(rules.map((r: { rule: string }) => r.rule)).not.toContain('e2e/mode');
    expect(world.calls('/act/mode').map(pathOf)).toEqual(['mode/b']);
  });

  test('that are deleted withdraw their episodes and what waits for them', async () => {
    await resources(['gone/r1/a']);
    await stack.put(repairRule('e2e/gone', { type: 'e2e.box.state', subject: 'gone/*', data: { state: 'down' } }));
    const { id } = await stack.ok('POST', '/v1/halts', { scope: { rules: ['e2e/gone'] }, reason: 'e2e' });
    await state('gone/r1/a', 'down');
    const held = await stack.run('rule=e2e/gone', 'queued');
    expect((await stack.send('DELETE', '/v1/rules/e2e/gone')).status).toBe(204);
    await stack.episode('e2e/gone', 'gone/r1/a', 'withdrawn');
    await eventually(async () => expect((await stack.get(`/v1/runs/${held.id}`)).admission.verdict).toBe('withdrawn'));
    await stack.ok('POST', `/v1/halts/${id}/lift`, { reason: 'over' });
    expect(world.calls('/fix/gone')).toEqual([]);
  });
});

describe('Prometheus and Alertmanager, the real programs', () => {
  test('an alert fires, is healed, and resolves', async () => {
    const missing = missingPrograms();
    if (missing.length > 0) {
      const what = `${missing.join(' and ')} not installed: nothing was tried against a real Alertmanager (apt-get install prometheus prometheus-alertmanager)`;
      // On a build machine a test that does not run is a test that does not hold.
      expect(process.env['CI'], what).not.toBe('true');
      process.stderr.write(`\n*** ${what} ***\n`);
      return;
    }
    const box = 'prom/r1/a';
    await resources([box]);
    await stack.put(
      {
        kind: 'source',
        name: 'am-e2e',
        type: 'alertmanager',
        auth: { type: 'bearer', token: 'am-e2e-token' },
        mapping: { subject: 'prom/r1/${labels.box}' },
      },
      plainRule('e2e/box-down', 'alertmanager.alert', 'e2e/fix', {
        on: [{ type: 'alertmanager.alert', data: { status: 'firing', labels: { alertname: 'BoxDown' } } }],
      }),
    );
    const metrics = await startHttpTarget(() => ({
      headers: { 'content-type': 'text/plain; version=0.0.4' },
      body: `box_up{box="a"} ${world.down.has(box) ? 0 : 1}\n`,
    }));
    const monitoring = await startMonitoring({
      metrics: metrics.url.slice('http://'.length),
      alert: { name: 'BoxDown', expr: 'box_up == 0' },
      hook: `${stack.process.url}/v1/hooks/am-e2e`,
      token: 'am-e2e-token',
    });
    try {
      world.down.add(box);
      const alerts = () => stack.get(`/v1/events?source=am-e2e&subject=${box}`);
      await eventually(
        async () =>
          expect((await alerts()).items.map((e: { data: { status: string } }) => e.data.status)).toEqual([
            'resolved',
            'firing',
          ]),
        { timeoutMs: 40_000, everyMs: 200 },
      );
      const run = await stack.run('rule=e2e/box-down', 'succeeded');
      expect(run.targets).toEqual([box]);
      expect(world.calls('/fix/prom').map(pathOf)).toEqual([box]);
      const { items } = await alerts();
      expect(items[0].data.labels).toMatchObject({ alertname: 'BoxDown', box: 'a', job: 'spec' });
      expect(Date.parse(items[0].time)).toBeGreaterThan(Date.parse(items[1].time));
      expect((await stack.get('/v1/dead-letters?source=am-e2e')).items).toEqual([]);
    } finally {
      await monitoring.stop();
      await metrics.close();
    }
  }, 90_000);
});

test('the recorded scenario passes when it is played', async () => {
  expect(await played).toEqual({ code: 0, said: expect.stringContaining('1 test passed') as string });
}, 120_000);

describe('bad input', () => {
  test.each(badInputs)(
    '%s is answered with the field',
    async (_name, method, path, body, headers, status, code, pointer) => {
      const answer = await stack.send(method, path, body, headers);
      expect([answer.status, answer.body?.code], JSON.stringify(answer.body)).toEqual([status, code]);
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
      expect(answer.body).toMatchObject({
        type: `https://opsloop.dev/errors/${code}`,
        status,
        title: expect.any(String),
      });
      if (pointer !== undefined)
        expect(answer.body.errors.map((e: { pointer: string }) => e.pointer)).toContain(pointer);
    },
  );

  test('no bad input ended the process or left a part unready', async () => {
    expect((await stack.send('GET', '/readyz')).status).toBe(200);
    process.kill(stack.process.pid, 0);
  });
});
