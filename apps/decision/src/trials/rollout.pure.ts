/** A version that is tried on a part of the subjects: what is kept of it, and when it is taken back. */
import type { RolloutState, TrialFigures } from '@opsloop/contracts';

/** Three of the last ten: one host that cannot be healed by anything does not take back a good version. */
export const FAILURES = 3;
export const OF_LAST = 10;

/** What the last verified runs brought; newest first. */
export function figuresOf(newestFirst: readonly boolean[], of = OF_LAST): TrialFigures {
  const last = newestFirst.slice(0, of);
  const fixed = last.filter(Boolean).length;
  return { of: last.length, fixed, notFixed: last.length - fixed };
}

/** Why the version is taken back, when it is. */
export function breachOf(
  figures: TrialFigures,
  { failures = FAILURES, of = OF_LAST }: RolloutState,
): string | undefined {
  if (figures.notFixed < failures) return undefined;
  return `of its last ${figures.of} verified runs ${figures.fixed} brought what they were for and ${figures.notFixed} did not; ${failures} of ${of} are too many`;
}
