import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { FlowDocument, FlowEvent, Json, Step } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Harness, compiled, type Run, type RunOptions } from '../test/harness.js';
import { signalsOfRun } from '../test/sizes.config.js';

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h?.stop());
afterEach(() => h.reset());

let count = 0;
const event = (type: string, data: Json = {}, patch: Partial<FlowEvent> = {}): FlowEvent => {
  count += 1;
  return { eventId: `e-${count}`, id: `${count}`, source: 'spec', type, time: '2026-01-01T00:00:00Z', data, ...patch };
};
const send = (run: Run, ...events: FlowEvent[]): Promise<void> =>
  run.handle.signal(TEMPORAL_NAMES.eventsSignal, { events });
const waiting = (run: Run, path: string): Promise<void> =>
  eventually(async () => {
    if ((await run.step(path))?.status !== 'waiting') throw new Error('not yet');
  });
const start = (doc: Partial<FlowDocument> & { do: Step[] }, options?: RunOptions): Promise<Run> => h.run(doc, options);
/** Holds the flow until the spec lets it go on. */
const hold = (): { step: Step; go: () => void } => {
  let go!: () => void;
  const gone = new Promise<void>((resolve) => (go = resolve));
  h.on('a.hold', () => gone);
  return { step: { id: 'hold', call: 'a.hold@1' }, go };
};

