/** Graph: what can be reached, and joins, quorums and batches that can be met. */
import { digestOf, isErrorCode, type CatchClause, type Json, type JsonObject } from '@opsloop/contracts';
import { logicReads, pointerTo, type Finding } from '@opsloop/rules';
import { found, type ConditionSlot, type FlowModel, type Node } from './model.js';
import { near } from '../near.js';
import { checkUserSchema } from '../user-schema.js';

export function graphFindings(model: FlowModel): Finding[] {
  const types = raisedTypes(model);
  return [
    ...model.nodes.flatMap((node) => [...stepFindings(node), ...errorTypes(model, node, types)]),
    ...unreachable(model.flow.do, '/do'),
    ...unreachable(model.flow.finally, '/finally'),
    ...clauseFindings(model.flow.catch, '/catch', types),
    ...model.conditions.flatMap((slot) => constantFindings(slot)),
  ];
}

function stepFindings(node: Node): Finding[] {
  const step = node.step!;
  const { pointer, id } = node;
  const findings: Finding[] = [];
  const add = (code: string, at: string, message: string, hint?: string): void =>
    void findings.push(found(code, pointer + at, message, hint, id));
  if (step.needs !== undefined && node.parent?.verb !== 'parallel')
    add(
      'OPS1101',
      '/needs',
      '"needs" orders the children of a parallel step only',
      'steps of a list run in their order',
    );
  if ('switch' in step) {
    findings.push(
      ...defaultLast(step.switch, `${pointer}/switch`, id),
      ...sameTwice(step.switch, `${pointer}/switch`, id),
    );
    if (step.switch.every((branch) => branch.when !== undefined))
      add('OPS1104', '/switch', 'no branch is taken when no condition is true');
    step.switch.forEach((branch, i) => findings.push(...unreachable(branch.do, `${pointer}/switch/${i}/do`)));
  }
  if ('parallel' in step) {
    const { join } = step.parallel;
    if (typeof join === 'object' && join.count > step.do.length)
      add('OPS1105', '/parallel/join/count', `waits for ${join.count} of ${step.do.length} branches`);
    findings.push(...needsFindings(node));
  } else if ('do' in step && Array.isArray(step.do)) findings.push(...unreachable(step.do, `${pointer}/do`));
  if ('loop' in step && (step.loop.until === undefined) === (step.loop.while === undefined))
    add('OPS1106', '/loop', 'a loop has exactly one of until, while');
  if ('try' in step) {
    findings.push(...unreachable(step.try, `${pointer}/try`), ...unreachable(step.finally, `${pointer}/finally`));
    (step.catch ?? []).forEach((clause, i) => findings.push(...unreachable(clause.do, `${pointer}/catch/${i}/do`)));
  }
  if ('forEach' in step) findings.push(...batchFindings(node));
  if ('approval' in step) {
    findings.push(...quorum(step.approval as unknown as JsonObject, `${pointer}/approval`, id));
    const { form } = step.approval;
    if (form !== undefined)
      findings.push(...checkUserSchema(form, `${pointer}/approval/form`).map((one) => ({ ...one, step: id })));
  }
  if ('waitForEvent' in step) {
    const { one, any, all } = step.waitForEvent;
    const given = [one, any, all].filter((kind) => kind !== undefined).length;
    if (given !== 1)
      add(
        'OPS1113',
        '/waitForEvent',
        `a wait has exactly one of one, any, all; this one has ${given === 0 ? 'none' : given}`,
      );
  }
  return findings;
}

/** Steps after an unconditional end of the flow. */
function unreachable(steps: readonly { id: string; if?: unknown }[] | undefined, pointer: string): Finding[] {
  const at = (steps ?? []).findIndex((step) => ('return' in step || 'raise' in step) && step.if === undefined);
  if (at < 0 || at === steps!.length - 1) return [];
  const next = steps![at + 1]!;
  return [
    found(
      'OPS1109',
      `${pointer}/${at + 1}`,
      `"${next.id}" comes after "${steps![at]!.id}", which always ends the flow`,
      undefined,
      next.id,
    ),
  ];
}

