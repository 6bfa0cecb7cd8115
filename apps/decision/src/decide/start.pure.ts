/** From episodes that ask for a start to one decision: one start for all targets of a branch that are due together. */
import type {
  EventMessage,
  Json,
  RuleBatch,
  RuleDocument,
  Rung,
  StartRequest,
  Tier,
  TierHit,
} from '@opsloop/contracts';
import { OpsError, TIERS, durationMs, matchesPattern } from '@opsloop/contracts';
import { decisionId, messageId } from '@opsloop/contracts/ids';
import { planBatches } from '@opsloop/dsl';
import type { Scope } from '@opsloop/rules';
import { evaluateCondition, renderTemplate } from '@opsloop/rules';
import type { EpisodePlan } from '../episodes/machine.pure.js';
import type { DecisionRow, EpisodeRow, Halt, Resource } from '../store/model.js';
import { hitOf } from '../facts/table.pure.js';
import type { World } from './world.pure.js';
import { haltCovers } from './world.pure.js';

/** After `exhausted` nothing opens for an hour, unless the rule says otherwise. */
const COOLDOWN_MS = 3_600_000;
const OBSERVE_EVERY_MS = 10_000;
const DEFAULT_TIER: Tier = 'P3';

/** What the machine has to know of a branch; frozen in the episode. */
export function planOf(doc: RuleDocument, branch: string): EpisodePlan {
  const ladder = doc.branches
    .find((b) => b.id === branch)!
    .ladder.map((rung) => ({
      id: rung.id,
      attempts: rung.attempts ?? 1,
      ...(rung.within === undefined ? {} : { withinMs: durationMs(rung.within) }),
    }));
  const { goal } = doc;
  return {
    goal: goal !== undefined,
    // Without a goal nobody can say that one more attempt is needed: the first rung runs once.
    ladder: goal === undefined ? [{ id: ladder[0]!.id, attempts: 1 }] : ladder,
    stableForMs: goal?.stableFor === undefined ? 0 : durationMs(goal.stableFor),
    cooldownMs: doc.cooldown === undefined ? COOLDOWN_MS : durationMs(doc.cooldown),
    ...(goal?.observe === undefined
      ? {}
      : { observeEveryMs: goal.observe.every === undefined ? OBSERVE_EVERY_MS : durationMs(goal.observe.every) }),
  };
}

/** Tier of a target with what the entry or the row says of the work; `P3` when none fits. */
export function hitFor(
  world: World,
  doc: RuleDocument,
  event: EventMessage,
  resource: Resource | undefined,
): TierHit & { tier: Tier } {
  if (doc.tier === undefined) return { tier: DEFAULT_TIER };
  const scope = world.scope(doc, event, resource);
  if (Array.isArray(doc.tier)) {
    const hit = doc.tier.find((entry) => entry.when === undefined || evaluateCondition(entry.when, scope));
    if (hit === undefined) return { tier: DEFAULT_TIER };
    const { when: _when, ...rest } = hit;
    return rest;
  }
  const table = world.around.tables.get(doc.tier.table);
  if (table === undefined) throw new OpsError('expression', `the table ${doc.tier.table} could not be read`);
  const hit = hitOf(table, scope);
  return { ...hit, tier: hit.tier ?? DEFAULT_TIER };
}

/** A group is as critical as its most critical target. */
export function mostCritical(tiers: readonly Tier[]): Tier {
  return TIERS.find((tier) => tiers.includes(tier)) ?? DEFAULT_TIER;
}

/** And is worked on as that one asks; the strictest approval of all holds. */
export function mostCriticalHit(hits: readonly (TierHit & { tier: Tier })[]): TierHit & { tier: Tier } {
  const tier = mostCritical(hits.map((hit) => hit.tier));
  const best = hits.find((hit) => hit.tier === tier) ?? { tier };
  const approval = hits
    .flatMap((hit) => hit.approval ?? [])
    .reduce<TierHit['approval']>((a, b) => (a === undefined || (b.min ?? 1) > (a.min ?? 1) ? b : a), undefined);
  return { ...best, ...(approval === undefined ? {} : { approval }) };
}

export function branchOf(
  world: World,
  doc: RuleDocument,
  event: EventMessage,
  resource: Resource,
  tier: Tier,
): string | undefined {
  let scope: Scope | undefined;
  return doc.branches.find(
    (branch) =>
      branch.when === undefined ||
      evaluateCondition(branch.when, (scope ??= world.scope(doc, event, resource, { tier }))),
  )?.id;
}

export interface StartPlan {
  doc: RuleDocument;
  branch: string;
  rung: number;
  cause: string;
  event: EventMessage;
  tier: Tier;
  /** In order of path; at least one. */
  rows: EpisodeRow[];
}

