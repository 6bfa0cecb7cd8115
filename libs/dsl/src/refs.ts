import { OpsError } from '@opsloop/contracts';

/** `name@range`: what a document writes when it means another one. */
export interface Ref {
  /** `domain/name` of a flow, `word.word[.word]` of an atom. */
  name: string;
  /** A semver range; `*` when the reference names none. */
  range: string;
  kind: 'flow' | 'atom';
}

const FLOW_NAME = /^[a-z0-9-]+\/[a-z0-9-]+$/;
const ATOM_NAME = /^[a-z0-9-]+(\.[a-z0-9-]+){1,2}$/;

export const isFlowName = (name: string): boolean => FLOW_NAME.test(name);
export const isAtomName = (name: string): boolean => ATOM_NAME.test(name);

/** Parses a reference; throws `validation` with the form that is wanted. */
export function parseRef(ref: string): Ref {
  const at = ref.indexOf('@');
  const name = at < 0 ? ref : ref.slice(0, at);
  const range = at < 0 ? '*' : ref.slice(at + 1);
  const kind = isFlowName(name) ? 'flow' : isAtomName(name) ? 'atom' : undefined;
  if (kind === undefined || range === '') {
    throw new OpsError('validation', `"${ref}" is not a reference; write domain/name@1 for a flow or word.word@1 for an atom`);
  }
  return { name, range, kind };
}
