/** Which version a reference means. */
import { OpsError } from '@opsloop/contracts';
import semver from 'semver';

export type OfferingKind = 'flow' | 'atom';

export interface OfferingRef {
  kind: OfferingKind;
  /** `domain/name` of a flow, `word.word` of an atom. */
  name: string;
  range?: string;
}

export interface Versioned {
  version: string;
  status: 'draft' | 'published' | 'deprecated';
}

const FLOW_NAME = /^[a-z0-9-]+\/[a-z0-9-]+$/;
const ATOM_NAME = /^[a-z][a-z0-9-]*(\.[a-z0-9-]+){1,2}$/;

/** Longest reference that is looked at: two names of 100 characters and a range fit with room to spare. */
const REF_CHARS_MAX = 300;

/**
 * Reads `domain/name`, `word.word` or `atom/word.word`, each with an optional `@range`. Throws `validation` naming
 * `pointer` when the text is no reference at all.
 */
export function parseOfferingRef(ref: string, pointer = '/ref'): OfferingRef {
  const wrong = (message: string) =>
    new OpsError('validation', `"${ref.slice(0, 120)}" is no reference`, { errors: [{ pointer, message }] });
  if (ref.length > REF_CHARS_MAX) throw wrong(`is longer than ${REF_CHARS_MAX} characters`);
  const at = ref.indexOf('@');
  const written = at < 0 ? ref : ref.slice(0, at);
  const range = at < 0 ? undefined : ref.slice(at + 1);
  if (range !== undefined && (range.trim() === '' || semver.validRange(range) === null)) {
    throw wrong('has a version range that semver does not know; write name@1, name@1.2 or name@1.2.3');
  }
  const rest = range === undefined ? {} : { range };
  if (written.startsWith('atom/') && ATOM_NAME.test(written.slice(5)))
    return { kind: 'atom', name: written.slice(5), ...rest };
  if (FLOW_NAME.test(written)) return { kind: 'flow', name: written, ...rest };
  if (ATOM_NAME.test(written)) return { kind: 'atom', name: written, ...rest };
  throw wrong('must be domain/name (a flow) or word.word (an atom), with @range if wanted');
}

/**
 * The newest published version in range. A deprecated one is found only by its exact version: what is pinned to it
 * keeps working, nothing new picks it up. Drafts are never found.
 */
export function selectVersion<T extends Versioned>(versions: readonly T[], range?: string): T | undefined {
  if (range !== undefined && semver.valid(range) !== null) {
    return versions.find((v) => v.version === range && v.status !== 'draft');
  }
  const published = versions.filter((v) => v.status === 'published');
  const names = published.map((v) => v.version);
  const stable = semver.maxSatisfying(names, range ?? '*');
  // "Newest published" of something that has only pre-releases is its newest pre-release.
  const best = stable ?? (range === undefined ? semver.maxSatisfying(names, '*', { includePrerelease: true }) : null);
  return best === null ? undefined : published.find((v) => v.version === best);
}

/** Newest first. */
export function byVersionDescending(a: Versioned, b: Versioned): number {
  return semver.rcompare(a.version, b.version);
}

/** Versions above `version` that are published: what a rollback takes out of use. */
export function newerPublished<T extends Versioned>(versions: readonly T[], version: string): T[] {
  return versions.filter((v) => v.status === 'published' && semver.gt(v.version, version));
}