describe('waitForEvent', () => {
  const one = (filter: object, more: object = {}): Step =>
    ({ id: 'w', waitForEvent: { one: { type: 'a.up', ...filter }, timeout: '1m', ...more } }) as Step;

  it('takes the event that comes while it waits, and shows that it waits', async () => {
    const run = await start({ do: [one({})], output: '${steps.w.output}' }, { attributes: true });
    await waiting(run, 'w');
    const other = event('a.down');
    const mine = event('a.up', { n: 1 });
    await send(run, other, mine);
    expect(await run.end()).toEqual({ status: 'succeeded', output: mine });
    expect(run.outcome().steps).toMatchObject([{ path: 'w', status: 'succeeded', output: { data: { n: 1 } } }]);
  });

  it('takes events that came before it was reached, each once and in their order', async () => {
    const { step, go } = hold();
    const run = await start({
      do: [
        step,
        one({}),
        { id: 'w2', waitForEvent: { one: { type: 'a.*' }, timeout: '1m' } },
        { id: 'w3', waitForEvent: { one: { type: 'a.up' }, timeout: '1m' } },
      ],
      output: ['${steps.w.output.data}', '${steps.w2.output.data}', '${steps.w3.output.data}'],
    });
    const first = event('a.up', 1);
    await send(run, first, event('a.up', 2), first);
    go();
    await waiting(run, 'w3');
    // Repeated delivery of one that was taken already.
    await send(run, first);
    await send(run, event('a.up', 3));
    expect(await run.end()).toEqual({ status: 'succeeded', output: [1, 2, 3] });
  });

  it.each<[string, object, FlowEvent[], number]>([
    ['source', { source: 'web-*' }, [event('a.up', 0), event('a.up', 1, { source: 'web-1' })], 1],
    [
      'subject',
      { subject: 'host/${input.host}' },
      [event('a.up', 0, { subject: 'host/b' }), event('a.up', 1, { subject: 'host/a' })],
      1,
    ],
    [
      'correlate',
      { correlate: { host: '${input.host}' } },
      [event('a.up', { host: 'b' }), event('a.up', {}), event('a.up', { host: 'a', x: 1 })],
      2,
    ],
    [
      'data',
      { data: { level: ['red', 'black'] } },
      [event('a.up', { level: 'green' }), event('a.up', { level: 'black' })],
      1,
    ],
    [
      'filter',
      { filter: { '>': [{ var: 'event.data.n' }, { var: 'input.least' }] } },
      [event('a.up', 'odd'), event('a.up', { n: 2 }), event('a.up', { n: 9 })],
      2,
    ],
  ])('passes over what does not fit: %s', async (_what, filter, events, taken) => {
    const run = await start(
      { do: [one(filter)], output: '${steps.w.output.eventId}' },
      { input: { host: 'a', least: 5 } },
    );
    await send(run, ...events);
    expect(await run.end()).toEqual({ status: 'succeeded', output: events[taken]!.eventId });
  });

  it('any takes the first, all takes one for each in the order of the entries', async () => {
    const run = await start({
      do: [
        { id: 'any', waitForEvent: { any: [{ type: 'a.stop' }, { type: 'a.go' }], timeout: '1m' } },
        { id: 'all', waitForEvent: { all: [{ type: 'a.one' }, { type: 'a.two' }, { type: 'a.one' }], timeout: '1m' } },
        { id: 'rest', waitForEvent: { one: { type: 'a.*' }, timeout: '1m' } },
      ],
      output: ['${steps.any.output.type}', '${steps.all.output}', '${steps.rest.output.type}'],
    });
    const [two, one1, one2] = [event('a.two'), event('a.one', 1), event('a.one', 2)];
    await send(run, event('a.go'), event('a.stop'), two, one1, one2);
    expect(await run.end()).toEqual({ status: 'succeeded', output: ['a.go', [one1, two, one2], 'a.stop'] });
  });

  it('fails with a timeout that can be caught, and frees what it had of all', async () => {
    const run = await start({
      do: [
        {
          id: 't',
          try: [{ id: 'all', waitForEvent: { all: [{ type: 'a.one' }, { type: 'a.two' }], timeout: '200ms' } }],
          catch: [
            {
              errors: { type: 'timeout' },
              do: [{ id: 'again', waitForEvent: { one: { type: 'a.one' }, timeout: '1m' } }],
            },
          ],
        },
      ],
      output: '${steps.again.output.data}',
    });
    await send(run, event('a.one', 7));
    expect(await run.end()).toEqual({ status: 'succeeded', output: 7 });
    const late = await start({ do: [one({}, { timeout: '20ms' })] });
    expect(await late.end()).toMatchObject({
      status: 'failed',
      problem: { code: 'timeout', status: 408, instance: 'w' },
    });
  });

  it('in branches and items each gets its own by correlation', async () => {
    const hosts = ['a', 'b', 'c', 'd'];
    const run = await start(
      {
        do: [
          {
            id: 'each',
            forEach: { in: '${input.hosts}', as: 'host', concurrency: 4, collect: '${steps.up.output.data.n}' },
            do: [
              { id: 'up', waitForEvent: { one: { type: 'host.up', correlate: { host: '${host}' } }, timeout: '1m' } },
            ],
          },
        ],
        output: '${steps.each.output}',
      },
      { input: { hosts } },
    );
    await send(run, ...[...hosts].reverse().map((host) => event('host.up', { host, n: host.charCodeAt(0) })));
    expect(await run.end()).toEqual({ status: 'succeeded', output: [97, 98, 99, 100] });
  });

  it('a cancelled wait ends, and clean-up may wait as well', async () => {
    const run = await start({
      do: [one({}, { timeout: '1h' })],
      finally: [{ id: 'f', waitForEvent: { one: { type: 'a.clean' }, timeout: '1m' } }],
    });
    await waiting(run, 'w');
    await run.handle.cancel();
    await waiting(run, 'f');
    await send(run, event('a.clean'));
    expect((await run.end()).status).toBe('cancelled');
    expect(run.outcome().steps.map((s) => [s.path, s.status])).toEqual([
      ['w', 'cancelled'],
      ['f', 'succeeded'],
    ]);
  });
});

