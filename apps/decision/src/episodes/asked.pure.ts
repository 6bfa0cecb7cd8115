/** From starts that the machine asked for to decisions: episodes with one origin that are due together start together. */
import { errorText } from '../decide/aim.pure.js';
import { buildDecision, commitDecision, mostCritical } from '../decide/start.pure.js';
import type { World } from '../decide/world.pure.js';
import type { EpisodeRow } from '../store/model.js';

/** Key under which several targets of one start are charged once. */
export function chargeGroup(row: EpisodeRow): string {
  return `${row.origin}\u0000${row.episode.branch}`;
}

export function buildAsked(world: World): void {
  const groups = new Map<string, EpisodeRow[]>();
  for (const { row } of world.asked.splice(0)) {
    const latest = world.openEpisode(row.episode.rule, row.episode.resource);
    if (latest === undefined || latest.episode.state !== 'pending' || latest.episode.startId !== undefined) continue;
    const { rule, ruleVersion, branch, rung } = latest.episode;
    const key = JSON.stringify([rule, ruleVersion, branch, rung, latest.origin]);
    groups.set(key, [...(groups.get(key) ?? []), latest]);
  }
  for (const rows of groups.values()) startTogether(world, rows);
}

function startTogether(world: World, rows: EpisodeRow[]): void {
  const first = rows.reduce((a, b) => (a.episode.id < b.episode.id ? a : b));
  const { rule, ruleVersion, branch, rung, id, starts } = first.episode;
  const doc = world.ruleDoc(rule, ruleVersion);
  try {
    if (doc === undefined) throw new Error(`version ${ruleVersion} of ${rule} is gone`);
    const decision = buildDecision(world, {
      doc,
      branch,
      rung,
      rows,
      event: first.event,
      cause: `${id}#${starts}`,
      tier: mostCritical(rows.map((row) => row.tier)),
    });
    commitDecision(world, decision, rows, chargeGroup(first));
  } catch (error) {
    // Nobody would ever answer a start that was not sent.
    for (const row of rows)
      world.apply(row, { kind: 'fail', reason: `the start could not be built: ${errorText(error)}` });
  }
}
