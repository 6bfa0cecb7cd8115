/** Safety: what destroys is seen by a person, locked and bounded; what changes can be undone or repeated. */
import type { Effect, JsonObject } from '@opsloop/contracts';
import type { Finding } from '@opsloop/rules';
import { looseSecrets, secretsOf } from '../checks.js';
import { concurrencyOf, itemsBySchema } from './estimate.js';
import { found, upward, type FlowModel, type Node } from './model.js';
import { sight } from './references.js';

export function safetyFindings(model: FlowModel): Finding[] {
  const approvals = model.nodes.filter((node) => node.verb === 'approval');
  return [
    ...model.nodes.flatMap((node) => [
      ...secretFindings(model, node),
      ...destroyFindings(model, node, approvals),
      ...changeFindings(node),
      ...raceFindings(node),
      ...batchFindings(node),
      ...approvalFindings(node),
      ...detachFindings(model, node),
    ]),
    ...secretConditions(model),
    ...perItemFindings(model),
    ...radiusFindings(model),
  ];
}

const STRENGTH: Readonly<Record<Effect, number>> = { read: 0, mutate: 1, destroy: 2 };

/** The strongest effect of a step and of what it holds, as far as its atoms are known. */
export function effectOf(node: Node): Effect {
  const own = node.atom?.effect ?? 'read';
  return node.children.reduce<Effect>((strongest, child) => {
    const below = effectOf(child);
    return STRENGTH[below] > STRENGTH[strongest] ? below : strongest;
  }, own);
}

export function strongest(nodes: readonly Node[]): Effect {
  return nodes.reduce<Effect>(
    (a, { atom }) => (STRENGTH[atom?.effect ?? 'read'] > STRENGTH[a] ? atom!.effect : a),
    'read',
  );
}

/** Secrets may stand in the `with` of a call, as a whole value, and must be declared. */
function secretFindings({ flow }: FlowModel, node: Node): Finding[] {
  const step = node.step!;
  const places: [string, unknown][] = [];
  if ('call' in step) places.push([`${node.pointer}/with`, step.with]);
  if (step.compensate) places.push([`${node.pointer}/compensate/with`, step.compensate.with]);
  const declared = flow.use?.secrets ?? [];
  return places.flatMap(([pointer, template]) => {
    if (template === undefined) return [];
    const loose = looseSecrets(template).map((at) =>
      found(
        'OPS1704',
        pointer + at,
        'a secret stands alone as a whole value: "${secrets.<name>}"; inside a text or $logic it would be read here, where it is only a reference',
        'store the whole value as the secret ("Bearer …"), or put the text around it into an http atom',
        node.id,
      ),
    );
    if (loose.length > 0) return loose;
    return secretsOf(template).flatMap((name) => {
      if (name === '*')
        return [found('OPS1702', pointer, 'a secret is named in full: ${secrets.<name>}', undefined, node.id)];
      return declared.includes(name)
        ? []
        : [found('OPS1703', pointer, `the secret "${name}" is not declared`, 'add it to use.secrets', node.id)];
    });
  });
}

function secretConditions({ reads, conditions }: FlowModel): Finding[] {
  const slots = new Set(conditions.map(({ pointer }) => pointer));
  const said = new Set<string>();
  return reads.flatMap(({ segments, pointer, node }) => {
    if (segments[0] !== 'secrets' || !slots.has(pointer) || said.has(pointer)) return [];
    said.add(pointer);
    return [
      found(
        'OPS1701',
        pointer,
        'a condition cannot read secrets',
        'compare in the atom that needs the secret',
        node.id,
      ),
    ];
  });
}

function destroyFindings(model: FlowModel, node: Node, approvals: readonly Node[]): Finding[] {
  if (node.atom?.effect !== 'destroy' || node.phase !== 'forward') return [];
  const at = `${node.pointer}/call`;
  const { name } = node.atom;
  const place = { container: node.parent!, branch: node.branch, index: node.index };
  const asked = approvals.some((approval) => ['sure', 'maybe'].includes(sight(approval, { place }).is));
  const findings: Finding[] = [];
  if (!asked)
    findings.push(found('OPS1801', at, `${name} destroys, and no approval comes before it`, undefined, node.id));
  const { flow } = model;
  const targets = flow.targets !== undefined && flow.lockTargets !== 'none';
  const around = [...upward(node)];
  const locked = around.some(({ step }) => step !== undefined && 'lock' in step && step.lock !== undefined);
  if (!targets && !locked && (flow.locks ?? []).length === 0)
    findings.push(found('OPS1802', at, `${name} destroys, and nothing is locked`, undefined, node.id));
  const loop = around.find((one) => one.verb === 'forEach');
  if (
    loop?.step !== undefined &&
    'forEach' in loop.step &&
    loop.step.forEach.tolerate === undefined &&
    loop.step.forEach.onItemError !== 'stop'
  )
    findings.push(
      found(
        'OPS1803',
        `${loop.pointer}/forEach`,
        `${name} destroys item by item, and no number of failures stops it`,
        'add "tolerate", for example { "failures": 0 }',
        loop.id,
      ),
    );
  return findings;
}

const canUndo = (node: Node): boolean => {
  const own = node.step?.compensate;
  return own === null ? false : own !== undefined || node.atom?.compensate !== undefined;
};

