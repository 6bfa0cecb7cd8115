/** One mistake each, where it stands, and the code that must be found there. */
import type { World } from '../src/index.js';

/** A document that is about to be spoiled: anything may be written anywhere. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- mistakes have no types
export type Spoiled = any;

export interface Planted {
  name: string;
  code: string;
  pointer: string;
  spoil: (doc: Spoiled) => void;
  world?: Partial<World>;
}

export const one = (
  name: string,
  code: string,
  pointer: string,
  spoil: (doc: Spoiled) => void,
  world?: Partial<World>,
): Planted => ({
  ...{ name, code, pointer, spoil },
  ...(world === undefined ? {} : { world }),
});

/** Places in the good flow. */
export const EACH = 4;
export const body = (doc: Spoiled): Spoiled => doc.do[EACH].do[0];
export const at = '/do/4/do/0';
const structure: Planted[] = [
  one('a member that nobody knows', 'OPS1001', '/do/0/timeOut', (d) => (d.do[0].timeOut = '1s')),
  one('a duration in words', 'OPS1001', '/timeout', (d) => (d.timeout = 'two hours')),
  one('a version that is no semver', 'OPS1001', '/version', (d) => (d.version = '1')),
  one('a name with capitals', 'OPS1001', '/name', (d) => (d.name = 'Fleet/Care')),
  one('no steps', 'OPS1001', '/do', (d) => delete d.do),
  one('an id with a dot', 'OPS1001', '/do/0/id', (d) => (d.do[11].emit.data = {}) && (d.do[0].id = 'sc.an')),
  one('concurrency 0', 'OPS1001', '/do/4/forEach/concurrency', (d) => (d.do[EACH].forEach.concurrency = 0)),
  one('a quorum of 0', 'OPS1001', '/do/3/approval/approvers/min', (d) => (d.do[3].approval.approvers.min = 0)),
  one('a loop without a maximum', 'OPS1001', '/do/6/loop/max', (d) => delete d.do[6].loop.max),
  one(
    'a reconcile without a deadline',
    'OPS1001',
    '/do/5/reconcile/deadline',
    (d) => delete d.do[5].reconcile.deadline,
  ),
  one(
    'a verb that is misspelt',
    'OPS1002',
    '/do/7/switch/0/do/0',
    (d) => (d.do[7].switch[0].do[0] = { id: 'fast', sleep: '1s' }),
  ),
  one('two verbs', 'OPS1002', '/do/11', (d) => (d.do[11].set = { count: 1 })),
  one('an id twice', 'OPS1003', '/do/12/id', (d) => (d.do[12].id = 'tell')),
  one('an id twice, deep inside', 'OPS1003', '/do/9/id', (d) => (body(d).finally[0].id = 'sub')),
  one(
    'a forbidden member',
    'OPS1005',
    '/do/11/emit/data/constructor',
    (d) => (d.do[11].emit.data = { constructor: 1 }),
  ),
  one('a reserved domain', 'OPS1007', '/name', (d) => (d.name = 'atom/care')),
  one('an atom that is not there', 'OPS1010', '/do/0/call', (d) => (d.do[0].call = 'inv.lost@1')),
  one('a flow that is not there', 'OPS1011', '/do/9/run', (d) => (d.do[9].run = 'fleet/lost@1')),
  one('a reference without a version', 'OPS1014', '/do/0/call', (d) => (d.do[0].call = 'inv.list')),
  one('a flow called as an atom', 'OPS1014', '/do/0/call', (d) => (d.do[0].call = 'fleet/inner@1')),
  one('a version range that is none', 'OPS1014', '/do/9/run', (d) => (d.do[9].run = 'fleet/inner@newest')),
  one(
    'an item called input',
    'OPS1016',
    '/do/4/forEach/as',
    (d) =>
      (d.do[EACH].forEach = { in: [1], as: 'input' }) &&
      (d.do[EACH].do = [{ id: 'x', wait: { for: '1s' } }]) &&
      (d.output = {}),
  ),
  one('an unknown retry policy', 'OPS1040', '/do/0/retry', (d) => (d.do[0].retry = 'pateint')),
];

