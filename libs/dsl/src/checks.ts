import type { Json } from '@opsloop/contracts';
import { finding, pointerTo, templatePaths, validateTemplate, type Finding } from '@opsloop/rules';
import { refProblem } from './refs.js';

/** A template slot: readable, and, unless it may, without secrets: they would be stored in histories and logs. */
export function checkTemplate(
  template: unknown,
  pointer: string,
  secrets: 'refused' | 'allowed' = 'refused',
): Finding[] {
  if (template === undefined) return [];
  const findings = validateTemplate(template as Json).map((f) => ({ ...f, pointer: pointer + f.pointer }));
  if (secrets === 'refused' && secretsOf(template).length > 0) {
    findings.push(
      finding(
        'OPS1701',
        pointer,
        'secrets may stand only in the "with" of a call, and in url, headers and body of an http atom',
        'hand the secret to the atom that needs it',
      ),
    );
  }
  return findings;
}

/** Names of the secrets that a template reads; `*` for a use of `secrets` as a whole. */
export function secretsOf(template: unknown): string[] {
  if (template === undefined) return [];
  return templatePaths(template as Json)
    .filter((path) => path === 'secrets' || /^secrets[.[]/.test(path))
    .map((path) => /^secrets\.([a-z0-9-]+)$/.exec(path)?.[1] ?? '*');
}

const WHOLE_SECRET = /^\$\{\s*secrets(?:\.[a-z0-9-]+|\["[a-z0-9-]+"\])\s*\}$/;

/** Where the input of a call reads a secret other than as a whole value; the worker fills in whole values only. */
export function looseSecrets(template: unknown, pointer = ''): string[] {
  if (typeof template === 'string')
    return WHOLE_SECRET.test(template) || secretsOf(template).length === 0 ? [] : [pointer];
  if (template === null || typeof template !== 'object') return [];
  if (Array.isArray(template)) return template.flatMap((item, i) => looseSecrets(item, pointerTo(pointer, i)));
  const keys = Object.keys(template);
  if (keys.length === 1 && keys[0] === '$logic') return secretsOf(template).length === 0 ? [] : [`${pointer}/$logic`];
  if (keys.length === 1 && keys[0] === '$literal') return [];
  return Object.entries(template).flatMap(([key, value]) => looseSecrets(value, pointerTo(pointer, key)));
}

export function checkRef(ref: string, kind: 'flow' | 'atom' | 'table', pointer: string): Finding[] {
  const problem = refProblem(ref, kind);
  return problem === undefined ? [] : [finding('OPS1014', pointer, problem)];
}
