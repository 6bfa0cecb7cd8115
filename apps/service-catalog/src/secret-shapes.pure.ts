/** Shapes of requests and answers about secrets and tokens. */
import { PageQuery, TOKEN_ROLES } from '@opsloop/platform';
import { z } from 'zod';
import { page } from './answers.pure.js';

/** Keys and certificates have a few KB; whatever is larger is a file, not a secret. */
export const SECRET_BYTES_MAX = 64 * 1024;
/** Shorter values occur everywhere by chance, so that they could not be taken out of logs and outputs. */
const SECRET_CHARS_MIN = 4;
/** Secrets that one call may need; a step has a handful. */
const RESOLVE_MAX = 50;

export const SecretName = z
  .string()
  .regex(/^[a-z0-9-]{1,100}$/, 'a name is one word of a-z, 0-9 and -, at most 100 characters')
  .meta({ id: 'SecretName' });

const Reason = z.string().max(1_000).optional();

export const PutSecret = z
  .strictObject({
    value: z
      .string()
      .min(SECRET_CHARS_MIN, `a secret has at least ${SECRET_CHARS_MIN} characters: shorter ones cannot be redacted`)
      .refine((text) => Buffer.byteLength(text) <= SECRET_BYTES_MAX, {
        error: `a secret has at most ${SECRET_BYTES_MAX} bytes`,
      }),
    reason: Reason,
  })
  .meta({ id: 'PutSecret' });
export const SecretPut = z
  .object({ name: z.string(), version: z.int(), change: z.enum(['created', 'changed']) })
  .meta({ id: 'SecretPut' });
export const SecretLine = z
  .object({
    name: z.string(),
    version: z.int(),
    updatedAt: z.string(),
    updatedBy: z.string(),
    usedBy: z.array(z.string()),
  })
  .meta({ id: 'Secret', description: 'What may be known of a secret: never its value' });
export const SecretPage = page(SecretLine);
export const ResolveSecrets = z
  .strictObject({ names: z.array(SecretName).min(1).max(RESOLVE_MAX) })
  .meta({ id: 'ResolveSecrets' });
export const ResolvedSecrets = z
  .object({ secrets: z.array(z.object({ name: z.string(), version: z.int(), value: z.string() })) })
  .meta({ id: 'ResolvedSecrets', description: 'Names that are not kept are absent' });

/** Of the other apps: also secrets that belong to a document, `source/am-prod`. */
const AnySecretName = z.string().regex(/^(source\/)?[a-z0-9-]{1,200}$/);
export const ResolveAny = z.strictObject({ names: z.array(AnySecretName).min(1).max(RESOLVE_MAX) });
export const KeepSecret = z.strictObject({
  name: z.string().regex(/^source\/[a-z0-9-]{1,200}$/),
  value: z
    .string()
    .min(1)
    .refine((text) => Buffer.byteLength(text) <= SECRET_BYTES_MAX),
  by: z.string(),
});
export const ForgetSecret = z.strictObject({ name: z.string().regex(/^source\/[a-z0-9-]{1,200}$/), by: z.string() });

export const RotateKey = z.strictObject({ reason: Reason }).meta({ id: 'RotateKey' });
export const KeyRotation = z
  .object({ keyId: z.string(), made: z.boolean(), rewrapped: z.int(), retired: z.array(z.string()) })
  .meta({ id: 'KeyRotation' });

const Group = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$/, 'a group is one word');
/** A token longer than this is one that nobody remembers. */
const EXPIRES_DAYS_MAX = 1_000;

export const CreateToken = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-zA-Z0-9][a-zA-Z0-9@._-]{0,99}$/, 'a name is one word: a person, a team or a service')
      .refine((name) => !['admin', 'opsloop', 'service'].includes(name.toLowerCase()), {
        error: 'this name belongs to opsloop itself; audits would be ambiguous',
      }),
    roles: z.array(z.enum(TOKEN_ROLES)).min(1).max(5),
    groups: z.array(Group).max(50).default([]),
    secrets: z
      .array(z.string().regex(/^[a-z0-9-]*\*?$/, 'a name of a secret, or the beginning of names with * at the end'))
      .max(100)
      .default([]),
    expiresInDays: z.number().int().min(1).max(EXPIRES_DAYS_MAX).optional(),
    reason: Reason,
  })
  .refine(({ roles, secrets }) => secrets.length === 0 || roles.includes('worker'), {
    error: 'only a token of the role worker resolves secrets',
    path: ['secrets'],
  })
  .refine(({ roles }) => !roles.includes('worker') || roles.length === 1, {
    error: 'a worker has no other role: whoever can read secrets should be able to do nothing else',
    path: ['roles'],
  })
  .meta({ id: 'CreateToken' });
export const TokenLine = z
  .object({
    id: z.string(),
    name: z.string(),
    roles: z.array(z.string()),
    groups: z.array(z.string()),
    secrets: z.array(z.string()),
    createdAt: z.string(),
    createdBy: z.string(),
    expiresAt: z.string().optional(),
    revokedAt: z.string().optional(),
  })
  .meta({ id: 'Token' });
export const TokenPage = page(TokenLine);
export const CreatedToken = TokenLine.extend({ token: z.string() }).meta({
  id: 'CreatedToken',
  description: 'The only answer that holds the token; it is not kept',
});
export const TokenQuery = z.strictObject({ ...PageQuery.shape, revoked: z.enum(['true', 'false']).optional() });
export const FindToken = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9_-]{8}$/),
  hash: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
});
