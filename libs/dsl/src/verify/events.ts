/** Events: waits that end on the right event, and flows that do not start themselves. */
import { matchesPattern, type EmitStep, type Json, type JsonObject } from '@opsloop/contracts';
import type { Finding } from '@opsloop/rules';
import { isSent } from './environment.js';
import { found, patternsOf, type FlowModel, type Node } from './model.js';
import { near } from '../near.js';
import type { World } from './world.js';

export function eventFindings(model: FlowModel): Finding[] {
  return model.nodes.flatMap((node) => [
    ...waitFindings(model, node),
    ...emitFindings(model, node),
    ...plainFindings(node),
  ]);
}

/** Types and titles of problems are plain: alerts and `catch` look for them. */
function plainFindings(node: Node): Finding[] {
  const step = node.step!;
  if (!('raise' in step)) return [];
  return (['type', 'title'] as const).flatMap((member) =>
    step.raise[member]?.includes('${') === true
      ? [
          found(
            'OPS1414',
            `${node.pointer}/raise/${member}`,
            `"${step.raise[member]}" is a plain text`,
            undefined,
            node.id,
          ),
        ]
      : [],
  );
}

function waitFindings({ world }: FlowModel, node: Node): Finding[] {
  const step = node.step!;
  const patterns: [string, JsonObject][] =
    'waitForEvent' in step
      ? patternsOf(step.waitForEvent as unknown as JsonObject).map(([at, one]) => [`waitForEvent/${at}`, one])
      : 'reconcile' in step
        ? (step.reconcile.wakeOn ?? []).map((one, i) => [`reconcile/wakeOn/${i}`, one as unknown as JsonObject])
        : [];
  return patterns.flatMap(([slot, pattern]) => {
    const at = `${node.pointer}/${slot}`;
    const type = pattern['type'];
    if (typeof type !== 'string')
      return [found('OPS1922', at, 'has no type, so every event matches', undefined, node.id)];
    const findings: Finding[] = [];
    const narrowed = ['correlate', 'subject', 'filter', 'data'].some((key) => pattern[key] !== undefined);
    // Waking too early costs one look; ending too early is a wrong answer.
    if (!narrowed && slot.startsWith('waitForEvent'))
      findings.push(found('OPS1921', at, `any event of type "${type}" ends the wait`, undefined, node.id));
    return [...findings, ...unsent(type, `${at}/type`, world, node.id)];
  });
}

/** A wait for, or a rule on, what nobody sends. */
export function unsent(type: string, pointer: string, world: World, step?: string): Finding[] {
  if (isSent(type, world)) return [];
  const hint = near(type, new Set([...(world.eventTypes ?? []), ...(world.sentTypes ?? [])]));
  return [found('OPS1923', pointer, `nothing that is known sends "${type}"`, hint, step)];
}

function emitFindings({ world, flow }: FlowModel, node: Node): Finding[] {
  const step = node.step!;
  if (!('emit' in step)) return [];
  const { type } = step.emit;
  const at = `${node.pointer}/emit/type`;
  if (type.includes('${')) return [found('OPS1414', at, `"${type}" is a plain text`, undefined, node.id)];
  if (type.startsWith('opsloop.'))
    return [found('OPS1925', at, `"${type}" begins with "opsloop."`, undefined, node.id)];
  const circle = (world.rules ?? []).find(
    (rule) =>
      rule.starts.some((ref) => ref.split('@', 1)[0] === flow.name) &&
      rule.on.some((pattern) => mayAnswer(pattern, step.emit)),
  );
  return circle === undefined
    ? []
    : [found('OPS1924', at, `the rule "${circle.name}" answers "${type}" with this flow`, undefined, node.id)];
}

type Pattern = NonNullable<FlowModel['world']['rules']>[number]['on'][number];

/** False only where plain texts already say no; what a template becomes is not known before the run. */
function mayAnswer({ type, subject, data }: Pattern, emitted: EmitStep['emit']): boolean {
  if (type !== undefined && !matchesPattern(type, emitted.type)) return false;
  const about = emitted.subject;
  if (subject !== undefined && typeof about === 'string' && !about.includes('${') && !matchesPattern(subject, about))
    return false;
  return data === undefined || mayHold(data, emitted.data ?? {});
}

/** Whether a value of a template may fit a pattern: every key of it; a list means any of its members. */
function mayHold(expected: Json, template: Json | undefined): boolean {
  if (typeof template === 'string' && template.includes('${')) return true;
  if (Array.isArray(expected)) return expected.some((one) => mayHold(one, template));
  if (expected === null || typeof expected !== 'object') return expected === template;
  if (template === null || typeof template !== 'object' || Array.isArray(template)) return false;
  return Object.entries(expected).every(([key, value]) => mayHold(value, template[key]));
}