describe('across Temporal runs', () => {
  it('hundreds of signals in one run: none lost, none twice', async () => {
    const total = signalsOfRun;
    const run = await start(
      {
        vars: { sum: 0 },
        do: [
          {
            id: 'l',
            loop: { max: { iterations: total } },
            do: [
              { id: 'w', waitForEvent: { one: { type: 'a.up' }, timeout: '5m' } },
              { id: 's', set: { sum: { $logic: { '+': [{ var: 'vars.sum' }, { var: 'steps.w.output.data' }] } } } },
            ],
          },
        ],
        output: '${vars.sum}',
      },
      { continueAfter: 300 },
    );
    const numbers = Array.from({ length: total }, (_, i) => i + 1);
    const sender = async (): Promise<void> => {
      for (let n = numbers.pop(); n !== undefined; n = numbers.pop()) {
        const one = event('a.up', n);
        await send(run, one);
        if (n % 50 === 0) await send(run, one);
      }
    };
    await Promise.all(Array.from({ length: 32 }, sender));
    expect(await run.end()).toEqual({ status: 'succeeded', output: (total * (total + 1)) / 2 });
    await run.hasContinued(1);
  }, 180_000);

  it('what came early, what was half taken and the time that is left go along', async () => {
    const run = await start(
      {
        do: [
          { id: 'all', waitForEvent: { all: [{ type: 'a.one' }, { type: 'a.two' }], timeout: '1m' } },
          { id: 'l', loop: { max: { iterations: 8 } }, do: [{ id: 'c', call: 'a.c@1' }] },
          { id: 'early', waitForEvent: { one: { type: 'a.early' }, timeout: '1m' } },
          { id: 'late', waitForEvent: { one: { type: 'a.never' }, timeout: '1s' } },
        ],
        output: ['${steps.all.output}', '${steps.early.output.data}'],
      },
      { continueAfter: 12 },
    );
    await waiting(run, 'all');
    const [one, two] = [event('a.one', 1), event('a.two', 2)];
    for (const sent of [event('a.early', 'kept'), one, event('a.x'), event('a.y'), event('a.z')]) {
      await send(run, sent);
      await send(run, sent);
    }
    await eventually(async () => {
      if ((await run.continued()) < 1) throw new Error('not yet');
    });
    await send(run, one, two);
    expect(await run.end()).toMatchObject({ status: 'failed', problem: { code: 'timeout', instance: 'late' } });
    const steps = run.outcome().steps;
    expect(steps.find((s) => s.path === 'all')?.output).toEqual([one, two]);
    expect(steps.find((s) => s.path === 'early')?.output).toMatchObject({ data: 'kept' });
    await run.hasContinued(2);
  }, 60_000);
});

it('a retry waits as if nobody had waited before', async () => {
  const past = Date.now() - 3_600_000;
  const old = { entries: [{ type: 'a.old' }], got: [event('a.old') as unknown as Json] };
  const run = await start(
    {
      do: [
        { id: 'w', waitForEvent: { one: { type: 'a.up' }, timeout: '1m' } },
        { id: 'ok', approval: { title: 'Sure?', approvers: {}, timeout: '1m' } },
      ],
    },
    {
      carried: {
        ...{ v: 1, journal: {}, cursors: {}, vars: {}, scopes: {}, undo: {}, records: [] },
        remembered: { w: old, 'w@due': past, 'ok@due': past },
      },
    },
  );
  await waiting(run, 'w');
  await send(run, event('a.up', 1));
  await waiting(run, 'ok');
  expect((await run.step('w'))?.output).toMatchObject({ type: 'a.up', data: 1 });
  await run.handle.terminate();
});

