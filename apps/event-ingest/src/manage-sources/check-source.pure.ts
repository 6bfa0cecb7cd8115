import { OpsError, durationMs } from '@opsloop/contracts';
import type { FieldError, SourceDocument } from '@opsloop/contracts';
import { bundledAtoms, parseRef, validateDocument } from '@opsloop/dsl';
import { standardSecretProblem } from '../receive-hook/standard-secret.pure.js';
import { MASK, secretOf, secretProblem } from './secrets.pure.js';

/** The due-loop looks each 250 ms; a shorter period could not be kept. */
export const POLL_EVERY_MIN_MS = 250;

/** Checks a source as it was sent: schema, name of the route, and what only this app knows. */
export function checkSource(name: string, body: unknown): SourceDocument {
  const { findings, document } = validateDocument('source', body);
  const errors: FieldError[] = findings
    .filter((finding) => finding.severity === 'error')
    .map(({ pointer, message, hint }) => ({ pointer, message: hint === undefined ? message : `${message}; ${hint}` }));
  if (errors.length === 0) errors.push(...ownProblems(name, document as unknown as SourceDocument));
  if (errors.length > 0) {
    const first = errors[0]!;
    throw new OpsError('validation', `source "${name}": ${first.pointer || 'the document'} ${first.message}`, {
      errors,
    });
  }
  return document as unknown as SourceDocument;
}

function ownProblems(name: string, source: SourceDocument): FieldError[] {
  const errors: FieldError[] = [];
  if (source.name !== name) errors.push({ pointer: '/name', message: `must be "${name}", the name in the URL` });
  errors.push(...secretProblems(source));
  if (source.type === 'poll') errors.push(...pollProblems(source));
  else if (source.auth === undefined) {
    errors.push({
      pointer: '/auth',
      message: 'is missing: say how deliveries prove themselves, or { "type": "none" } to take them from anybody',
    });
  }
  return errors;
}

function secretProblems(source: SourceDocument): FieldError[] {
  const found = secretOf(source);
  if (found === undefined) return [];
  const isStandard = source.auth?.type === 'standard-webhooks';
  return [found.value].flat().flatMap((secret) => {
    if (secret === MASK) return [];
    const problem = secretProblem(secret) ?? (isStandard ? standardSecretProblem(secret) : undefined);
    return problem === undefined ? [] : [{ pointer: `/auth/${found.member}`, message: problem }];
  });
}

function pollProblems(source: SourceDocument): FieldError[] {
  const errors: FieldError[] = [];
  if (source.every === undefined) errors.push({ pointer: '/every', message: 'is missing' });
  else if (durationMs(source.every) < POLL_EVERY_MIN_MS)
    errors.push({ pointer: '/every', message: `must be at least ${POLL_EVERY_MIN_MS}ms` });
  if (source.call === undefined)
    errors.push({ pointer: '/call', message: 'is missing: the read atom that looks, such as probe.http@1' });
  if (source.event === undefined)
    errors.push({ pointer: '/event', message: 'is missing: the type of the event that a change becomes' });
  const atom =
    source.call === undefined ? undefined : bundledAtoms.find((one) => one.name === parseRef(source.call!).name);
  if (atom !== undefined && atom.effect !== 'read')
    errors.push({ pointer: '/call', message: `${atom.name} changes things (${atom.effect}); a poll may only read` });
  return errors;
}
