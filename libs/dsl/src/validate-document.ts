import type { DocumentKind } from '@opsloop/contracts';
import { finding, type Finding } from '@opsloop/rules';

export function validateDocument<T = unknown>(kind: DocumentKind, body: unknown): { findings: Finding[]; document?: T } {
  const object = body as Record<string, unknown> | null;
  if (object === null || typeof object !== 'object') return { findings: [finding('OPS1001', '', 'a document is an object')] };
  if (kind !== 'resource' && object['kind'] !== kind) return { findings: [finding('OPS1001', '/kind', `must be "${kind}"`)] };
  return { findings: [], document: body as T };
}