describe('in sub-flows', () => {
  const child = compiled({
    name: 'test/child',
    do: [
      {
        id: 'w',
        waitForEvent: {
          one: {
            type: 'a.up',
            correlate: { host: '${input.host}' },
            filter: { '>': [{ var: 'event.data.n' }, { var: 'input.least' }] },
          },
          timeout: '${input.timeout}' as string,
        },
      },
    ],
    output: '${steps.w.output.data.n}',
  });
  (child.flow.do[0] as { waitForEvent: { timeout: string } }).waitForEvent.timeout = '1m';
  const flows = { 'test/child@1': child };
  const run1 = (id: string, least = 0): Step => ({ id, run: 'test/child@1', with: { host: 'a', least } });

  it('gets what came before it began and what comes later, through the root', async () => {
    const { step, go } = hold();
    const run = await start(
      {
        do: [step, run1('early'), run1('later'), { id: 'own', waitForEvent: { one: { type: 'a.up' }, timeout: '1m' } }],
        output: ['${steps.early.output}', '${steps.later.output}', '${steps.own.output.data}'],
      },
      { flows },
    );
    await send(run, event('a.up', { host: 'b', n: 5 }), event('a.up', { host: 'a', n: 6 }));
    go();
    await eventually(async () => {
      if ((await run.step('later'))?.status !== 'running') throw new Error('not yet');
    });
    await send(run, event('a.up', { host: 'a', n: 7 }));
    expect(await run.end()).toEqual({ status: 'succeeded', output: [6, 7, { host: 'b', n: 5 }] });
  });

  it('what its condition refuses is free for others; side by side none is taken twice', async () => {
    const run = await start(
      {
        do: [run1('big', 100), { id: 'p', parallel: {}, do: [run1('small'), run1('small2')] }],
        output: ['${steps.big.output}', '${steps.small.output}', '${steps.small2.output}'],
      },
      { flows },
    );
    const sent = [1, 2, 200].map((n) => event('a.up', { host: 'a', n }));
    await send(run, sent[0]!);
    await send(run, ...sent);
    const end = await run.end();
    expect(end.status).toBe('succeeded');
    const [big, ...small] = end.output as number[];
    expect([big, small.sort()]).toEqual([200, [1, 2]]);
  });

  it('a worker that dies while a sub-flow waits loses nothing', async () => {
    const run = await start({ do: [run1('sub')], output: '${steps.sub.output}' }, { flows });
    await eventually(async () => {
      if ((await run.step('sub'))?.workflowId === undefined) throw new Error('not yet');
    });
    await h.stopWorkers();
    await send(run, event('a.up', { host: 'a', n: 3 }));
    await h.startWorkers();
    expect(await run.end()).toEqual({ status: 'succeeded', output: 3 });
  }, 60_000);
});

describe('reconcile.wakeOn', () => {
  const wake = (id = 'r'): Step => ({
    id,
    reconcile: {
      goal: { '==': [{ var: 'steps.look.output.up' }, true] },
      every: '10m',
      deadline: '1h',
      wakeOn: [{ type: 'host.up', correlate: { host: '${input.host}' } }],
    },
    observe: { id: 'look', call: 'a.look@1' },
  });

  it('looks again at once, also when the event comes during a look', async () => {
    let up = false;
    let during: (() => Promise<void>) | undefined;
    h.on('a.look', async () => {
      const seen = up;
      await during?.();
      return { up: seen };
    });
    const run = await start({ do: [wake()] }, { input: { host: 'a' } });
    await waiting(run, 'r');
    await send(run, event('host.up', { host: 'b' }));
    during = async () => {
      during = undefined;
      up = true;
      await send(run, event('host.up', { host: 'a' }));
    };
    await send(run, event('host.up', { host: 'a' }));
    expect((await run.end()).status).toBe('succeeded');
    expect(h.recorded.filter((r) => r.type === 'a.look')).toHaveLength(3);
  });

  it('in a sub-flow, and leaves the event to others', async () => {
    h.on('a.look', (_c, n) => ({ up: n > 1 }));
    const sub = compiled({ name: 'test/wake', do: [wake()] });
    const run = await start(
      {
        do: [
          {
            id: 'p',
            parallel: {},
            do: [
              { id: 'sub', run: 'test/wake@1', with: { host: 'a' } },
              { id: 'w', waitForEvent: { one: { type: 'host.up' }, timeout: '1m' } },
            ],
          },
        ],
      },
      { flows: { 'test/wake@1': sub } },
    );
    await eventually(async () => {
      const id = (await run.step('p/sub'))?.workflowId;
      if (id === undefined) throw new Error('not yet');
      const steps = await h.client.workflow.getHandle(id).query<{ status: string }[]>(TEMPORAL_NAMES.stepsQuery);
      if (steps[0]?.status !== 'waiting') throw new Error('not yet');
    });
    await send(run, event('host.up', { host: 'a' }));
    expect((await run.end()).status).toBe('succeeded');
  });
});