/** An entry without `when` matches always, so whatever stands after it is dead. */
export function defaultLast(entries: readonly { when?: unknown }[], pointer: string, step?: string): Finding[] {
  const early = entries.findIndex((entry, i) => entry.when === undefined && i < entries.length - 1);
  return early < 0
    ? []
    : [
        found(
          'OPS1103',
          `${pointer}/${early}`,
          'an entry without "when" matches always; what stands after it is never reached',
          'move it to the end, or give it a condition',
          step,
        ),
      ];
}

/** The same condition in two entries of a first-match list. */
export function sameTwice(entries: readonly { when?: Json }[], pointer: string, step?: string): Finding[] {
  const seen = new Map<string, number>();
  return entries.flatMap((entry, i) => {
    if (entry.when === undefined) return [];
    const key = typeof entry.when === 'string' ? entry.when.replaceAll(/\s+/g, ' ').trim() : digestOf(entry.when);
    const first = seen.get(key);
    if (first === undefined) return (seen.set(key, i), []);
    return [
      found('OPS1108', `${pointer}/${i}/when`, `is the condition of entry ${first + 1} already`, undefined, step),
    ];
  });
}

/** A condition without any read has one outcome; `true` and `false` themselves are usually left from trying out. */
export function constantFindings({ logic, pointer, node, slot }: ConditionSlot): Finding[] {
  if (logic === undefined || (typeof logic !== 'boolean' && (typeof logic !== 'object' || logic === null))) return [];
  // A loop may well be endless on purpose; its maximum ends it.
  if (slot === 'while' || slot === 'until') return [];
  if (
    logicReads(logic).length > 0 ||
    JSON.stringify(logic).includes('"now"') ||
    JSON.stringify(logic).includes('"var"')
  )
    return [];
  return [
    found('OPS1107', pointer, 'the condition reads nothing, so its outcome is always the same', undefined, node.id),
  ];
}

/** `needs` names siblings and never leads back to where it began. */
function needsFindings(node: Node): Finding[] {
  const step = node.step!;
  if (!('parallel' in step)) return [];
  const findings: Finding[] = [];
  const needs = new Map(step.do.map((child) => [child.id, child.needs ?? []]));
  step.do.forEach((child, i) => {
    (child.needs ?? []).forEach((id, n) => {
      if (!needs.has(id))
        findings.push(
          found(
            'OPS1101',
            `${node.pointer}/do/${i}/needs/${n}`,
            `"${id}" is no sibling of "${child.id}"`,
            near(id, new Set(needs.keys())) ?? 'name ids of the same parallel step',
            child.id,
          ),
        );
    });
  });
  const cycle = cycleOf(needs);
  if (cycle !== undefined)
    findings.push(
      found('OPS1102', `${node.pointer}/do`, `steps need each other: ${cycle.join(' → ')}`, undefined, step.id),
    );
  return findings;
}

