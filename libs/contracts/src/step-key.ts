import { sha256Hex } from './digest.js';

/** Longest key of a forEach item that stands in an instance path as it is (engineering section 1). */
const ITEM_KEY_CHARS_MAX = 128;

/**
 * The key of one step execution, handed to every target as `Idempotency-Key`: `ops-` + 32 hex of
 * sha256(run id, instance path, epoch). The epoch rises only when an operator retries, so a target that honours
 * the key applies each step at most once, however often it is delivered (invariant 3).
 */
export function stepKey(runId: string, instancePath: string, epoch: number): string {
  return `ops-${sha256Hex(`${runId}\n${instancePath}\n${epoch}`).slice(0, 32)}`;
}

/** Workflow id of a child: `<parent workflow id>.<first 16 hex of sha256(instance path)>`. */
export function childWorkflowId(parentWorkflowId: string, instancePath: string): string {
  return `${parentWorkflowId}.${sha256Hex(instancePath).slice(0, 16)}`;
}

/** Workflow id of a run: `<domain>.<name>.<run id>`; `/` would break Temporal's Web UI, hence dots. */
export function workflowIdOf(offering: string, runId: string): string {
  return `${offering.replaceAll('/', '.')}.${runId}`;
}

/** Percent-encodes the key of a forEach item for an instance path; keys above 128 characters become 32 hex of their sha256. */
export function itemSegment(key: string): string {
  const encoded = encodeURIComponent(key);
  return encoded.length <= ITEM_KEY_CHARS_MAX ? encoded : sha256Hex(key).slice(0, 32);
}
