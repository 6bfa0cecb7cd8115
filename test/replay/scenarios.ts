/**
 * One run per construct of the flow language. `record-histories.ts` runs them on a real server and keeps their histories;
 * `replay.spec.ts` replays those against today's interpreter. A scenario is only ever added: the histories stand for
 * runs that are in flight somewhere while the interpreter is upgraded.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { compiled } from '../../libs/workflows/test/harness.js';
import { call, events, hosts, refuse, waits, type Scenario } from './scenario.js';
import { LEAVING } from './scenarios-leaving.js';
import { PEOPLE } from './scenarios-people.js';

const child = compiled({
  name: 'test/child',
  do: [{ id: 'inner', call: 'a.inner@1', with: '${input}' }],
  output: '${steps.inner.output}',
});
const waitingChild = compiled({
  name: 'test/waiting',
  do: [
    {
      id: 'w',
      waitForEvent: {
        one: { type: 'a.*', filter: { '==': [{ var: 'event.type' }, 'a.fit'] } },
        timeout: '1m',
      },
    },
    { id: 'again', waitForEvent: { one: { type: 'a.up' }, timeout: '1m' } },
  ],
});

export const SCENARIOS: Record<string, Scenario> = {
  ...PEOPLE,
  ...LEAVING,
  sequence: {
    doc: {
      vars: { n: 1 },
      do: [
        call('one'),
        { id: 'set', set: { n: 2 } },
        { id: 'skip', if: { '==': [{ var: 'vars.n' }, 1] }, ...({ call: 'a.never@1' } as { call: string }) },
        { id: 'group', do: [call('two')] },
        {
          id: 'choose',
          switch: [{ when: { '==': [{ var: 'vars.n' }, 2] }, do: [call('three')] }, { do: [call('four')] }],
        },
        { id: 'done', return: { n: '${vars.n}' } },
      ],
    },
  },
  'wait-emit': {
    doc: {
      do: [
        { id: 'w', wait: { for: '20ms' } },
        { id: 'e', emit: { type: 'fleet.done', data: { n: 1 } } },
        call('after'),
      ],
    },
    options: { attributes: true },
  },
  'try-retry-catch-finally': {
    stub: (h) => h.on('a.bad', () => refuse('runtime')),
    doc: {
      do: [
        {
          id: 't',
          try: [call('good'), call('bad')],
          catch: [
            { errors: { type: 'runtime' }, retry: { initialInterval: '1ms', maximumAttempts: 2 }, do: [call('note')] },
          ],
          finally: [call('close')],
        },
      ],
    },
  },
  compensation: {
    stub: (h) => h.on('a.boom', () => refuse('runtime')),
    doc: {
      do: [call('a'), { id: 'p', parallel: {}, do: [call('b'), call('c')] }, call('boom')],
      finally: [call('end')],
    },
    options: {
      atoms: {
        'a.a@1': { compensate: { call: 'u.a@1' } },
        'a.b@1': { compensate: { call: 'u.b@1' } },
        'a.c@1': { compensate: { call: 'u.c@1' } },
      },
    },
  },
  cancel: {
    doc: { do: [call('a'), { id: 't', try: [{ id: 'w', wait: { for: '1h' } }], finally: [call('f')] }] },
    options: { atoms: { 'a.a@1': { compensate: { call: 'u.a@1' } } }, attributes: true },
    meanwhile: async (run) => {
      await eventually(async () => {
        if ((await run.step('t/w'))?.status !== 'waiting') throw new Error('not yet');
      });
      await run.handle.cancel();
    },
  },
  timeouts: {
    doc: {
      timeout: '1m',
      do: [
        {
          id: 't',
          try: [{ id: 'd', timeout: '30ms', do: [{ id: 'w', wait: { for: '1h' } }] }],
          catch: [{ errors: { type: 'timeout' }, do: [call('late')] }],
        },
      ],
    },
  },
  parallel: {
    doc: { do: [{ id: 'p', parallel: { limit: 2 }, do: [{ ...call('a'), needs: ['b'] }, call('b'), call('c')] }] },
  },
  'parallel-any': {
    doc: { do: [{ id: 'p', parallel: { join: 'any' }, do: [call('a'), { id: 'w', wait: { for: '1h' } }] }] },
  },
  'for-each': {
    stub: (h) => h.on('a.fix', (c) => (c.input === 'host/b' ? refuse('runtime') : { ok: true })),
    doc: {
      do: [
        {
          id: 'each',
          forEach: {
            in: '${input.hosts}',
            as: 'host',
            batch: { canary: 1, size: '50%', pause: '5ms', gate: { id: 'gate', call: 'a.gate@1' } },
            concurrency: 2,
            tolerate: { failures: 1 },
            onItemError: 'compensate',
            collect: '${host}',
          },
          do: [
            { id: 'drain', call: 'a.drain@1' },
            { id: 'fix', call: 'a.fix@1', with: '${host}' },
          ],
        },
      ],
    },
    options: { input: { hosts: [...hosts, 'host/d'] }, atoms: { 'a.drain@1': { compensate: { call: 'u.drain@1' } } } },
  },
  'per-item-locks': {
    stub: (h) => h.on(TEMPORAL_NAMES.claimActivity, () => ({ granted: true, fence: '5' })),
    doc: {
      lockTargets: 'perItem',
      do: [{ id: 'each', forEach: { in: '${input.hosts}', as: 'host' }, do: [call('fix')] }],
    },
    options: { input: { hosts }, context: { targets: hosts } },
  },
  loop: {
    doc: { do: [{ id: 'l', loop: { max: { iterations: 3 }, every: '5ms' }, do: [call('turn')] }] },
  },
  reconcile: {
    stub: (h) => h.on('a.look', (_c, n) => ({ up: n > 1 })),
    doc: {
      do: [
        {
          id: 'r',
          reconcile: {
            goal: { '==': [{ var: 'steps.look.output.up' }, true] },
            every: '10ms',
            stable: '20ms',
            deadline: '1m',
          },
          observe: { id: 'look', call: 'a.look@1' },
          do: [call('nudge')],
        },
      ],
    },
  },
  'sub-flow': {
    doc: { do: [{ id: 'sub', run: 'test/child@1', with: { n: 1 } }, call('after')] },
    options: { flows: { 'test/child@1': child } },
    withChildren: true,
  },
  'per-target': {
    doc: {
      name: TEMPORAL_NAMES.perTargetFlow,
      do: [
        {
          id: 'each',
          forEach: { in: '${input.items}', as: 'item', key: '${item.path}', concurrency: 2 },
          do: [{ id: 'run', run: 'test/child@1', with: '${item.input}' }],
        },
      ],
    },
    options: {
      input: { items: hosts.map((path) => ({ path, input: { path } })) },
      context: { targets: hosts },
      flows: { 'test/child@1': child },
    },
  },
  lock: {
    stub: (h) =>
      h.on(TEMPORAL_NAMES.claimActivity, (_c, n) => (n === 1 ? { granted: false } : { granted: true, fence: '5' })),
    doc: {
      do: [
        {
          id: 'crit',
          retry: { initialInterval: '1ms', maximumAttempts: 2 },
          do: [call('act')],
          lock: { claims: [{ path: 'service/pay', mode: 'exclusive' }] },
        },
      ],
    },
  },
  halt: {
    stub: (h) => h.on('a.act', (_c, n) => (n === 1 ? refuse('halted') : { ok: true })),
    doc: { do: [call('act')] },
    options: { attributes: true },
    meanwhile: async (run) => {
      await eventually(async () => {
        if ((await run.step('act'))?.status !== 'paused') throw new Error('not yet');
      });
      await run.handle.signal(TEMPORAL_NAMES.haltSignal, {});
    },
  },
  'foreign-queue': {
    stub: (h) => h.on(TEMPORAL_NAMES.gateActivity, (_c, n) => (n === 1 ? refuse('halted') : null)),
    doc: { do: [call('far')] },
    options: { atoms: { 'a.far@1': { queue: TEMPORAL_NAMES.flowQueue } } },
    meanwhile: async (run) => {
      await eventually(async () => {
        if ((await run.step('far'))?.status !== 'paused') throw new Error('not yet');
      });
      await run.handle.signal(TEMPORAL_NAMES.haltSignal, {});
    },
  },
  'local-steps': {
    stub: (h) => h.on('a.q', (_c, n) => (n === 3 ? refuse('communication', false) : { n })),
    doc: { do: [{ id: 'l', loop: { max: { iterations: 25 } }, do: [call('q')] }] },
    options: { atoms: { 'a.q@1': { execution: 'local', effect: 'read' } }, byDigest: true },
  },
  'wait-for-event': {
    doc: {
      do: [
        { id: 'early', waitForEvent: { one: { type: 'a.early' }, timeout: '1m' } },
        {
          id: 'two',
          waitForEvent: { all: [{ type: 'a.one' }, { type: 'a.two', correlate: { n: 2 } }], timeout: '1m' },
        },
        {
          id: 't',
          try: [{ id: 'never', waitForEvent: { any: [{ type: 'a.x' }, { type: 'a.y' }], timeout: '30ms' } }],
          catch: [{ errors: { type: 'timeout' }, do: [call('late')] }],
        },
      ],
    },
    options: { attributes: true },
    meanwhile: async (run) => {
      await events(run, 'a.early', 'a.one');
      await waits(run, 'two');
      await events(run, 'a.two');
    },
  },
  'wait-for-event-sub-flow': {
    doc: { do: [{ id: 'sub', run: 'test/waiting@1' }, call('after')] },
    options: { flows: { 'test/waiting@1': waitingChild } },
    meanwhile: async (run) => {
      await events(run, 'a.up');
      await events(run, 'a.fit');
    },
    withChildren: true,
  },
  'reconcile-wake-on': {
    stub: (h) => h.on('a.look', (_c, n) => ({ up: n > 1 })),
    doc: {
      do: [
        {
          id: 'r',
          reconcile: {
            goal: { '==': [{ var: 'steps.look.output.up' }, true] },
            every: '10m',
            deadline: '1h',
            wakeOn: [{ type: 'a.up' }],
          },
          observe: { id: 'look', call: 'a.look@1' },
        },
      ],
    },
    meanwhile: async (run) => {
      await waits(run, 'r');
      await events(run, 'a.up');
    },
  },
  job: {
    stub: (h) =>
      h
        .on('a.build.start', () => ({ id: 'j-1' }))
        .on('a.build.poll', (_call, n) => (n < 3 ? refuse('not-yet', false) : { image: 'i' })),
    doc: { do: [{ id: 'build', title: 'Build', call: 'a.build@1' }] },
    options: { atoms: { 'a.build@1': { job: { every: '20ms', cancels: true } } } },
  },
  'job-cancelled': {
    stub: (h) => {
      let stopped = false;
      h.on('a.build.start', () => ({ id: 'j-1' }))
        .on('a.build.poll', () => refuse(stopped ? 'atom/a.build/failed' : 'not-yet', stopped))
        .on('a.build.cancel', () => (stopped = true));
    },
    doc: { do: [{ id: 'build', call: 'a.build@1' }] },
    options: { atoms: { 'a.build@1': { job: { every: '20ms', cancels: true } } } },
    meanwhile: async (run) => {
      await eventually(async () => {
        if ((await run.step('build'))?.jobId === undefined) throw new Error('not yet');
      });
      await run.handle.cancel();
    },
    ends: 'cancelled',
  },
  'cached-reads': {
    stub: (h) => {
      let kept: unknown = null;
      h.on('a.own', () => ({ output: 1, cachedAt: '2026-01-01T00:00:00.000Z' })).on(
        TEMPORAL_NAMES.cacheActivity,
        (request) => {
          const { keep } = request as { keep?: { output: unknown } };
          const known = kept;
          if (keep !== undefined) kept = { output: keep.output };
          return known;
        },
      );
    },
    doc: {
      do: [
        { id: 'own', call: 'a.own@1' },
        { id: 'miss', call: 'a.other@1' },
        { id: 'hit', call: 'a.other@1' },
      ],
    },
    options: {
      atoms: {
        'a.own@1': { effect: 'read', cache: { ttl: '1m' } },
        'a.other@1': { effect: 'read', cache: { key: 'k', ttl: '1m' }, queue: TEMPORAL_NAMES.flowQueue },
      },
    },
  },
  'chosen-execution': {
    doc: {
      do: [
        { id: 'here', call: 'a.quick@1', execution: 'local' },
        { id: 'there', call: 'a.local@1', execution: 'activity' },
      ],
    },
    options: { atoms: { 'a.local@1': { execution: 'local' } } },
  },
  'foreign-output': {
    doc: { do: [call('far'), call('own'), { id: 'again', call: 'a.far@1' }] },
    options: {
      atoms: {
        'a.far@1': { queue: TEMPORAL_NAMES.flowQueue, output: { schema: { type: 'object', required: ['ok'] } } },
      },
    },
  },
  'foreign-answers': {
    stub: (h) => h.on(TEMPORAL_NAMES.outputActivity, () => refuse('validation')),
    doc: {
      do: [
        call('far'),
        { id: 'odd', try: [call('wrong')], catch: [{ as: 'why', do: [call('own')] }] },
        { id: 'again', call: 'a.far@1' },
      ],
    },
    options: {
      atoms: {
        'a.far@1': { queue: TEMPORAL_NAMES.flowQueue, output: { schema: { type: 'object', required: ['ok'] } } },
        'a.wrong@1': { queue: TEMPORAL_NAMES.flowQueue, output: { schema: { type: 'array' } } },
      },
    },
  },
  // Lasts beyond two workflow tasks of 3 s, of which each ends without it after 80 %: the timer ends in the third.
  'slow-local': {
    stub: (h) => h.on(TEMPORAL_NAMES.claimActivity, () => delay(6_000).then(() => ({ granted: true, fence: '77' }))),
    doc: {
      do: [
        {
          id: 'p',
          parallel: {},
          do: [
            { id: 'crit', do: [call('x')], lock: { claims: [{ path: 'service/pay', mode: 'exclusive' }] } },
            { id: 'other', do: [{ id: 'd', do: [{ id: 'w', wait: { for: '20ms' } }] }, call('y')] },
          ],
        },
      ],
    },
    options: { taskTimeout: '3s' },
    ofTasks: true,
  },
  'dry-run': {
    stub: (h) => h.on(TEMPORAL_NAMES.dryRunActivity, () => ({ output: { ok: 1 }, from: 'example' })),
    doc: {
      do: [
        call('look'),
        { id: 'ask', approval: { title: 'sure?', approvers: {} } },
        { id: 'crit', do: [call('act')], lock: { claims: [{ path: 'service/pay', mode: 'exclusive' }] } },
        { id: 'w', wait: { for: '30s' } },
        { id: 'e', emit: { type: 'fleet.done' } },
        { id: 'sub', run: 'test/child@1', with: { n: 1 } },
        { id: 'boom', raise: { type: 'runtime' } },
      ],
    },
    options: {
      context: { dryRun: true },
      atoms: { 'a.look@1': { effect: 'read' }, 'a.act@1': { compensate: { call: 'u.act@1' } } },
      flows: { 'test/child@1': child },
    },
    ends: 'failed',
    withChildren: true,
  },
};