/** Inside parallel or forEach a failure of one stops the others in the middle. */
function changeFindings(node: Node): Finding[] {
  const { atom } = node;
  if (atom === undefined || atom.effect === 'read' || atom.idempotency !== 'none' || node.phase !== 'forward')
    return [];
  if (canUndo(node) || node.step?.compensate === null) return [];
  const around = [...upward(node.parent)].find(({ verb }) => verb === 'parallel' || verb === 'forEach');
  return around === undefined
    ? []
    : [
        found(
          'OPS1804',
          `${node.pointer}/call`,
          `${atom.name} changes something inside ${around.verb} "${around.id}", cannot be repeated and is not undone`,
          undefined,
          node.id,
        ),
      ];
}

function raceFindings(node: Node): Finding[] {
  const step = node.step!;
  if (!('parallel' in step)) return [];
  const { join = 'all' } = step.parallel;
  if (join === 'all' || (typeof join === 'object' && join.count >= step.do.length)) return [];
  const changing = descendants(node).find(
    (one) => one.atom !== undefined && one.atom.effect !== 'read' && !canUndo(one),
  );
  return changing === undefined
    ? []
    : [
        found(
          'OPS1805',
          `${node.pointer}/parallel/join`,
          `"${changing.id}" changes something and is cancelled when another branch wins`,
          undefined,
          node.id,
        ),
      ];
}

function descendants(node: Node): Node[] {
  return node.children.flatMap((child) => [child, ...descendants(child)]);
}

function batchFindings(node: Node): Finding[] {
  const step = node.step!;
  if (!('forEach' in step)) return [];
  const { batch, onItemError } = step.forEach;
  const findings: Finding[] = [];
  const inside = descendants(node).filter((one) => one.branch !== 'gate');
  const changes = inside.some((one) => one.atom !== undefined && one.atom.effect !== 'read');
  const several =
    batch !== undefined && (batch.canary !== undefined || batch.size !== undefined || batch.plan !== undefined);
  if (several && batch.gate === undefined && changes)
    findings.push(
      found(
        'OPS1806',
        `${node.pointer}/forEach/batch`,
        'the next batch begins without a look at the last one',
        undefined,
        node.id,
      ),
    );
  const known = inside.every((one) => one.verb !== 'run' && (one.verb !== 'call' || one.atom !== undefined));
  if (onItemError === 'compensate' && known && changes && !inside.some(canUndo))
    findings.push(
      found('OPS1810', `${node.pointer}/forEach/onItemError`, 'nothing inside has a compensation', undefined, node.id),
    );
  return findings;
}

function approvalFindings(node: Node): Finding[] {
  const step = node.step!;
  return 'approval' in step ? duties(step.approval as unknown as JsonObject, `${node.pointer}/approval`, node.id) : [];
}

/** Separation of duties must be possible, and silence must not be consent. */
export function duties(spec: JsonObject, pointer: string, step?: string): Finding[] {
  const approvers = (spec['approvers'] ?? {}) as {
    users?: string[];
    groups?: string[];
    min?: number;
    excludeInitiator?: boolean;
  };
  const findings: Finding[] = [];
  const { users, groups = [], min = 1, excludeInitiator } = approvers;
  if (excludeInitiator === true && Array.isArray(users) && groups.length === 0 && new Set(users).size === min)
    findings.push(
      found(
        'OPS1808',
        `${pointer}/approvers/excludeInitiator`,
        `wants ${min} of ${min}, and whoever starts it may not count`,
        undefined,
        step,
      ),
    );
  if (spec['onTimeout'] === 'approve')
    findings.push(
      found('OPS1809', `${pointer}/onTimeout`, 'when nobody answers, it counts as approved', undefined, step),
    );
  return findings;
}

function detachFindings(model: FlowModel, node: Node): Finding[] {
  const step = node.step!;
  if (!('run' in step) || (step.detach !== true && step.onParentClose !== 'abandon')) return [];
  const { flow } = model;
  const locks = (flow.targets !== undefined && flow.lockTargets !== 'none') || (flow.locks ?? []).length > 0;
  return locks
    ? [
        found(
          'OPS1812',
          `${node.pointer}/${step.detach === true ? 'detach' : 'onParentClose'}`,
          `"${step.run}" may go on after the locks of this run are freed`,
          undefined,
          node.id,
        ),
      ]
    : [];
}

function perItemFindings({ flow, nodes }: FlowModel): Finding[] {
  if (flow.lockTargets !== 'perItem' || nodes.some(({ verb }) => verb === 'forEach')) return [];
  return [found('OPS1811', '/lockTargets', 'locks are taken item by item, and the flow has no forEach')];
}

/** Blast radius against what the environment allows: in flight, and in all. */
function radiusFindings(model: FlowModel): Finding[] {
  const { environment } = model.world;
  if (environment === undefined) return [];
  const itemsOf = itemsBySchema(model);
  return model.nodes.flatMap((node) => {
    const step = node.step!;
    if (!('forEach' in step) || effectOf(node) === 'read') return [];
    const items = itemsOf(node);
    const width = Math.min(concurrencyOf(node), step.forEach.batch?.max ?? Number.POSITIVE_INFINITY);
    const findings: Finding[] = [];
    if (environment.maxInFlight !== undefined && width > environment.maxInFlight)
      findings.push(
        found(
          'OPS1807',
          `${node.pointer}/forEach/concurrency`,
          `${width} targets in flight; the environment allows ${environment.maxInFlight}`,
          undefined,
          node.id,
        ),
      );
    if (environment.maxTargets !== undefined && items !== undefined && items > environment.maxTargets)
      findings.push(
        found(
          'OPS1807',
          `${node.pointer}/forEach/in`,
          `up to ${items} targets; the environment allows ${environment.maxTargets}`,
          undefined,
          node.id,
        ),
      );
    return findings;
  });
}
