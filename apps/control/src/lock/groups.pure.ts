import { type Claim, isUnder } from '@opsloop/contracts';
import { isCovered, mergeClaims } from './lock.pure.js';

/** Stands between a group and what is claimed of its members; below it nothing else is. */
const MEMBERS = '/@/';

/** Whether the claim stands for a member of a group, and not for anything that somebody could work on. */
export const isMemberClaim = (path: string): boolean => path.includes(MEMBERS);

/**
 * The claims with those that make groups overlap their members: who claims `host/a` of `service/pay` claims
 * `service/pay/@/host/a` in the same mode as well. So it meets whoever claims the group, or what lies above it, and
 * nobody who claims another member or something below the group. Paths overlap as everywhere: no second relation has to be
 * locked, queued, freed or checked.
 */
export function withGroups(claims: readonly Claim[], groupsOf: (path: string) => readonly string[]): Claim[] {
  const more = claims.flatMap(({ path, mode }) =>
    groupsOf(path)
      .filter((group) => !isUnder(path, group) && !isUnder(group, path))
      .map((group): Claim => ({ path: `${group}${MEMBERS}${path}`, mode })),
  );
  // Who has the group has its members.
  return more.length === 0 ? [...claims] : mergeClaims([...claims, ...more.filter((c) => !isCovered(c, claims))]);
}
