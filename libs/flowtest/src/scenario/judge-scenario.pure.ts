/** Judges what a world did against what a scenario expects of it. */
import { durationMs } from '@opsloop/contracts';
import type { Json, JsonObject } from '@opsloop/contracts';
import { listDifferences, memberDifferences, shown } from '../play/differences.pure.js';
import { seconds } from '../play/expectations.pure.js';
import type { Mismatch } from '../play/expectations.pure.js';
import { ANY } from '../play/flowtest.js';
import type { ScenarioExpectation, ScenarioSeen } from './scenario.js';

const LISTS = ['decisions', 'admissions', 'calls', 'runs', 'episodes'] as const;

/** Everything that differs; a scenario without any is passed. */
export function judgeScenario(expect: ScenarioExpectation, seen: ScenarioSeen): Mismatch[] {
  const found: Mismatch[] = seen.troubles.map((text) => ({ of: 'scenario', message: text, lines: [] }));
  for (const list of LISTS) {
    const wanted = expect[list];
    if (wanted === undefined) continue;
    const lines = listLines(wanted, seen[list]);
    if (lines.length > 0) found.push({ of: list, message: `the ${list} differ`, lines });
  }
  const verdicts = (expect.verdicts ?? []).flatMap((wanted) => verdictLines(wanted, seen));
  if (verdicts.length > 0) found.push({ of: 'verdicts', message: 'the verdicts differ', lines: verdicts });
  const resources = Object.entries(expect.resources ?? {}).flatMap(([path, members]) =>
    memberDifferences(members, seen.resources[path], path),
  );
  if (resources.length > 0) found.push({ of: 'resources', message: 'the state at the end differs', lines: resources });
  if (expect.within !== undefined && seen.tookMs > durationMs(expect.within))
    found.push({
      of: 'within',
      message: `expected at most ${expect.within}, it took ${seconds(seen.tookMs)}`,
      lines: [],
    });
  return found;
}

/** A text names an entry by what it is about; an object by the members that it writes. */
export function listLines(wanted: readonly (JsonObject | string)[], seen: readonly JsonObject[]): string[] {
  return listDifferences<JsonObject | string, JsonObject>(
    wanted.map((value) => ({ value, text: typeof value === 'string' ? value : JSON.stringify(value) })),
    seen.map((value) => ({ value, text: JSON.stringify(value) })),
    (want, entry) =>
      typeof want === 'string' ? entry['name'] === want : memberDifferences(want as Json, entry as Json).length === 0,
    (want) => want === ANY,
  );
}

function verdictLines(
  wanted: NonNullable<ScenarioExpectation['verdicts']>[number],
  { verdicts }: ScenarioSeen,
): string[] {
  const place = `event ${wanted.event}, ${wanted.rule}`;
  const verdict = verdicts[wanted.event]?.[wanted.rule];
  if (verdict === undefined) return [`${place}: the rule did not judge it`];
  const why = verdict.because === undefined ? '' : ` (${verdict.because})`;
  if (verdict.verdict !== wanted.verdict) return [`${place}: expected ${wanted.verdict}, got ${verdict.verdict}${why}`];
  if (wanted.because !== undefined && !(verdict.because ?? '').includes(wanted.because))
    return [`${place}: expected a reason with ${shown(wanted.because)}, got ${shown(verdict.because)}`];
  return [];
}