function cycleOf(needs: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (id: string, trail: string[]): string[] | undefined => {
    if (trail.includes(id)) return [...trail.slice(trail.indexOf(id)), id];
    if (done.has(id)) return undefined;
    for (const next of needs.get(id) ?? []) {
      const cycle = visit(next, [...trail, id]);
      if (cycle !== undefined) return cycle;
    }
    done.add(id);
    return undefined;
  };
  for (const id of needs.keys()) {
    const cycle = visit(id, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

function batchFindings(node: Node): Finding[] {
  const step = node.step!;
  if (!('forEach' in step)) return [];
  const { batch, concurrency } = step.forEach;
  const at = `${node.pointer}/forEach/batch`;
  const max = batch?.max;
  if (max === undefined) return [];
  const findings: Finding[] = [];
  const add = (member: string, value: number): void => {
    if (value > max)
      findings.push(
        found('OPS1110', `${at}/${member}`, `${value} is more than batch.max, ${max}, lets pass`, undefined, node.id),
      );
  };
  if (batch?.canary !== undefined) add('canary', batch.canary);
  if (typeof batch?.size === 'number') add('size', batch.size);
  if (typeof concurrency === 'number' && concurrency > max)
    findings.push(
      found(
        'OPS1110',
        `${node.pointer}/forEach/concurrency`,
        `a batch has at most ${max} items, so ${concurrency} are never in flight`,
        undefined,
        node.id,
      ),
    );
  return findings;
}

/** More approvals than people who may give them. */
export function quorum(spec: JsonObject, pointer: string, step?: string): Finding[] {
  const approvers = spec['approvers'] as { users?: string[]; groups?: string[]; min?: number } | undefined;
  if (approvers === undefined || (approvers.groups ?? []).length > 0 || !Array.isArray(approvers.users)) return [];
  const { min = 1 } = approvers;
  const people = new Set(approvers.users).size;
  return min <= people
    ? []
    : [
        found(
          'OPS1111',
          `${pointer}/approvers/min`,
          `wants ${min} approvals of ${people} ${people === 1 ? 'person' : 'people'}`,
          undefined,
          step,
        ),
      ];
}

/** Types that steps of this flow raise, and those it declares. */
function raisedTypes({ nodes, flow }: FlowModel): ReadonlySet<string> {
  const types = new Set(Object.keys(flow.use?.errors ?? {}));
  for (const { step } of nodes) if (step !== undefined && 'raise' in step) types.add(step.raise.type);
  return types;
}

function errorTypes(model: FlowModel, node: Node, types: ReadonlySet<string>): Finding[] {
  const step = node.step!;
  const findings = 'try' in step ? clauseFindings(step.catch, `${node.pointer}/catch`, types, step.id) : [];
  const { retry } = step;
  if (typeof retry === 'object')
    findings.push(
      ...unknownTypes(retry.nonRetryableErrorTypes, `${node.pointer}/retry/nonRetryableErrorTypes`, types, step.id),
    );
  return findings;
}

function clauseFindings(
  clauses: readonly CatchClause[] | undefined,
  pointer: string,
  types: ReadonlySet<string>,
  step?: string,
): Finding[] {
  const list = clauses ?? [];
  const early = list.findIndex((one, i) => one.errors === undefined && one.when === undefined && i < list.length - 1);
  return [
    ...(early < 0
      ? []
      : [
          found(
            'OPS1103',
            `${pointer}/${early}`,
            'a clause without "errors" and "when" catches everything; what stands after it is never reached',
            'move it to the end',
            step,
          ),
        ]),
    ...list.flatMap((clause, i) => {
      const type = clause.errors?.type;
      return typeof type === 'string'
        ? unknownTypes([type], `${pointer}/${i}/errors/type`, types, step, true)
        : unknownTypes(type, `${pointer}/${i}/errors/type`, types, step);
    }),
  ];
}

function unknownTypes(
  list: readonly string[] | undefined,
  pointer: string,
  types: ReadonlySet<string>,
  step?: string,
  single = false,
): Finding[] {
  return (list ?? []).flatMap((type, i) => {
    const name = type.split('/').at(-1)!;
    if (
      isErrorCode(type) ||
      type.startsWith('atom/') ||
      types.has(type) ||
      (type.startsWith('http') && isErrorCode(name))
    )
      return [];
    return [
      found(
        'OPS1112',
        single ? pointer : pointerTo(pointer, i),
        `"${type}" is no error type of the language, and nothing here raises it`,
        near(type, new Set([...types, ...COMMON])),
        step,
      ),
    ];
  });
}

const COMMON = [
  ...[
    'configuration',
    'validation',
    'expression',
    'authentication',
    'authorization',
    'timeout',
    'communication',
    'runtime',
  ],
  ...[
    'cancelled',
    'policy',
    'approval-rejected',
    'approval-timeout',
    'goal-not-met',
    'batch-threshold',
    'lock-conflict',
  ],
  ...['compensation-failed', 'payload-too-large', 'stale-fence', 'no-worker', 'run-lost'],
];