const graph: Planted[] = [
  one('needs in a list', 'OPS1101', '/do/1/needs', (d) => (d.do[1].needs = ['scan'])),
  one('needs of nobody', 'OPS1101', `${at}/try/1/do/2/needs/0`, (d) => (body(d).try[1].do[2].needs = ['tickt'])),
  one('needs in a circle', 'OPS1102', `${at}/try/1/do`, (d) => (body(d).try[1].do[2].needs = ['power'])),
  one('a default that is not the last', 'OPS1103', '/do/7/switch/0', (d) => d.do[7].switch.reverse()),
  one('a clause that catches everything first', 'OPS1103', `${at}/catch/0`, (d) =>
    body(d).catch.unshift({ do: [{ id: 'c', wait: { for: '1s' } }] }),
  ),
  one(
    'a switch without a default',
    'OPS1104',
    '/do/7/switch',
    (d) => (d.do[7].switch[1].when = "input.mode == 'slow'"),
  ),
  one(
    'a join of more than there are',
    'OPS1105',
    `${at}/try/1/parallel/join/count`,
    (d) => (body(d).try[1].parallel.join = { count: 4 }),
  ),
  one('until and while', 'OPS1106', '/do/6/loop', (d) => (d.do[6].loop.while = 'vars.count > 0')),
  one('a condition that is always true', 'OPS1107', '/do/11/if', (d) => (d.do[11].if = '1 == 1')),
  one('the same condition twice', 'OPS1108', '/do/7/switch/1/when', (d) =>
    d.do[7].switch.splice(1, 0, { when: "input.mode  == 'fast'", do: [{ id: 'x', wait: { for: '1s' } }] }),
  ),
  one('steps after a return', 'OPS1109', '/do/12', (d) => (d.do[11] = { id: 'tell', return: {} })),
  one(
    'a canary above the maximum',
    'OPS1110',
    '/do/4/forEach/batch/canary',
    (d) => (d.do[EACH].forEach.batch.canary = 9),
  ),
  one(
    'a quorum of more than there are',
    'OPS1111',
    '/do/3/approval/approvers/min',
    (d) => (d.do[3].approval.approvers = { users: ['ann'], min: 2 }),
  ),
  one(
    'an error type that is misspelt',
    'OPS1112',
    `${at}/catch/0/errors/type`,
    (d) => (body(d).catch[0].errors.type = 'timeuot'),
  ),
  one(
    'a wait for one and any',
    'OPS1113',
    '/do/8/waitForEvent',
    (d) => (d.do[8].waitForEvent.any = [{ type: 'x.y', subject: 'a' }]),
  ),
];

const references: Planted[] = [
  one('a name that nobody has', 'OPS1501', '/do/9/with/host', (d) => (d.do[9].with.host = '${inputs.mode}')),
  one(
    'a step that is not there',
    'OPS1502',
    '/do/11/emit/data/total',
    (d) => (d.do[11].emit.data.total = '${steps.scn.output.total}'),
  ),
  one('an input that is not declared', 'OPS1503', '/do/9/with/host', (d) => (d.do[9].with.host = '${input.host}')),
  one('a step that comes later', 'OPS1504', '/do/0/with/limit', (d) => (d.do[0].with.limit = '${steps.sub.output.n}')),
  one('a step that reads itself', 'OPS1504', '/do/9/with/host', (d) => (d.do[9].with.host = '${steps.sub.output.h}')),
  one(
    'a branch beside, without needs',
    'OPS1504',
    `${at}/try/1/do/2/with/limit`,
    (d) => (body(d).try[1].do[2].with.limit = '${steps.ticket.output.total}'),
  ),
  one(
    'a step in another branch of a switch',
    'OPS1504',
    '/do/7/switch/1/do/0/title',
    (d) => (d.do[7].switch[1].do[0].title = '${steps.fast.output}'),
  ),
  one('a condition on a later step', 'OPS1504', '/do/1/if', (d) => (d.do[1].if = "steps.sub.status == 'succeeded'")),
  one('a step that may be skipped', 'OPS1505', '/do/11/emit/data/total', (d) => {
    d.do[0].if = 'vars.count > 3';
    d.do[1].set.busy = [];
  }),
  one(
    'a branch that may not be taken',
    'OPS1505',
    '/do/11/emit/data/total',
    (d) => (d.do[11].emit.data.total = '${steps.fast.output}'),
  ),
  one(
    'what an error may have jumped over',
    'OPS1505',
    '/do/4/forEach/collect/at',
    (d) => (d.do[EACH].forEach.collect.at = '${steps.restart.output.at}'),
  ),
  one(
    'the body of a try, in its finally',
    'OPS1505',
    `${at}/finally/0/with/node`,
    (d) => (body(d).finally[0].with.node = '${steps.restart.output.at}'),
  ),
  one(
    'a step of a loop, outside',
    'OPS1506',
    '/output/count',
    (d) => (d.output.count = '${steps.poll.output.total}') && (d.do[1].set.busy = '${vars.count}'),
  ),
  one(
    'an observation, outside',
    'OPS1506',
    '/do/11/emit/data/total',
    (d) => (d.do[11].emit.data.total = '${steps.look.output.total}'),
  ),
  one('a step of an item, outside', 'OPS1506', '/output/each', (d) => (d.output.each = '${steps.drain.output}')),
  one(
    'a variable that nobody sets',
    'OPS1507',
    '/output/count',
    (d) => (d.output.count = '${vars.counter}') && (d.do[1].set.busy = '${vars.count}'),
  ),
  one('a variable that nobody reads', 'OPS1508', '/vars/spare', (d) => (d.vars.spare = 1)),
  one('a secret that nobody uses', 'OPS1508', '/use/secrets/1', (d) => d.use.secrets.push('other')),
  one('an item outside its loop', 'OPS1509', '/output/each', (d) => (d.output.each = '${host}')),
  one(
    'a caught error outside its clause',
    'OPS1509',
    `${at}/finally/0/with/node`,
    (d) => (body(d).finally[0].with.node = '${problem.detail}'),
  ),
  one('targets from a step', 'OPS1509', '/targets', (d) => (d.targets = '${steps.scan.output.items}')),
  one(
    'a member that no step has',
    'OPS1510',
    '/do/11/emit/data/total',
    (d) => (d.do[11].emit.data.total = '${steps.scan.result}'),
  ),
  one(
    'an optional input without ?',
    'OPS1511',
    '/do/11/emit/data/total',
    (d) => (d.do[11].emit.data.total = '${input.reason}'),
  ),
  one('a config that is not there', 'OPS1512', '/do/9/with/host', (d) => (d.do[9].with.host = '${config.cmbd.url}'), {
    configs: { cmdb: { url: 'x' } },
  }),
];

