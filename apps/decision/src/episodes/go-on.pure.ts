/** Moves the episodes whose time has come. */
import { budgetKeys } from '../decide/aim.pure.js';
import type { World } from '../decide/world.pure.js';
import { maintenanceText } from '../maintenance/maintenance.pure.js';
import type { EpisodeRow, Resource } from '../store/model.js';
import { buildAsked, chargeGroup } from './asked.pure.js';
import { nextLook } from './machine.pure.js';
import type { Observation } from './observer.service.js';

export function budgetKeysOf(
  row: EpisodeRow,
  doc: Parameters<typeof budgetKeys>[0],
  resource: Parameters<typeof budgetKeys>[2],
): ReturnType<typeof budgetKeys> {
  try {
    return budgetKeys(doc, row.event, resource, {});
  } catch {
    // Rendered again with configs when it counts; a slot that fails then keeps the start back.
    return [];
  }
}

/** Why nothing may be tried for the resource now, and until when. Only episodes that would try something ask. */
function leftAlone(world: World, { episode }: EpisodeRow): { until: number; reason: string } | undefined {
  if (episode.state !== 'verifying' || (episode.due ?? 0) > world.now) return undefined;
  const maintenance = world.maintenanceOver(episode.rule, episode.resource);
  return maintenance && { until: maintenance.until, reason: maintenanceText(maintenance) };
}

/** What stands in the place of a retired resource is looked at instead. */
export function replacements(resource: Resource | undefined): string[] {
  const next = resource?.retired?.replacedBy;
  return next === undefined ? [] : [next];
}

/** Under the locks: take what was seen, move every episode that is still due, build what was asked for. */
export function goOn(world: World, due: readonly EpisodeRow[], seen: readonly Observation[]): void {
  for (const { path, state, at } of seen) world.observe(path, state, at, 'observe');
  for (const { episode } of due) {
    const row = world.openEpisode(episode.rule, episode.resource);
    const at = row === undefined ? undefined : nextLook(row.episode);
    if (row === undefined || row.episode.id !== episode.id || at === undefined || at > world.now) continue;
    const doc = world.ruleDoc(row.episode.rule, row.episode.ruleVersion);
    const keys = doc === undefined ? [] : budgetKeysOf(row, doc, world.resource(episode.resource));
    const limits = (doc?.budget ?? []).map((budget) => budget.runs);
    const group = chargeGroup(row);
    const asked = world.asked.length;
    const goal = world.goalInput(row.episode);
    const quiet = goal.goal === 'true' ? undefined : leftAlone(world, row);
    if (quiet !== undefined) {
      world.apply(row, { kind: 'postpone', ...quiet });
      continue;
    }
    world.apply(row, { kind: 'due', ...goal, budget: world.budgetLeft(keys, limits, group) });
    if (world.asked.length > asked) world.charge(keys, group);
  }
  buildAsked(world);
}