/** Builds the decision and its start. Throws `expression` when a slot of the rung cannot be rendered. */
export function buildDecision(world: World, plan: StartPlan): DecisionRow {
  const { doc, event, tier } = plan;
  const rung = doc.branches.find((b) => b.id === plan.branch)!.ladder[plan.rung]!;
  const id = decisionId(world.tenant, doc.name, doc.version, plan.cause, plan.branch);
  const rows = [...plan.rows].sort((a, b) => (a.episode.resource < b.episode.resource ? -1 : 1));
  const targets = rows.map((row) => world.standsFor(row.episode.resource).path);
  const { incident, work } = rows[0]!;
  const batch = batchOf(doc, work, Math.max(...rows.map((row) => row.episode.attempts)), targets.length);
  const batches = batchesOf(world, batch, targets);
  const shared = {
    tier,
    targets,
    batches,
    facts: { targets: targets.length, batches: batches.length },
    decision: { id, rule: doc.name, version: doc.version, branch: plan.branch, rung: rung.id, cause: plan.cause },
    ...(incident === undefined ? {} : { incident: { ...incident } }),
  };
  const inputFor = (row: EpisodeRow): Json =>
    renderTemplate(
      rung.with ?? {},
      world.scope(doc, event, world.standsFor(row.episode.resource), { ...shared, episode: episodeScope(row) }),
    );
  const start: StartRequest = {
    id,
    tenant: world.tenant,
    ref: (rung.run ?? rung.call)!,
    ...workOf(batch, rung, rows, targets, batches, inputFor),
    targets,
    tier,
    initiator: { kind: 'rule', name: doc.name, ...(doc.owner === undefined ? {} : { team: doc.owner }) },
    cause: {
      rule: doc.name,
      ruleVersion: doc.version,
      branch: plan.branch,
      rung: rung.id,
      ...(isSynthetic(event) ? {} : { eventId: event.eventId }),
      episodes: rows.map((row) => ({ id: row.episode.id, resource: row.episode.resource })),
    },
    ...(incident === undefined ? {} : { incidentId: incident.id }),
    ...(work?.approval === undefined ? {} : { approval: work.approval }),
    coalesce: true,
    correlationId: event.correlationId,
    causationId: event.eventId,
    hops: event.hops,
    at: world.nowIso,
  };
  return {
    id,
    rule: doc.name,
    ruleVersion: doc.version,
    branch: plan.branch,
    rung: rung.id,
    tier,
    cause: plan.cause,
    ...(isSynthetic(event) ? {} : { eventId: event.eventId }),
    targets,
    batches,
    episodes: start.cause!.episodes,
    start,
    at: world.nowIso,
  };
}

/** `per: target` with several targets is one run over items; a single target runs the flow itself. */
function workOf(
  batch: RuleBatch,
  rung: Rung,
  rows: EpisodeRow[],
  targets: string[],
  batches: string[][],
  inputFor: (row: EpisodeRow) => Json,
): Pick<StartRequest, 'input' | 'perTarget'> {
  if (rung.per !== 'target' || rows.length === 1) return { input: inputFor(rows[0]!) };
  return {
    input: {},
    perTarget: {
      items: rows.map((row, i) => ({ path: targets[i]!, input: inputFor(row) })),
      batches,
      ...(batch.pause === undefined ? {} : { pause: batch.pause }),
      ...(batch.tolerate === undefined ? {} : { tolerate: batch.tolerate }),
      ...(batch.ramp === undefined ? {} : { ramp: batch.ramp }),
    },
  };
}

/**
 * The rule's batch, with what the tier replaces of it. With `ramp` what is tried again, since it did not work the last
 * time, begins with smaller batches.
 */
function batchOf(doc: RuleDocument, work: EpisodeRow['work'], attempts: number, total: number): RuleBatch {
  const batch: RuleBatch = { ...doc.batch, ...work?.batch };
  if (batch.ramp === undefined || attempts === 0) return batch;
  const [largest = []] = planBatches(
    Array.from({ length: total }, (_, n) => String(n)),
    {},
    {
      ...(batch.size === undefined ? {} : { size: batch.size }),
      ...(batch.max === undefined ? {} : { max: batch.max }),
    },
  );
  return { ...batch, size: Math.max(1, Math.floor(largest.length / (batch.ramp.shrink ?? 2) ** attempts)) };
}

function batchesOf(world: World, batch: RuleBatch, targets: string[]): string[][] {
  if (targets.length === 1) return [targets];
  return planBatches(targets, Object.fromEntries(targets.map((path) => [path, world.resource(path).labels])), batch);
}

function episodeScope({ episode }: EpisodeRow): Json {
  return {
    id: episode.id,
    resource: episode.resource,
    attempts: episode.attempts,
    starts: episode.starts,
    openedAt: new Date(episode.openedAt).toISOString(),
  };
}

/** An episode that the resync opened has no event; its slots see the last known state in the shape of one. */
export const RESYNC_TYPE = 'opsloop.resync';

export function isSynthetic(event: EventMessage): boolean {
  return event.type === RESYNC_TYPE;
}

export function resyncEvent(tenant: string, rule: string, resource: Resource, at: string): EventMessage {
  const eventId = messageId('resync', tenant, rule, resource.path, at);
  return {
    eventId,
    id: eventId,
    source: 'opsloop/decision',
    type: RESYNC_TYPE,
    subject: resource.path,
    time: at,
    receivedAt: at,
    data: resource.state,
    correlationId: eventId,
    hops: 0,
  };
}

/** Takes a decision into the world: rows, message, charges and who waits for it. */
export function commitDecision(world: World, decision: DecisionRow, rows: readonly EpisodeRow[], group: string): void {
  world.decisions.push(decision);
  world.outgoing.push({
    topic: 'starts',
    id: messageId('start', decision.id),
    key: decision.id,
    body: { kind: 'start', start: decision.start },
  });
  world.settleCharges(group, decision.id);
  for (const row of rows)
    world.putEpisode({ ...row, tier: decision.tier, episode: { ...row.episode, startId: decision.id } });
}

/** The halt that will keep this decision from starting, if there is one. */
export function haltOver(world: World, decision: DecisionRow): Halt | undefined {
  const work = {
    rule: decision.rule,
    refs: [decision.start.ref.split('@', 1)[0]!],
    paths: decision.targets,
    tier: decision.tier,
  };
  return world.halts.find((halt) => haltCovers(halt, work, matchesPattern));
}
