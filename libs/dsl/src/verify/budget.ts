/** Temporal budget: parts of a run that cannot be continued in a new one must fit into one history. */
import type { Finding } from '@opsloop/rules';
import { concurrencyOf, Estimator, HISTORY, itemsBySchema, PENDING } from './estimate.js';
import { found, type FlowModel, type Node } from './model.js';

/** What a run may carry over when it is continued. */
const CARRIED_MAX = 1024 * 1024;
/** An item that is collected: its key, and a few members. */
const COLLECTED_BYTES = 120;

export function budgetFindings(model: FlowModel): Finding[] {
  const itemsOf = itemsBySchema(model);
  const estimates = new Estimator(model.flow, itemsOf);
  return model.nodes.flatMap((node) => [
    ...historyFindings(model, node, estimates),
    ...pendingFindings(node, estimates),
    ...carriedFindings(node, itemsOf(node)),
  ]);
}

/** The outermost parts whose events must stand in one history: nothing inside is a safe point to leave. */
function historyFindings(model: FlowModel, node: Node, estimates: Estimator): Finding[] {
  const events = piece(model, node, estimates);
  if (events === undefined || insidePiece(model, node)) return [];
  if (events <= HISTORY.warn) return [];
  const said = `up to ${events.toLocaleString('en')} events in one history, which cannot be cut inside this step`;
  return [
    found(events > HISTORY.end ? 'OPS1901' : 'OPS1902', `${node.pointer}/${node.verb}`, said, undefined, node.id),
  ];
}

/** Events of a step that is one piece; undefined when the run can be continued inside it. */
function piece(model: FlowModel, node: Node, estimates: Estimator): number | undefined {
  const step = node.step!;
  if ('parallel' in step) return estimates.of(node).events;
  if ('do' in step && 'lock' in step && step.lock !== undefined) return estimates.of(node).events;
  if (!('forEach' in step) || step.forEach.isolate === true) return undefined;
  const width = concurrencyOf(node);
  if (width <= 1 && model.flow.lockTargets !== 'perItem') return undefined;
  // Before a run is continued, the items in flight end; none begins.
  const item = estimates.list(node, 'do').reduce((sum, one) => sum + one.events, 0);
  return width * item;
}

function insidePiece(model: FlowModel, node: Node): boolean {
  for (let at = node.parent; at?.step !== undefined; at = at.parent) {
    const step = at.step;
    if ('parallel' in step || ('lock' in step && step.lock !== undefined)) return true;
    if ('forEach' in step && (concurrencyOf(at) > 1 || model.flow.lockTargets === 'perItem')) return true;
  }
  return false;
}

function pendingFindings(node: Node, estimates: Estimator): Finding[] {
  if (node.verb !== 'parallel' && node.verb !== 'forEach') return [];
  const { pending } = estimates.of(node);
  const around = node.parent?.step === undefined ? 0 : estimates.of(node.parent).pending;
  // The outermost block that is too wide; what it holds is then said by it.
  if (pending <= PENDING.own || around > PENDING.own) return [];
  return [
    found(
      pending > PENDING.server ? 'OPS1903' : 'OPS1904',
      `${node.pointer}/${node.verb}`,
      `up to ${pending.toLocaleString('en')} calls or sub-flows in flight at once`,
      undefined,
      node.id,
    ),
  ];
}

function carriedFindings(node: Node, items: number | undefined): Finding[] {
  const step = node.step!;
  if (!('forEach' in step) || items === undefined || step.forEach.collect === undefined) return [];
  const bytes = items * Math.max(COLLECTED_BYTES, JSON.stringify(step.forEach.collect).length);
  return bytes <= CARRIED_MAX
    ? []
    : [
        found(
          'OPS1905',
          `${node.pointer}/forEach/collect`,
          `${items.toLocaleString('en')} items make about ${Math.round(bytes / 1024).toLocaleString('en')} KB that travel with the run`,
          undefined,
          node.id,
        ),
      ];
}
