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
    url: z.string().optional(),
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
    warnings: z.array(Finding).optional(),
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

/** Steps of one run, as `GET /v1/runs/{id}` gives them. */
const STEPS_MAX = 20_000;
export const PlanRequest = z
  .strictObject({
    flow: Document.optional(),
    name: z.string().max(300).optional(),
    documents: z.array(z.unknown()).max(VALIDATE_MAX).optional().describe('Flows and atoms that count as published'),
    input: z.json().default({}),
    against: z
      .strictObject({
        steps: z.array(z.looseObject({ path: z.string().max(1_000), status: z.string().max(20) })).max(STEPS_MAX),
      })
      .optional()
      .describe('Steps of an earlier run: what a retry from where it failed would execute again'),
  })
  .refine((r) => (r.flow === undefined) !== (r.name === undefined), {
    message: 'give either "flow" (a document) or "name" (name@range)',
    path: ['name'],
  })
  .meta({ id: 'PlanRequest' });
const known = <T extends z.ZodType>(type: T) => z.union([type, z.literal('known at run time')]);
export const PlanAnswer = z
  .object({
    name: z.string(),
    version: z.string(),
    digest: z.string(),
    effect: Effect,
    inputErrors: z.array(z.object({ pointer: z.string(), message: z.string() })),
    targets: known(z.array(z.string())),
    locks: known(z.array(z.object({ path: z.string(), mode: z.enum(['shared', 'exclusive']) }))),
    effects: z.object({ read: z.number(), mutate: z.number(), destroy: z.number() }),
    changes: known(z.number()),
    blastRadius: z.object({ inFlight: known(z.number()), total: known(z.number()) }),
    pinned: z.array(
      z.object({ kind: z.enum(['atom', 'flow']), ref: z.string(), version: z.string(), effect: Effect.optional() }),
    ),
    batches: z.array(
      z.object({ step: z.string(), number: z.number(), of: z.number(), size: z.number(), items: z.array(z.string()) }),
    ),
    approvals: z.array(
      z.object({
        step: z.string(),
        title: z.string(),
        approvers: z.array(z.string()),
        min: z.number(),
        timeout: z.string().optional(),
        if: z.string().optional(),
      }),
    ),
    secrets: z.array(z.string()),
    local: z.array(z.string()),
    worst: z.object({ duration: z.string(), events: z.number(), continues: z.boolean() }),
    timeout: z.string().optional(),
    findings: z.array(Finding),
    steps: z.array(z.record(z.string(), z.unknown())),
    retry: z
      .object({
        kept: z.array(z.string()),
        again: z.array(z.object({ path: z.string(), why: z.string(), effect: Effect.optional() })),
        first: z.array(z.object({ path: z.string(), effect: Effect.optional() })),
      })
      .optional(),
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
