/** More of the same: what can be read and resolved, and is still a mistake. */
import type { FlowDocument, Step } from '@opsloop/contracts';
import type { World } from '../src/index.js';
import { one, body, EACH, at, type Planted, type Spoiled } from './planted-mistakes.js';
import { goodFlow } from './planted-world.js';

const flowOf = (change: (doc: FlowDocument) => void): FlowDocument => {
  const doc = goodFlow();
  change(doc);
  return doc;
};
const many = (count: number, make: (i: number) => object): Step[] =>
  Array.from({ length: count }, (_, i) => make(i) as Step);

const expressions: Planted[] = [
  one(
    'an operator that is not there',
    'OPS1402',
    '/do/11/if/=',
    (d) => (d.do[11].if = { '=': [{ var: 'vars.count' }, 1] }),
  ),
  one(
    'two operators in one object',
    'OPS1401',
    '/do/11/if',
    (d) => (d.do[11].if = { '==': [{ var: 'vars.count' }, 1], '>': [1, 2] }),
  ),
  one('an argument too few', 'OPS1406', '/do/11/if/==', (d) => (d.do[11].if = { '==': [{ var: 'vars.count' }] })),
  one(
    'a division by 0',
    'OPS1407',
    '/do/1/set/count/$logic//'.replace('//', '/~1'),
    (d) => (d.do[1].set.count = { $logic: { '/': [{ var: 'vars.count' }, 0] } }),
  ),
  one(
    'a path that is none',
    'OPS1408',
    '/do/11/if/>/0/var',
    (d) => (d.do[11].if = { '>': [{ var: 'vars..count' }, 1] }),
  ),
  one(
    'a prototype in a path',
    'OPS1408',
    '/do/11/if/>/0/var',
    (d) => (d.do[11].if = { '>': [{ var: 'vars.constructor' }, 1] }),
  ),
  one(
    'a condition of another language',
    'OPS1409',
    '/do/11/if',
    (d) => (d.do[11].if = 'vars.count > 1 && vars.count < 3'),
  ),
  one(
    'a pattern that is not closed',
    'OPS1415',
    '/do/11/if/matches/1',
    (d) => (d.do[11].if = { matches: ['web-1', '(web'] }),
  ),
  one('a computation in a template', 'OPS1410', '/do/9/with/host', (d) => (d.do[9].with.host = '${input.mode + 1}')),
  one('a function in a template', 'OPS1410', '/do/9/with/host', (d) => (d.do[9].with.host = '${lower(input.mode)}')),
  one('braces without $', 'OPS1416', '/do/9/with/host', (d) => (d.do[9].with.host = '{input.mode}')),
  one('braces of others', 'OPS1416', `${at}/finally/0/with/node`, (d) => (body(d).finally[0].with.node = '{{ host }}')),
  one('a template that is not closed', 'OPS1410', '/do/9/with/host', (d) => (d.do[9].with.host = '${input.mode')),
  one(
    '$logic beside something else',
    'OPS1411',
    '/do/11/emit/data/$logic',
    (d) => (d.do[11].emit.data = { $logic: true, n: 1 }),
  ),
  one('an expression nested too deeply', 'OPS1403', `/do/11/if${'/!'.repeat(32)}`, (d) => {
    let logic: unknown = { var: 'vars.count' };
    for (let i = 0; i < 32; i += 1) logic = { '!': logic };
    d.do[11].if = logic;
  }),
  one(
    'an outer name inside a filter',
    'OPS1413',
    '/do/1/set/busy/$logic',
    (d) => (d.do[1].set.busy.$logic.filter[1]['=='][1] = { var: 'vars.count' }),
  ),
];

const termination: Planted[] = [
  one('a person who has longer than the flow', 'OPS1209', '/do/3/approval/timeout', (d) => (d.timeout = '2h')),
  one(
    'an approval without an end',
    'OPS1201',
    '/do/3/approval',
    (d) => delete d.do[3].approval.timeout && delete d.timeout,
  ),
  one(
    'an event that may never come',
    'OPS1201',
    '/do/8/waitForEvent',
    (d) => delete d.do[8].timeout && delete d.timeout,
  ),
  one('a timeout shorter than its timers', 'OPS1202', '/do/10/timeout', (d) => {
    d.do[10].timeout = '1m';
    d.do[10].do.push({ id: 'pause', wait: { for: '2m' } });
  }),
  one('a flow shorter than its timers', 'OPS1202', '/timeout', (d) => (d.timeout = '20s')),
  one(
    'a change without a limit',
    'OPS1203',
    '/do/11/call',
    (d) => (d.do[11] = { id: 'tell', call: 'timeless.work@1' }),
  ),
  one(
    'a long call without heartbeat',
    'OPS1204',
    '/do/11/call',
    (d) => (d.do[11] = { id: 'tell', call: 'slow.work@1' }),
  ),
  one(
    'a heartbeat longer than the attempt',
    'OPS1205',
    '/do/0/timeout/heartbeat',
    (d) => (d.do[0].timeout = { startToClose: '10s', heartbeat: '30s' }),
  ),
  one(
    'an attempt longer than all of them',
    'OPS1205',
    '/do/0/timeout/startToClose',
    (d) => (d.do[0].timeout = { startToClose: '10m', scheduleToClose: '1m' }),
  ),
  one(
    'retries without an end',
    'OPS1206',
    '/do/9/retry',
    (d) =>
      delete d.timeout &&
      (d.do[9] = { id: 'sub', call: 'inv.list@1', with: { kind: 'host' }, retry: { maximumAttempts: 0 } }),
  ),
  one('a goal that must hold too long', 'OPS1207', '/do/5/reconcile/stable', (d) => (d.do[5].reconcile.stable = '10m')),
];

