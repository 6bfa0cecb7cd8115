/** Shapes of requests and answers, for parsing and for the API pages. */
import { PageQuery } from '@opsloop/platform';
import { z } from 'zod';

const Effect = z.enum(['read', 'mutate', 'destroy']);

/** Documents have their own schemas (published with the project), so here they are only objects. */
export const Document = z
  .record(z.string(), z.unknown())
  .meta({ id: 'Document', description: 'The document itself, as it was put' });

export const Finding = z
  .object({
    code: z.string(),
    severity: z.enum(['error', 'warning']),
    pointer: z.string(),
    message: z.string(),
    hint: z.string().optional(),
    step: z.string().optional(),
  })
  .meta({ id: 'Finding' });

export const StoredVersion = z
  .object({
    kind: z.string(),
    name: z.string(),
    version: z.string().optional(),
    digest: z.string(),
    status: z.enum(['draft', 'published', 'deprecated']),
    live: z.boolean(),
    builtIn: z.boolean().optional(),
    createdAt: z.string(),
    createdBy: z.string(),
    body: Document,
  })
  .meta({ id: 'StoredVersion' });

export const PutAnswer = z
  .object({
    change: z.enum(['created', 'changed', 'unchanged']),
    kind: z.string(),
    name: z.string(),
    version: z.string().optional(),
    digest: z.string(),
    status: z.enum(['draft', 'published', 'deprecated']),
    warnings: z.array(Finding),
    warning: z.string().optional(),
    next: z.string().optional(),
  })
  .meta({ id: 'PutAnswer' });

export const VersionAct = z
  .strictObject({ version: z.string().min(1).max(100), reason: z.string().max(1_000).optional() })
  .meta({ id: 'VersionAct' });

export const VersionActAnswer = z
  .object({
    kind: z.string(),
    name: z.string(),
    version: z.string(),
    status: z.enum(['draft', 'published', 'deprecated']),
    changed: z.boolean(),
    deprecated: z.array(z.string()),
  })
  .meta({ id: 'VersionActAnswer' });

export const page = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().optional() });
export const StoredPage = page(StoredVersion);

/** Documents checked in one request: a directory of a team; with 1 MB of body this is rarely the limit that bites. */
const VALIDATE_MAX = 500;
export const ValidateMany = z.strictObject({ documents: z.array(z.unknown()).min(1).max(VALIDATE_MAX) });
export const ValidateAnswer = z
  .object({
    valid: z.boolean(),
    findings: z.array(Finding),
    documents: z.array(
      z.object({ kind: z.string(), name: z.string(), valid: z.boolean(), findings: z.array(Finding) }),
    ),
  })
  .meta({ id: 'ValidateAnswer' });

export const PlanRequest = z
  .strictObject({
    flow: Document.optional(),
    name: z.string().max(300).optional(),
    input: z.json().default({}),
  })
  .refine((r) => (r.flow === undefined) !== (r.name === undefined), {
    message: 'give either "flow" (a document) or "name" (name@range)',
    path: ['name'],
  })
  .meta({ id: 'PlanRequest' });
export const PlanAnswer = z
  .object({
    name: z.string(),
    version: z.string(),
    effect: Effect,
    inputErrors: z.array(z.object({ pointer: z.string(), message: z.string() })),
    targets: z.union([z.array(z.string()), z.literal('known at run time')]),
    locks: z.union([
      z.array(z.object({ path: z.string(), mode: z.enum(['shared', 'exclusive']) })),
      z.literal('known at run time'),
    ]),
    effects: z.object({ read: z.number(), mutate: z.number(), destroy: z.number() }),
    steps: z.array(z.record(z.string(), z.unknown())),
  })
  .meta({ id: 'PlanAnswer' });

export const CatalogQuery = z.strictObject({
  ...PageQuery.shape,
  q: z.string().max(200).optional(),
  kind: z.enum(['flow', 'atom']).optional(),
  owner: z.string().max(200).optional(),
  effect: Effect.optional(),
});
export const OfferingItem = z
  .object({
    name: z.string(),
    kind: z.enum(['flow', 'atom']),
    title: z.string().optional(),
    owner: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
    version: z.string(),
    effect: Effect,
    builtIn: z.boolean(),
    startable: z.boolean(),
  })
  .meta({ id: 'OfferingItem' });
export const OfferingDetail = OfferingItem.extend({
  digest: z.string(),
  input: Document,
  examples: z.array(z.object({ input: z.unknown(), output: z.unknown().optional() })),
  versions: z.array(
    z.object({ version: z.string(), status: z.string(), createdAt: z.string(), createdBy: z.string() }),
  ),
  calls: z.record(z.string(), z.string()),
  problems: z.array(z.string()),
  curl: z.string(),
}).meta({ id: 'OfferingDetail' });
export const OfferingPage = page(OfferingItem);

export const AuditQuery = z.strictObject({
  ...PageQuery.shape,
  kind: z.string().max(50).optional(),
  name: z.string().max(200).optional(),
});
export const AuditEntry = z
  .object({
    id: z.string(),
    at: z.string(),
    by: z.string(),
    act: z.string(),
    kind: z.string(),
    name: z.string(),
    version: z.string().optional(),
    digest: z.string().optional(),
    reason: z.string().optional(),
  })
  .meta({ id: 'AuditEntry' });
export const AuditPage = page(AuditEntry);

export const RefBody = z.strictObject({ ref: z.string().min(1).max(300) });
export const VersionQuery = z.strictObject({ version: z.string().max(100).optional() });
