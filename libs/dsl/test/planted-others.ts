/** One mistake each in documents that are no flows. */
import type { DocumentKind, Json, JsonObject } from '@opsloop/contracts';

const head = (kind: string, name: string): JsonObject => ({ dsl: 'opsloop/v1', kind, name });

/** Documents without any finding, by kind; a copy each time. */
export const good: Readonly<Record<string, () => Record<string, unknown>>> = {
  rule: () => ({
    ...head('rule', 'fleet/down'),
    version: '1.0.0',
    on: [{ type: 'fleet.state', data: { state: 'down' } }],
    when: "resource.labels.stage != 'burn-in'",
    tier: [{ when: "resource.labels.service == 'pay'", tier: 'P0' }, { tier: 'P2' }],
    targets: { from: 'event' },
    batch: { by: '${resource.labels.rack}', size: '20%', max: 10 },
    goal: {
      state: "resource.state.state == 'up'",
      observe: {
        call: 'probe.http@1',
        with: { url: 'http://${resource.labels.addr}/' },
        every: '10s',
        staleAfter: '1m',
      },
      stableFor: '10s',
    },
    branches: [
      {
        id: 'default',
        ladder: [
          { id: 'care', run: 'fleet/inner@1', with: { host: '${resource.path}' }, attempts: 2, within: '2m' },
          { id: 'page', call: 'notify.webhook@1', with: { url: '${config.oncall.url}', body: '${targets}' } },
        ],
      },
    ],
  }),
  approval: () => ({
    ...head('policy', 'ops/two'),
    type: 'approval',
    approvers: { users: ['ann', 'bob', 'eve'], min: 2, excludeInitiator: true },
    onTimeout: 'reject',
  }),
  freeze: () => ({
    ...head('policy', 'ops/freeze'),
    type: 'freeze',
    during: { rrule: 'FREQ=MONTHLY;BYMONTHDAY=-1', start: '18:00', for: '12h', zone: 'Asia/Shanghai' },
    then: 'hold',
  }),
  storm: () => ({
    ...head('policy', 'ops/storm'),
    type: 'storm',
    by: '${resource.labels.rack}',
    unhealthy: '40%',
    then: { run: 'fleet/inner@1', with: { host: '${group.key}' } },
  }),
  radius: () => ({ ...head('policy', 'ops/radius'), type: 'blast-radius', by: '${resource.labels.rack}', max: 1 }),
  source: () => ({
    ...head('source', 'probe'),
    type: 'poll',
    every: '5s',
    for: { kind: 'host' },
    call: 'probe.http@1',
    with: { url: 'http://${resource.labels.addr}/' },
    event: { type: 'fleet.state', data: { state: '${result.state}' } },
  }),
  hook: () => ({
    ...head('source', 'ci'),
    type: 'generic',
    auth: { type: 'bearer', token: 't' },
    mapping: { subject: 'host/${body.host}' },
  }),
  schedule: () => ({
    ...head('schedule', 'fleet/nightly'),
    cron: '0 3 * * mon-fri',
    zone: 'Europe/Berlin',
    run: 'fleet/inner@1',
    with: { host: 'a' },
  }),
  recurring: () => ({
    ...head('schedule', 'fleet/monthly'),
    rrule: 'FREQ=MONTHLY',
    call: 'inv.list@1',
    with: { kind: 'host' },
  }),
  table: () => ({
    ...head('table', 'ops/tier'),
    version: '1.0.0',
    hit: 'first',
    rows: [{ when: "resource.labels.service == 'pay'", tier: 'P0' }, { tier: 'P4' }],
  }),
  config: () => ({ ...head('config', 'cmdb'), values: { url: 'https://cmdb.example' } }),
  resource: () => ({
    dsl: 'opsloop/v1',
    kind: 'resource',
    path: 'host/a',
    memberOf: ['service/pay'],
    dependsOn: ['switch/x'],
  }),
  flowtest: () => ({
    ...head('flowtest', 'it looks'),
    flow: 'fleet/inner@1',
    input: { host: 'a' },
    mocks: { look: [{ result: { items: [], total: 0 } }] },
    expect: { status: 'succeeded', path: ['look'] },
  }),
};

const kindOf = (base: string): DocumentKind | 'flowtest' => good[base]!()['kind'] as DocumentKind;
type Spoil = (doc: Record<string, any>) => void; // eslint-disable-line @typescript-eslint/no-explicit-any -- mistakes have no types

export interface PlantedIn {
  name: string;
  base: string;
  kind: DocumentKind | 'flowtest';
  code: string;
  pointer: string;
  spoil: Spoil;
}

const one = (base: string, name: string, code: string, pointer: string, spoil: Spoil): PlantedIn => ({
  ...{ name, base, code, pointer, spoil },
  kind: kindOf(base),
});
const rung = '/branches/0/ladder/0';
const first = (doc: { branches: { ladder: Record<string, Json>[] }[] }): Record<string, Json> =>
  doc.branches[0]!.ladder[0]!;

