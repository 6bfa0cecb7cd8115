import {
  type CompiledFlow,
  type Json,
  type JsonObject,
  type RunContext,
  type RunInput,
  TEMPORAL_NAMES,
} from '@opsloop/contracts';
import { flowPerTarget } from '@opsloop/dsl';
import type { StartableRow } from '../admit/admission-row.js';

/** Above this a compiled flow is loaded by digest: Temporal warns at 512 KB per payload, and the input holds more than the flow. */
export const IR_INLINE_BYTES_MAX = 128 * 1024;
/** The attribute may hold 2 KB and SQL stores cut at 255 per value; 20 paths tell a person enough. */
const ATTRIBUTE_TARGETS_MAX = 20;
const ATTRIBUTE_BYTES_MAX = 1_500;
const ATTRIBUTE_VALUE_MAX = 255;

/** Targets as a search attribute: as they are when they fit, else their parents, else their kinds. */
export function attributeTargets(targets: readonly string[]): string[] {
  let list = [...new Set(targets)];
  for (;;) {
    const bytes = list.reduce((sum, t) => sum + Buffer.byteLength(t), 0);
    const fits = list.every((t) => t.length <= ATTRIBUTE_VALUE_MAX);
    if (list.length <= ATTRIBUTE_TARGETS_MAX && bytes <= ATTRIBUTE_BYTES_MAX && fits) return list;
    if (list.every((t) => !t.includes('/')))
      return list.filter((t) => t.length <= ATTRIBUTE_VALUE_MAX).slice(0, ATTRIBUTE_TARGETS_MAX);
    const depth = Math.max(...list.map((t) => t.split('/').length));
    list = [...new Set(list.map((t) => (t.split('/').length < depth ? t : t.slice(0, t.lastIndexOf('/')))))];
  }
}

/** The flow and the input that the workflow gets: the chosen flow itself, or `opsloop/per-target` around it. */
export function workflowOf(
  row: Pick<StartableRow, 'flow' | 'request' | 'facts'>,
  compiled: CompiledFlow,
): { type: string; ir: CompiledFlow; input: Json; summary: string } {
  const { perTarget, input } = row.request;
  const only = perTarget?.items.length === 1 ? perTarget.items[0] : undefined;
  if (perTarget === undefined) return { type: row.flow, ir: compiled, input, summary: row.flow };
  if (only !== undefined)
    return { type: row.flow, ir: compiled, input: only.input, summary: `${row.flow} on ${only.path}` };
  const { items, batches, ...options } = perTarget;
  return {
    type: TEMPORAL_NAMES.perTargetFlow,
    ir: flowPerTarget(compiled, { ...options, turns: laterOf(row.facts).length > 0 }),
    input: { items, batches } as unknown as Json,
    summary: `${row.flow} on ${items.length} targets`,
  };
}

/** Policies that charge each target at its turn; what they said at the admission holds for the whole run. */
const laterOf = (facts: JsonObject | null): readonly string[] =>
  (facts as { policies?: { later?: string[] } } | null)?.policies?.later ?? [];

export function contextOf(row: StartableRow, startedAt: Date): RunContext {
  const { request } = row;
  return {
    run: row.id,
    tenant: row.tenant,
    flow: row.flow,
    version: row.version ?? '',
    tier: row.tier,
    ...(row.rule === null ? {} : { rule: row.rule }),
    ...(row.decision_id === null ? {} : { decisionId: row.decision_id }),
    initiator: row.initiator,
    ...(row.fence === null ? {} : { fence: row.fence }),
    targets: row.targets,
    correlationId: request.correlationId,
    hops: request.hops,
    startedAt: startedAt.toISOString(),
    ...(row.dry_run ? { dryRun: true } : {}),
    ...(row.dry_run && request.timeScale !== undefined ? { timeScale: request.timeScale } : {}),
  };
}

export function runInputOf(parts: {
  context: RunContext;
  ir: CompiledFlow;
  irDigest: string;
  input: Json;
  config: Record<string, JsonObject>;
}): { input: RunInput; inline: boolean } {
  const { context, ir, irDigest, input, config } = parts;
  const inline = Buffer.byteLength(JSON.stringify(ir)) <= IR_INLINE_BYTES_MAX;
  return { inline, input: { context, ...(inline ? { ir } : { irDigest }), input, config } };
}
