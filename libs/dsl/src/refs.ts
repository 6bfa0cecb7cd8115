import { OpsError } from '@opsloop/contracts';
import semver from 'semver';

export const FLOW_NAME = /^[a-z0-9-]+\/[a-z0-9-]+$/;
export const ATOM_NAME = /^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*){1,5}$/;
const WRAPPED_ATOM = /^atom\/[a-z0-9.-]+$/;

export interface Ref {
  name: string;
  range: string;
}

/** Says what is wrong with a reference, or `undefined` when it is good. */
export function refProblem(ref: string, kind: 'flow' | 'atom' | 'table' | 'any' = 'any'): string | undefined {
  const at = ref.lastIndexOf('@');
  if (at <= 0)
    return `"${ref.slice(0, 80)}" names no version; write for example ${ref.slice(0, 60) || 'domain/name'}@1`;
  const name = ref.slice(0, at);
  if (semver.validRange(ref.slice(at + 1)) === null || ref.slice(at + 1).trim() === '')
    return `"${ref.slice(at + 1, at + 40)}" is no version range; write 1, 1.2, ^1.2 or 1.2.3`;
  const flow = FLOW_NAME.test(name) || WRAPPED_ATOM.test(name);
  if (kind === 'atom' && !ATOM_NAME.test(name))
    return `"${name.slice(0, 80)}" is no atom name (word.word); flows are started with "run"`;
  if ((kind === 'flow' || kind === 'table') && !flow)
    return `"${name.slice(0, 80)}" is no ${kind} name (domain/name)${kind === 'flow' ? '; atoms are called with "call"' : ''}`;
  if (!flow && !ATOM_NAME.test(name)) return `"${name.slice(0, 80)}" is neither domain/name nor word.word`;
  return undefined;
}

/** `fleet/restart-service@1` → name and range. Throws `validation`. */
export function parseRef(ref: string): Ref {
  const problem = refProblem(ref);
  if (problem !== undefined) throw new OpsError('validation', problem);
  const at = ref.lastIndexOf('@');
  return { name: ref.slice(0, at), range: ref.slice(at + 1) };
}