export const plantedOthers: PlantedIn[] = [
  one(
    'rule',
    'a member that is misspelt',
    'OPS1001',
    '/brnches',
    (d) => ((d['brnches'] = d['branches']), delete d['branches']),
  ),
  one('rule', 'a flow that is not there', 'OPS1011', `${rung}/run`, (d) => (first(d as never)['run'] = 'fleet/lost@1')),
  one(
    'rule',
    'an atom that is not there',
    'OPS1010',
    '/goal/observe/call',
    (d) => (d['goal'].observe.call = 'probe.lost@1'),
  ),
  one(
    'rule',
    'an observation that changes',
    'OPS1051',
    '/goal/observe/call',
    (d) => (d['goal'].observe.call = 'node.drain@1'),
  ),
  one('rule', 'input that the flow lacks', 'OPS1608', `${rung}/with/host`, (d) => (first(d as never)['with'] = {})),
  one(
    'rule',
    'input of the wrong kind',
    'OPS1608',
    `${rung}/with/days`,
    (d) => (first(d as never)['with'] = { host: 'a', days: 'x' }),
  ),
  one(
    'rule',
    'input that the atom does not know',
    'OPS1604',
    '/branches/0/ladder/1/with/uri',
    (d) => (d['branches'][0].ladder[1].with.uri = 'x'),
  ),
  one(
    'rule',
    'a name that is not there',
    'OPS1501',
    `${rung}/with/host`,
    (d) => (first(d as never)['with'] = { host: '${input.host}' }),
  ),
  one('rule', 'an event in the goal', 'OPS1501', '/goal/state', (d) => (d['goal'].state = "event.data.state == 'up'")),
  one(
    'rule',
    'a condition that cannot be read',
    'OPS1409',
    '/when',
    (d) => (d['when'] = "resource.labels.stage = 'x'"),
  ),
  one('rule', 'a condition that is always true', 'OPS1107', '/when', (d) => (d['when'] = '1 < 2')),
  one('rule', 'a tier twice', 'OPS1108', '/tier/1/when', (d) => d['tier'].splice(1, 0, { ...d['tier'][0] })),
  one('rule', 'a tier that is never reached', 'OPS1103', '/tier/0', (d) => d['tier'].reverse()),
  one(
    'rule',
    'two ways to wait',
    'OPS1030',
    '/atLeast',
    (d) => ((d['for'] = '1m'), (d['atLeast'] = { count: 2, within: '1m' })),
  ),
  one('rule', 'a rung of both kinds', 'OPS1031', rung, (d) => (first(d as never)['call'] = 'probe.http@1')),
  one(
    'rule',
    'a rung that ends the ladder',
    'OPS1032',
    `${rung}/within`,
    (d) => (delete first(d as never)['within'], delete first(d as never)['attempts']),
  ),
  one(
    'rule',
    'attempts without a time',
    'OPS1033',
    '/branches/0/ladder/1/attempts',
    (d) => (d['branches'][0].ladder[1].attempts = 3),
  ),
  one('rule', 'rungs without a goal', 'OPS1034', '/branches/0/ladder/1', (d) => delete d['goal']),
  one('rule', 'looks too far apart', 'OPS1052', '/goal/observe/every', (d) => (d['goal'].observe.every = '90s')),
  one('rule', 'an attempt shorter than the proof', 'OPS1052', `${rung}/within`, (d) => (d['goal'].stableFor = '5m')),
  one('rule', 'the same pattern twice', 'OPS1053', '/on/1', (d) => d['on'].push({ ...d['on'][0] })),
  one('rule', 'an id twice', 'OPS1003', '/branches/0/ladder/1/id', (d) => (d['branches'][0].ladder[1].id = 'care')),
  one('rule', 'a range that is none', 'OPS1014', `${rung}/run`, (d) => (first(d as never)['run'] = 'fleet/inner')),
  one('rule', 'a reserved domain', 'OPS1007', '/name', (d) => (d['name'] = 'opsloop/down')),
  one('approval', 'more approvals than people', 'OPS1111', '/approvers/min', (d) => (d['approvers'].min = 4)),
  one(
    'approval',
    'an approval that nobody may give',
    'OPS1808',
    '/approvers/excludeInitiator',
    (d) => (d['approvers'].min = 3),
  ),
  one('approval', 'silence as consent', 'OPS1809', '/onTimeout', (d) => (d['onTimeout'] = 'approve')),
  one('freeze', 'a zone that is not there', 'OPS1061', '/during/zone', (d) => (d['during'].zone = 'Asia/Shanghia')),
  one('freeze', 'a recurrence that is none', 'OPS1062', '/during/rrule', (d) => (d['during'].rrule = 'EVERY=MONTH')),
  one('freeze', 'a time of day that is none', 'OPS1609', '/during/start', (d) => (d['during'].start = '25:00')),
  one('freeze', 'a recurrence without a length', 'OPS1009', '/during/for', (d) => delete d['during'].for),
  one(
    'freeze',
    'an end before the beginning',
    'OPS1064',
    '/during/until',
    (d) => (d['during'] = { from: '2026-02-01T00:00:00Z', until: '2026-01-01T00:00:00Z' }),
  ),
  one('storm', 'a flow that is not there', 'OPS1011', '/then/run', (d) => (d['then'].run = 'fleet/lost@1')),
  one('storm', 'nothing to start', 'OPS1009', '/then/run', (d) => (d['then'] = {})),
  one('storm', 'a share that is none', 'OPS1064', '/unhealthy', (d) => (d['unhealthy'] = '0%')),
  one('radius', 'a limit that limits nothing', 'OPS1064', '/max', (d) => delete d['max']),
  one('source', 'a poll that changes', 'OPS1051', '/call', (d) => (d['call'] = 'node.drain@1')),
  one('source', 'input that the atom refuses', 'OPS1604', '/with/url', (d) => (d['with'] = {})),
  one(
    'source',
    'a name that is not there',
    'OPS1501',
    '/event/data/state',
    (d) => (d['event'].data.state = '${response.state}'),
  ),
  one('source', 'silence shorter than the pause', 'OPS1052', '/expectEvery', (d) => (d['expectEvery'] = '1s')),
  one(
    'hook',
    'a proof that it does not have',
    'OPS1076',
    '/auth/type',
    (d) => (d['auth'] = { type: 'routing-key', key: 'k' }),
  ),
  one('hook', 'a signature over nothing', 'OPS1077', '/auth/message', (d) => {
    d['auth'] = { type: 'hmac', secret: 's', message: 'v0:hello' };
  }),
  one('hook', 'a door without a lock', 'OPS1078', '/auth/type', (d) => (d['auth'] = { type: 'none' })),
  one('hook', 'an id that is not signed', 'OPS1079', '/mapping/id', (d) => {
    d['auth'] = { type: 'hmac', secret: 's' };
    d['mapping'].id = '${headers["x-id"]}';
  }),
  one('hook', 'an item without a list', 'OPS1501', '/mapping/subject', (d) => (d['mapping'].subject = '${item.x}')),
  one('hook', 'a topic of nobody', 'OPS1001', '/kafka', (d) => (d['kafka'] = { brokers: ['a:1'], topic: 't' })),
  one('source', 'a poll without its pause', 'OPS1001', '/every', (d) => delete d['every']),
  one(
    'hook',
    'a name that is not there',
    'OPS1501',
    '/mapping/subject',
    (d) => (d['mapping'].subject = 'host/${event.host}'),
  ),
  one('hook', 'a member of polls', 'OPS1001', '/every', (d) => (d['every'] = '5s')),
  one('schedule', 'a cron of six fields', 'OPS1063', '/cron', (d) => (d['cron'] = '0 0 3 * * *')),
  one('schedule', 'an hour that is none', 'OPS1063', '/cron', (d) => (d['cron'] = '0 24 * * *')),
  one('schedule', 'a zone that is not there', 'OPS1061', '/zone', (d) => (d['zone'] = 'Berlin')),
  one('schedule', 'input that the flow lacks', 'OPS1608', '/with/host', (d) => (d['with'] = {})),
  one('schedule', 'two times', 'OPS1009', '/every', (d) => (d['every'] = '1h')),
  one('recurring', 'an atom that is not there', 'OPS1010', '/call', (d) => (d['call'] = 'inv.lost@1')),
  one('recurring', 'a frequency that is none', 'OPS1062', '/rrule', (d) => (d['rrule'] = 'FREQ=OFTEN')),
  one('table', 'the same row twice', 'OPS1108', '/rows/1/when', (d) => d['rows'].splice(1, 0, { ...d['rows'][0] })),
  one('table', 'a row that is never reached', 'OPS1103', '/rows/0', (d) => d['rows'].reverse()),
  one('table', 'a row that cannot be read', 'OPS1409', '/rows/0/when', (d) => (d['rows'][0].when = 'a ==')),
  one('config', 'a secret in clear text', 'OPS1071', '/values/api/token', (d) => (d['values'].api = { token: 'abc' })),
  one(
    'config',
    'a template nobody renders',
    'OPS1072',
    '/values/url',
    (d) => (d['values'].url = 'http://${config.x.y}'),
  ),
  one('config', 'a limit that is none', 'OPS1074', '/values/maxInFlight', (d) => {
    d['name'] = 'environment';
    d['values'].maxInFlight = 0;
  }),
  one('config', 'event types that are none', 'OPS1074', '/values/eventTypes', (d) => {
    d['name'] = 'environment';
    d['values'].eventTypes = 'fleet.*';
  }),
  one('resource', 'a path with an empty part', 'OPS1008', '/path', (d) => (d['path'] = 'host//a')),
  one('resource', 'a member of itself', 'OPS1073', '/memberOf/0', (d) => (d['memberOf'] = ['host/a'])),
  one('resource', 'the same twice', 'OPS1053', '/dependsOn/1', (d) => d['dependsOn'].push('switch/x')),
  one('flowtest', 'a flow that is not there', 'OPS1011', '/flow', (d) => (d['flow'] = 'fleet/lost@1')),
  one('flowtest', 'a step that is not there', 'OPS1081', '/expect/path/0', (d) => (d['expect'].path = ['lok'])),
];