const budget: Planted[] = [
  one('more history than there may be', 'OPS1901', '/do/11/parallel', (d) => {
    d.do[11] = {
      ...{ id: 'tell', parallel: {} },
      do: [
        {
          id: 'l',
          loop: { until: 'vars.count > 1', max: { iterations: 20_000 } },
          do: [{ id: 'c', call: 'inv.list@1', with: { kind: 'host' } }],
        },
      ],
    };
  }),
  one('a long history in one piece', 'OPS1902', '/do/11/parallel', (d) => {
    d.do[11] = {
      ...{ id: 'tell', parallel: {} },
      do: [
        {
          id: 'l',
          loop: { until: 'vars.count > 1', max: { iterations: 4_000 } },
          do: [{ id: 'c', call: 'inv.list@1', with: { kind: 'host' } }],
        },
      ],
    };
  }),
  one('too much in flight', 'OPS1903', '/do/11/forEach', (d) => {
    d.input.schema.properties.hosts.maxItems = 500;
    d.do[11] = {
      ...{ id: 'tell', forEach: { in: '${input.hosts}', concurrency: 300 } },
      do: [
        { id: 'p', parallel: {}, do: many(8, (i) => ({ id: `c${i}`, call: 'inv.list@1', with: { kind: 'host' } })) },
      ],
    };
  }),
  one('much in flight', 'OPS1904', '/do/11/forEach', (d) => {
    d.input.schema.properties.hosts.maxItems = 500;
    d.do[11] = {
      ...{ id: 'tell', forEach: { in: '${input.hosts}', concurrency: 100 } },
      do: [
        { id: 'p', parallel: {}, do: many(8, (i) => ({ id: `c${i}`, call: 'inv.list@1', with: { kind: 'host' } })) },
      ],
    };
  }),
  one(
    'more state than a run may carry',
    'OPS1905',
    '/do/4/forEach/collect',
    (d) => (d.input.schema.properties.hosts.maxItems = 20_000),
  ),
];

