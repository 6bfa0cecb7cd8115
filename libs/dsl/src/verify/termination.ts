/** Termination: every wait has an end, and every timeout covers what stands inside it. */
import { durationMs, printDuration } from '@opsloop/contracts';
import type { Finding } from '@opsloop/rules';
import { Estimator, itemsBySchema, timeoutsOf } from './estimate.js';
import { found, upward, type FlowModel, type Node } from './model.js';

/** A call that takes longer must beat, or a dead worker and a cancellation are noticed too late. */
const HEARTBEAT_ABOVE_MS = 30_000;

export function terminationFindings(model: FlowModel): Finding[] {
  const estimates = new Estimator(model.flow, itemsBySchema(model));
  return [
    ...model.nodes.flatMap((node) => [
      ...waitFindings(model, node),
      ...callFindings(model, node, estimates),
      ...coverFindings(node, estimates),
      ...goalFindings(node),
    ]),
    ...flowTimeout(model, estimates),
  ];
}

/** A person or an event may never come. */
function waitFindings({ flow }: FlowModel, node: Node): Finding[] {
  const step = node.step!;
  if (!('approval' in step) && !('waitForEvent' in step)) return [];
  const [verb, spec] = 'approval' in step ? ['approval', step.approval] : ['waitForEvent', step.waitForEvent];
  const { timeout } = spec as { timeout?: string };
  if (timeout !== undefined) return cutOff(node, verb as string, timeout, flow.timeout);
  if (flow.timeout !== undefined) return [];
  for (const at of upward(node)) if (typeof at.step?.timeout === 'string') return [];
  return [
    found(
      'OPS1201',
      `${node.pointer}/${verb}`,
      verb === 'approval' ? 'nobody may ever answer' : 'the event may never come',
      'add "timeout" to the step, or to the flow',
      node.id,
    ),
  ];
}

/** Somebody may take as long as this, and what is around it ends before. */
function cutOff(node: Node, verb: string, timeout: string, flowTimeout: string | undefined): Finding[] {
  const around = [...upward(node.parent)].map((at) => [at.step!.timeout, `"${at.id}"`] as const);
  const [outer, name] =
    [...around, [flowTimeout, 'the flow'] as const].find(
      ([one]) => typeof one === 'string' && durationMs(one) < durationMs(timeout),
    ) ?? [];
  if (outer === undefined) return [];
  const said = `it may wait for ${timeout}, and ${name} ends after ${outer as string}`;
  return [found('OPS1209', `${node.pointer}/${verb}/timeout`, said, undefined, node.id)];
}

function callFindings(model: FlowModel, node: Node, estimates: Estimator): Finding[] {
  const step = node.step!;
  if (!('call' in step)) return [];
  const { flow } = model;
  const times = timeoutsOf(node, flow);
  const ms = (text: string | undefined): number | undefined => (text === undefined ? undefined : durationMs(text));
  const [start, close, beat] = [ms(times.startToClose), ms(times.scheduleToClose), ms(times.heartbeat)];
  const own = typeof step.timeout === 'object' ? step.timeout : {};
  const at = (key: 'heartbeat' | 'startToClose'): string =>
    own[key] === undefined ? `${node.pointer}/call` : `${node.pointer}/timeout/${key}`;
  const findings: Finding[] = [];
  const add = (code: string, pointer: string, message: string, hint?: string): void =>
    void findings.push(found(code, pointer, message, hint, node.id));
  if (beat !== undefined && start !== undefined && beat >= start)
    add(
      'OPS1205',
      at('heartbeat'),
      `heartbeat ${times.heartbeat} is not shorter than startToClose ${times.startToClose}`,
    );
  if (own.startToClose !== undefined && start !== undefined && close !== undefined && start > close)
    add(
      'OPS1205',
      at('startToClose'),
      `startToClose ${times.startToClose} is longer than scheduleToClose ${times.scheduleToClose}`,
    );
  const changes = node.atom !== undefined && node.atom.effect !== 'read';
  if (changes && start === undefined && close === undefined)
    add('OPS1203', `${node.pointer}/call`, `nothing says how long one attempt of ${node.atom!.name} may take`);
  const foreign = node.atom?.worker !== undefined && times.from !== 'flow';
  if (changes && foreign && start !== undefined && start > HEARTBEAT_ABOVE_MS && beat === undefined)
    add(
      'OPS1204',
      at('startToClose'),
      `an attempt may take ${times.startToClose}, and nothing says how often the worker beats`,
    );
  const retry = step.retry ?? flow.defaults?.retry;
  if (estimates.policy(retry).maximumAttempts === 0 && close === undefined && !bounded(flow.timeout, node)) {
    const pointer = step.retry === undefined ? '/defaults/retry' : `${node.pointer}/retry`;
    add('OPS1206', pointer, 'is repeated without an end, and nothing around it has a timeout');
  }
  return findings;
}

function bounded(flowTimeout: string | undefined, node: Node): boolean {
  if (flowTimeout !== undefined) return true;
  for (const at of upward(node)) if (typeof at.step?.timeout === 'string') return true;
  return false;
}

/** Timers inside a block that alone take longer than the block may. */
function coverFindings(node: Node, estimates: Estimator): Finding[] {
  const step = node.step!;
  if (typeof step.timeout !== 'string' || 'call' in step) return [];
  const least = node.children.length === 0 && !('wait' in step) ? 0 : estimates.of(node).leastMs;
  const inner = step.if === undefined ? least : new EstimatorWithoutIf(estimates, node).leastMs;
  return inner <= durationMs(step.timeout)
    ? []
    : [
        found(
          'OPS1202',
          `${node.pointer}/timeout`,
          `the timers inside take ${printDuration(inner)}, and the timeout is ${step.timeout}`,
          undefined,
          node.id,
        ),
      ];
}

/** A step that is skipped takes no time, but when it is not, its timeout must still fit. */
class EstimatorWithoutIf {
  readonly leastMs: number;
  constructor(estimates: Estimator, node: Node) {
    this.leastMs = node.children.reduce((sum, child) => sum + estimates.of(child).leastMs, 0);
  }
}

function goalFindings(node: Node): Finding[] {
  const step = node.step!;
  if ('reconcile' in step) {
    const { stable, deadline, every } = step.reconcile;
    if (stable !== undefined && durationMs(stable) >= durationMs(deadline))
      return [
        found(
          'OPS1207',
          `${node.pointer}/reconcile/stable`,
          `the goal must hold for ${stable}, and the deadline is ${deadline}`,
          undefined,
          node.id,
        ),
      ];
    if (every !== undefined && durationMs(every) > durationMs(deadline))
      return [
        found(
          'OPS1207',
          `${node.pointer}/reconcile/every`,
          `the second look would be after the deadline of ${deadline}`,
          'look more often',
          node.id,
        ),
      ];
  }
  if ('loop' in step) {
    const { every, max } = step.loop;
    if (every !== undefined && max.duration !== undefined && durationMs(every) > durationMs(max.duration))
      return [
        found(
          'OPS1207',
          `${node.pointer}/loop/every`,
          `the second turn would be after the maximum of ${max.duration}`,
          'repeat more often',
          node.id,
        ),
      ];
  }
  return [];
}

function flowTimeout(model: FlowModel, estimates: Estimator): Finding[] {
  const { timeout } = model.flow;
  if (timeout === undefined) return [];
  const { leastMs } = estimates.of(model.root);
  return leastMs <= durationMs(timeout)
    ? []
    : [
        found(
          'OPS1202',
          '/timeout',
          `the timers of the flow take ${printDuration(leastMs)}, and the timeout is ${timeout}`,
        ),
      ];
}