const types: Planted[] = [
  one('the length of a list as a member', 'OPS1601', '/do/11/if', (d) => (d.do[11].if = 'input.hosts.length > 3')),
  one('a type the schema does not take', 'OPS1001', '/do/6/loop/max', (d) => (d.do[6].loop.max = 3)),
  one(
    'a member the output does not have',
    'OPS1601',
    '/do/11/emit/data/total',
    (d) => (d.do[11].emit.data.total = '${steps.scan.output.totals}'),
  ),
  one('a number as a condition', 'OPS1602', '/do/11/if', (d) => (d.do[11].if = 'length(vars.busy)')),
  one('a text as a condition', 'OPS1602', '/do/11/if', (d) => (d.do[11].if = 'input.mode')),
  one('a loop over a text', 'OPS1603', '/do/4/forEach/in', (d) => (d.do[EACH].forEach.in = '${input.mode}')),
  one('an input the atom requires', 'OPS1604', '/do/0/with/kind', (d) => (d.do[0].with = {})),
  one('an input the atom does not know', 'OPS1604', '/do/0/with/knd', (d) => (d.do[0].with.knd = 'host')),
  one('a literal the atom refuses', 'OPS1604', '/do/0/with/limit', (d) => (d.do[0].with.limit = 500)),
  one('a value the atom does not list', 'OPS1604', '/do/0/with/kind', (d) => (d.do[0].with.kind = 'hosts')),
  one(
    'a path of another kind',
    'OPS1604',
    '/do/9/with/host',
    (d) => (d.do[9] = { id: 'sub', call: 'node.uncordon@1', with: { node: 'x', host: '${input.hosts}' } }),
  ),
  one(
    'a list where a text is wanted',
    'OPS1604',
    '/do/10/do/0/with/disk',
    (d) => (d.do[10].do[0].with.disk = '${input.hosts}'),
  ),
  one(
    'a state that does not exist',
    'OPS1605',
    '/do/5/reconcile/goal',
    (d) => (d.do[5].reconcile.goal = "steps.look.output.state == 'UP'"),
  ),
  one('a status that does not exist', 'OPS1605', '/do/11/if', (d) => (d.do[11].if = "steps.scan.status == 'success'")),
  one('a text compared with a number', 'OPS1606', '/do/11/if', (d) => (d.do[11].if = "steps.scan.output.total == '3'")),
  one(
    'a list inside a text',
    'OPS1607',
    '/do/3/approval/title',
    (d) => (d.do[3].approval.title = 'Care for ${input.hosts}'),
  ),
  one('an input the sub-flow requires', 'OPS1608', '/do/9/with/host', (d) => (d.do[9].with = {})),
  one('a literal the sub-flow refuses', 'OPS1608', '/do/9/with/days', (d) => (d.do[9].with.days = 'three')),
  one(
    'a template as the type of an event',
    'OPS1414',
    '/do/11/emit/type',
    (d) => (d.do[11].emit.type = 'a.${flow.name}'),
  ),
  one('a time that is none', 'OPS1609', '/do/12/wait/until', (d) => (d.do[12].wait.until = 'tomorrow')),
  one('a lock on no path', 'OPS1610', '/locks/0/path', (d) => (d.locks[0].path = 'service//x')),
];

export const plantedMistakes: Planted[] = [structure, graph, references, types].flat();