const safety: Planted[] = [
  one(
    'a secret in an event',
    'OPS1701',
    '/do/11/emit/data',
    (d) => (d.do[11].emit.data.total = '${secrets.wipe-token}'),
  ),
  one('a secret in a variable', 'OPS1701', '/do/1/set', (d) => (d.do[1].set.busy = '${secrets.wipe-token}')),
  one(
    'a secret in a condition',
    'OPS1701',
    '/do/11/if',
    (d) => (d.do[11].if = "secrets.wipe-token == 'x'".replace('secrets.wipe-token', "secrets['wipe-token']")),
  ),
  one(
    'all secrets',
    'OPS1704',
    '/do/10/do/0/with/token',
    (d) => (d.do[10].do[0].with.token = '${secrets}') && (d.use.secrets = []),
  ),
  one('a secret nobody declared', 'OPS1703', '/do/10/do/0/with', (d) => (d.use.secrets = [])),
  one(
    'a secret inside a text',
    'OPS1704',
    '/do/10/do/0/with/token',
    (d) => (d.do[10].do[0].with.token = 'Bearer ${secrets.wipe-token}'),
  ),
  one(
    'destruction nobody approved',
    'OPS1801',
    '/do/10/do/0/call',
    (d) => (d.do[3] = { id: 'ok', wait: { for: '1s' } }),
  ),
  one('destruction without a lock', 'OPS1802', '/do/10/do/0/call', (d) => {
    delete d.do[10].lock;
    delete d.targets;
    delete d.lockTargets;
    delete d.locks;
  }),
  one('destruction without tolerance', 'OPS1803', '/do/4/forEach', (d) => {
    delete d.do[EACH].forEach.tolerate;
    body(d).try.push({ id: 'wipe2', call: 'disk.wipe@1', with: { disk: 'a', token: 'b' } });
  }),
  one('a change that cannot be undone', 'OPS1804', `${at}/try/3/call`, (d) =>
    body(d).try.push({ id: 'once', call: 'once.only@1' }),
  ),
  one('a race of changes', 'OPS1805', `${at}/try/1/parallel/join`, (d) => {
    body(d).try[1].parallel.join = 'any';
    body(d).try[1].do[2] = { id: 'power', call: 'node.uncordon@1', with: { node: 'x' } };
  }),
  one('batches without a gate', 'OPS1806', '/do/4/forEach/batch', (d) => delete d.do[EACH].forEach.batch.gate),
  one('too many in flight', 'OPS1807', '/do/4/forEach/concurrency', () => undefined, {
    environment: { maxInFlight: 1 },
  }),
  one('too many in all', 'OPS1807', '/do/4/forEach/in', () => undefined, { environment: { maxTargets: 10 } }),
  one(
    'an approval nobody may give',
    'OPS1808',
    '/do/3/approval/approvers/excludeInitiator',
    (d) => (d.do[3].approval.approvers = { users: ['ann', 'bob'], min: 2, excludeInitiator: true }),
  ),
  one('silence as consent', 'OPS1809', '/do/3/approval/onTimeout', (d) => (d.do[3].approval.onTimeout = 'approve')),
  one(
    'nothing to compensate',
    'OPS1810',
    '/do/4/forEach/onItemError',
    (d) => (body(d).try = [{ id: 'restart', call: 'node.uncordon@1', with: { node: '${host}' }, output: { at: 1 } }]),
  ),
  one('locks by item, without items', 'OPS1811', '/lockTargets', (d) =>
    d.do.splice(EACH, 1, { id: 'each', wait: { for: '1s' } }),
  ),
  one('work that outlives its locks', 'OPS1812', '/do/9/detach', (d) => (d.do[9].detach = true)),
];

const events: Planted[] = [
  one(
    'a wait that anything ends',
    'OPS1921',
    '/do/8/waitForEvent/one',
    (d) => delete d.do[8].waitForEvent.one.correlate,
  ),
  one('an event nobody sends', 'OPS1923', '/do/8/waitForEvent/one/type', () => undefined, {
    eventTypes: new Set(['fleet.redy', 'other']),
  }),
  one('a flow that starts itself', 'OPS1924', '/do/11/emit/type', () => undefined, {
    rules: [{ name: 'fleet/loop', on: [{ type: 'fleet.care.*' }], starts: ['fleet/care@1'] }],
  }),
  one('a type of the platform', 'OPS1925', '/do/11/emit/type', (d) => (d.do[11].emit.type = 'opsloop.run.closed')),
];

const published = (change: (doc: Spoiled) => void): Partial<World> => ({ published: flowOf((doc) => change(doc)) });

const evolution: Planted[] = [
  one(
    'a published version that was changed',
    'OPS1941',
    '/version',
    (d) => (d.title = 'Other'),
    published(() => undefined),
  ),
  one(
    'an input that became required',
    'OPS1942',
    '/input/schema/required',
    (d) => (d.version = '1.1.0') && d.input.schema.required.push('reason'),
    published(() => undefined),
  ),
  one(
    'an input that is gone',
    'OPS1942',
    '/input/schema/properties',
    (d) => (d.version = '1.1.0'),
    published((d) => (d.input.schema.properties.days = { type: 'integer' })),
  ),
  one(
    'a value that is gone',
    'OPS1942',
    '/input/schema/properties/mode/enum',
    (d) => (d.version = '1.1.0'),
    published((d) => d.input.schema.properties.mode.enum.push('night')),
  ),
  one(
    'a smaller maximum',
    'OPS1942',
    '/input/schema/properties/hosts/maxItems',
    (d) => (d.version = '1.1.0'),
    published((d) => (d.input.schema.properties.hosts.maxItems = 60)),
  ),
  one(
    'a stronger effect',
    'OPS1943',
    '/do/10/do/0/call',
    (d) => (d.version = '1.1.0'),
    published((d) => d.do.splice(10, 1)),
  ),
  one('ids gone under running runs', 'OPS1944', '/do', (d) => (d.version = '1.1.0'), {
    ...published((d) => d.do.push({ id: 'last', wait: { for: '1s' } })),
    runsInFlight: 3,
  }),
  one(
    'output that is gone',
    'OPS1945',
    '/output',
    (d) => (d.version = '1.1.0'),
    published((d) => (d.output.more = 1)),
  ),
];

export const plantedRisks: Planted[] = [expressions, termination, budget, safety, events, evolution].flat();
