/** How far a rule may act by itself with a flow, and when it loses that. */

export const LEVELS = ['auto', 'approval', 'shadow'] as const;
/** `approval`: a person is asked each time; `shadow`: nothing starts, and the verdict says so. */
export type Level = (typeof LEVELS)[number];

export type RunResult = 'fixed' | 'not-fixed' | 'overridden';

/** As the brake counts, but also what people took out of its hands. */
export const OF_LAST = 5;
export const BAD_MAX = 2;

export interface Demotion {
  to: Level;
  why: string;
  figures: Record<RunResult, number> & { of: number };
}

export function countsOf(results: readonly RunResult[]): Record<RunResult, number> {
  const count = (result: RunResult): number => results.filter((one) => one === result).length;
  return { fixed: count('fixed'), 'not-fixed': count('not-fixed'), overridden: count('overridden') };
}

/** The next lower level when too many of the last runs were in vain or not wanted; newest first. */
export function demotionOf(level: Level, newestFirst: readonly RunResult[]): Demotion | undefined {
  const last = newestFirst.slice(0, OF_LAST);
  const figures = { ...countsOf(last), of: last.length };
  const bad = figures['not-fixed'] + figures.overridden;
  const to = LEVELS[LEVELS.indexOf(level) + 1];
  if (bad <= BAD_MAX || to === undefined) return undefined;
  const taken = figures.overridden === 0 ? '' : `, ${figures.overridden} ended by people`;
  return {
    to,
    why: `of its last ${last.length} verified runs ${figures.fixed} brought what they were for, ${figures['not-fixed']} did not${taken}`,
    figures,
  };
}
