/**
 * The stages of a rule, in their order, on one event. Every stage that says no leaves its verdict and reason; a rule
 * that gets through opens episodes and decides.
 */
import type { EventMessage, RuleDocument, Tier, TierHit } from '@opsloop/contracts';
import { durationMs } from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import { renderTemplate } from '@opsloop/rules';
import { step } from '../episodes/machine.pure.js';
import type { EpisodeRow, IncidentRef, LiveRule, RuleTrace, WaitDoc } from '../store/model.js';
import type { Aim } from './aim.pure.js';
import { budgetKeys, errorText } from './aim.pure.js';
import type { Answer } from './answer.pure.js';
import { no } from './answer.pure.js';
import { openStage } from './door.pure.js';
import { isAbout, onMismatch, stateMatchesOn } from './match.pure.js';
import { chainKey } from '../facts/around.pure.js';
import { incidentOf, noteTurn, throttle } from './noise.pure.js';
import { ruleScope, whyFalse } from './scope.pure.js';
import { bucketOf, slotOf } from './sides.pure.js';
import { branchOf, buildDecision, commitDecision, haltOver, hitFor, mostCriticalHit, planOf } from './start.pure.js';
import type { World } from './world.pure.js';

/** An event this deep was caused by 16 runs in a row: it is recorded and starts nothing. */
export const HOPS_MAX = 16;
/** A rule that has worked on the same resource so often in one causal chain feeds itself; a person has to look. */
export const REENTRIES_MAX = 3;
/** Events that one window remembers: a host that flaps must not let its row grow with every event. */
export const EVENTS_MAX = 1_000;
/** Members of one group, unless the rule says otherwise. */
const GROUP_MAX = 1_000;

/** Judges one candidate rule on one event. Never throws for a fault of the rule: that is the verdict `error`. */
export function judge(world: World, aim: Aim, late: boolean): RuleTrace {
  return guarded(aim.rule, () => {
    const early = matching(world, aim, late);
    if (!late && !isShadowReplay(aim.event) && early?.verdict !== 'hop-limit')
      noteTurn(world, aim.rule, aim.event, early === undefined);
    if (early !== undefined) return early;
    // A replay in shadow is decided on the world of today, but must leave no mark in windows.
    if (isShadowReplay(aim.event))
      return act(world, { ...aim, rule: { ...aim.rule, mode: 'shadow' } }, aim.targets, 'replay');
    return windows(world, aim) ?? act(world, aim, aim.targets, 'event');
  });
}

/** Replays show what would happen, unless somebody asked for the real thing. */
export function isShadowReplay(event: EventMessage): boolean {
  return event.replayOf !== undefined && event.replayMode !== 'active';
}

function guarded({ version, side }: LiveRule, decide: () => Answer): RuleTrace {
  const who = { version, ...(side === undefined ? {} : { side }) };
  try {
    return { ...who, ...decide() };
  } catch (error) {
    return { ...who, ...no('error', 'evaluate', { text: errorText(error) }) };
  }
}

// ---------------------------------------------------------------- on, when
function matching(world: World, { event, rule, fits }: Aim, late: boolean): Answer | undefined {
  const mismatch = fits === true ? undefined : onMismatch(rule, event);
  // A late report says nothing about now, so it neither starts nor clears anything.
  if (late && rule.doc.stale !== true)
    return no('stale', 'on', { text: 'a newer observation of the same keys is known' });
  if (mismatch !== undefined) {
    if (rule.doc.for !== undefined && isAbout(rule, event)) clearFor(world, rule, event);
    return no('no-match', 'on', mismatch);
  }
  if (event.hops >= HOPS_MAX)
    return no('hop-limit', 'on', {
      text: `event.hops < ${HOPS_MAX} was ${event.hops}`,
      path: 'event.hops',
      expected: HOPS_MAX,
      actual: event.hops,
    });
  const again = world.around.reentries?.get(chainKey(rule.name, event.eventId)) ?? 0;
  if (again >= REENTRIES_MAX)
    return no('hop-limit', 'loop', {
      text: `this rule has worked on ${event.subject} ${again} times in the chain that ${event.correlationId} began: what it does brings its cause back`,
      expected: REENTRIES_MAX,
      actual: again,
    });
  if (rule.doc.when === undefined) return undefined;
  const resource = event.subject === undefined ? undefined : world.resource(event.subject);
  const because = whyFalse(rule.doc.when, world.scope(rule.doc, event, resource));
  if (because === undefined) return undefined;
  clearFor(world, rule, event);
  return no('false', 'when', because);
}

function clearFor(world: World, rule: LiveRule, event: EventMessage): void {
  if (event.subject === undefined || isShadowReplay(event)) return;
  const known = world.wait(slotOf(rule), 'for', event.subject);
  if (known === undefined) return;
  world.endWait(slotOf(rule), 'for', event.subject);
  const verdict = no('no-match', 'for', {
    text: `it cleared before it had lasted for ${rule.doc.for ?? 'its time'}, by event ${event.eventId}`,
  });
  for (const eventId of eventIdsOf(known.doc))
    world.traceUpdates.push({ eventId, verdicts: { [slotOf(rule)]: { version: known.doc.ruleVersion, ...verdict } } });
}

/** Every event whose trace tells of this window. */
export function eventIdsOf(doc: WaitDoc): string[] {
  return [...doc.events.map((event) => event.eventId), ...(doc.joined ?? [])];
}

/** The window with one more event; above the bound later ones are not remembered, their traces say only that they waited. */
function joinedBy(doc: WaitDoc, event: EventMessage): WaitDoc {
  const joined = doc.joined ?? [];
  return joined.length >= EVENTS_MAX ? doc : { ...doc, joined: [...joined, event.eventId] };
}

// ---------------------------------------------------------------- rollout, for, atLeast
function windows(world: World, aim: Aim): Answer | undefined {
  const { rule, event } = aim;
  return outsideRollout(world, rule, event) ?? waitFor(world, rule, event) ?? atLeast(world, rule, event);
}

/** Whoever opens an episode asks this first, with an event or without: a rollout of 5 % acts on 5 %. */
export function outsideRollout(world: World, rule: LiveRule, event: EventMessage): Answer | undefined {
  if (rule.rollout === undefined || rule.rollout.percent >= 100) return undefined;
  const resource = event.subject === undefined ? undefined : world.resource(event.subject);
  const by =
    rule.rollout.by === undefined
      ? (event.subject ?? event.eventId)
      : renderTemplate(rule.rollout.by, ruleScope(world.configs, event, resource));
  const bucket = bucketOf(rule.name, by);
  if (bucket < rule.rollout.percent) return undefined;
  return no('rollout', 'rollout', {
    text: `bucket ${bucket} < ${rule.rollout.percent}`,
    expected: rule.rollout.percent,
    actual: bucket,
  });
}

function waitFor(world: World, rule: LiveRule, event: EventMessage): Answer | undefined {
  const span = rule.doc.for;
  if (span === undefined) return undefined;
  const key = event.subject ?? '';
  const known = world.wait(slotOf(rule), 'for', key);
  const dueAt = known?.dueAt ?? new Date(world.now + durationMs(span)).toISOString();
  const doc = known === undefined ? { ruleVersion: rule.version, events: [event] } : joinedBy(known.doc, event);
  world.putWait({ rule: slotOf(rule), kind: 'for', key, doc, dueAt, expiresAt: dueAt });
  return no('waiting', 'for', { text: `it has to last for ${span}, until ${dueAt}` });
}

function atLeast(world: World, rule: LiveRule, event: EventMessage): Answer | undefined {
  const spec = rule.doc.atLeast;
  if (spec === undefined) return undefined;
  const key = event.subject ?? '';
  const since = world.now - durationMs(spec.within);
  const times = (world.wait(slotOf(rule), 'atLeast', key)?.doc.times ?? []).filter((time) => Date.parse(time) > since);
  times.push(world.nowIso);
  if (times.length >= spec.count) {
    world.endWait(slotOf(rule), 'atLeast', key);
    return undefined;
  }
  const expiresAt = new Date(world.now + durationMs(spec.within)).toISOString();
  world.putWait({
    rule: slotOf(rule),
    kind: 'atLeast',
    key,
    doc: { ruleVersion: rule.version, events: [], times },
    expiresAt,
  });
  return no('waiting', 'atLeast', {
    text: `${times.length} of ${spec.count} within ${spec.within}`,
    expected: spec.count,
    actual: times.length,
  });
}

/** A `for` window is over: does what opened it still hold today? */
export function judgeAfterFor(world: World, aim: Aim): RuleTrace {
  return guarded(aim.rule, () => {
    const { rule, event } = aim;
    const resource = event.subject === undefined ? undefined : world.resource(event.subject);
    if (event.state !== undefined && resource !== undefined && !stateMatchesOn(rule, resource.path, resource.state)) {
      return no('no-match', 'for', { text: 'it has cleared' });
    }
    const because =
      rule.doc.when === undefined ? undefined : whyFalse(rule.doc.when, world.scope(rule.doc, event, resource));
    if (because !== undefined) return no('false', 'for', because);
    return act(world, aim, aim.targets, 'for');
  });
}

/** What was owed a look gets it: opens when it is still bad, by its state today or, without one, by what was said last. */
export function judgeDebt(world: World, aim: Aim, path: string, clearedBy: string | undefined): RuleTrace {
  return guarded(aim.rule, () => {
    const { rule, event } = aim;
    if (clearedBy !== undefined) return no('no-match', 'debt', { text: `it has cleared, by event ${clearedBy}` });
    const resource = world.resource(path);
    const reported = event.state !== undefined && event.subject === path;
    if (reported && !stateMatchesOn(rule, path, resource.state))
      return no('no-match', 'debt', { text: 'it has cleared' });
    const today = reported ? { ...event, data: resource.state } : event;
    const because =
      rule.doc.when === undefined
        ? undefined
        : whyFalse(rule.doc.when, world.scope(rule.doc, today, world.subjectOf(event)));
    if (because !== undefined) return no('false', 'debt', because);
    const cause = messageId('debt', world.tenant, rule.name, path, event.eventId);
    return act(world, aim, [path], 'debt', cause);
  });
}

/** A group is complete: its members are decided together, the first event stands for all. */
export function judgeGroup(world: World, aim: Aim, targets: string[], cause: string): RuleTrace {
  return guarded(aim.rule, () => act(world, aim, targets, 'group', cause));
}

// ---------------------------------------------------------------- open episode?, dedupe, group
function act(
  world: World,
  aim: Aim,
  targets: readonly string[],
  from: 'event' | 'for' | 'group' | 'replay' | 'debt',
  cause = aim.event.eventId,
): Answer {
  const { rule, event } = aim;
  if (aim.error !== undefined) return no('error', aim.error.stage, { text: aim.error.text });
  if (targets.length === 0) return no('no-match', 'targets', { text: 'there is no target' });
  const free = openStage(world, rule, targets, event.receivedAt, from === 'replay' ? undefined : event);
  if (free.targets.length === 0) return free.answer!;
  if (from === 'event' || from === 'for') {
    const held = dedupe(world, aim) ?? group(world, aim, free.targets);
    if (held !== undefined) return held;
  }
  const throttled = from === 'replay' ? undefined : throttle(world, rule, event);
  if (throttled !== undefined) return throttled;
  return decideFor(world, rule, event, free.targets, cause);
}

function dedupe(world: World, { rule, event, dedupeKey }: Aim): Answer | undefined {
  const spec = rule.doc.dedupe;
  if (spec === undefined || dedupeKey === undefined) return undefined;
  const known = world.wait(slotOf(rule), 'dedupe', dedupeKey);
  if (known !== undefined)
    return no('deduped', 'dedupe', { text: `one within ${spec.within} by ${dedupeKey}, until ${known.expiresAt}` });
  const expiresAt = new Date(world.now + durationMs(spec.within)).toISOString();
  world.putWait({
    rule: slotOf(rule),
    kind: 'dedupe',
    key: dedupeKey,
    doc: { ruleVersion: rule.version, events: [event] },
    expiresAt,
  });
  return undefined;
}

function group(world: World, { rule, event, groupKey }: Aim, targets: string[]): Answer | undefined {
  const spec = rule.doc.group;
  if (spec === undefined || groupKey === undefined) return undefined;
  const known = world.wait(slotOf(rule), 'group', groupKey);
  const all = [...new Set([...(known?.doc.targets ?? []), ...targets])];
  const full = all.length >= (spec.max ?? GROUP_MAX) || (known?.doc.joined ?? []).length >= EVENTS_MAX;
  const dueAt = full ? world.nowIso : (known?.dueAt ?? new Date(world.now + durationMs(spec.within)).toISOString());
  const before = known === undefined ? { ruleVersion: rule.version, events: [event] } : joinedBy(known.doc, event);
  const doc = { ...before, targets: all };
  world.putWait({ rule: slotOf(rule), kind: 'group', key: groupKey, doc, dueAt, expiresAt: dueAt });
  return no('grouped', 'group', { text: `${all.length} in group ${groupKey}, decided at ${dueAt}` });
}

/** Id of a group: the same on every redelivery of its first event. */
export function groupId(tenant: string, rule: string, key: string, first: EventMessage): string {
  return messageId('group', tenant, rule, key, first.eventId);
}

// ---------------------------------------------------------------- tier, batch, branch, budget
interface Member {
  path: string;
  hit: TierHit & { tier: Tier };
  branch: string;
}

/** From targets that may open to decisions: one per branch. */
export function decideFor(
  world: World,
  rule: LiveRule,
  event: EventMessage,
  targets: readonly string[],
  cause: string,
): Answer {
  const members: Member[] = [];
  for (const path of targets) {
    const resource = world.resource(path);
    const hit = hitFor(world, rule.doc, event, resource);
    const branch = branchOf(world, rule.doc, event, resource, hit.tier);
    if (branch !== undefined) members.push({ path, hit, branch });
  }
  if (members.length === 0) return no('no-branch', 'branch', { text: 'no branch fits any target' });
  if (rule.mode === 'shadow') {
    const what = members.map((m) => `${rungRef(rule.doc, m.branch)} on ${m.path}`).join(', ');
    if (!isShadowReplay(event))
      for (const { path, branch, hit } of members)
        world.would.push({
          ...{ rule: rule.name, version: rule.version, eventId: event.eventId, path, branch, tier: hit.tier },
          ref: rungRef(rule.doc, branch),
        });
    return no('shadow', 'mode', { text: `would start ${what}` });
  }
  return decideBranches(world, rule, event, members, mostCriticalHit(members.map((m) => m.hit)), cause);
}

function rungRef(doc: RuleDocument, branch: string): string {
  const rung = doc.branches.find((b) => b.id === branch)!.ladder[0]!;
  return (rung.run ?? rung.call)!;
}

interface Opened {
  rows: EpisodeRow[];
  over: EpisodeRow[];
  group: string;
}

function decideBranches(
  world: World,
  rule: LiveRule,
  event: EventMessage,
  members: Member[],
  hit: TierHit & { tier: Tier },
  cause: string,
): Answer {
  const decisions = [];
  const pending: { opened: Opened; decision: ReturnType<typeof buildDecision> }[] = [];
  let over = 0;
  const incident = incidentOf(world, rule, event, cause);
  for (const branch of new Set(members.map((m) => m.branch))) {
    const paths = members.filter((m) => m.branch === branch).map((m) => m.path);
    const opened = open(world, rule.doc, event, branch, paths, { hit, incident }, cause);
    over += opened.over.length;
    for (const row of opened.over) {
      world.putEpisode(row);
      world.effects(row, [{ kind: 'changed', state: 'exhausted', reason: 'budget' }]);
    }
    if (opened.rows.length === 0) continue;
    // Built before anything is kept: a slot that fails must leave no episode behind that waits for a start.
    pending.push({
      opened,
      decision: buildDecision(world, {
        doc: rule.doc,
        branch,
        rung: 0,
        cause,
        event,
        tier: hit.tier,
        rows: opened.rows,
      }),
    });
  }
  for (const { opened, decision } of pending) {
    commitDecision(world, decision, opened.rows, opened.group);
    for (const row of opened.rows) world.effects(row, [{ kind: 'changed', state: 'pending' }]);
    decisions.push(decision);
  }
  if (decisions.length === 0)
    return no('budget', 'budget', { text: `${over} of ${members.length} targets are over budget` });
  const halt = decisions.map((d) => haltOver(world, d)).find((h) => h !== undefined);
  const decisionIds = decisions.map((d) => d.id);
  if (halt === undefined) return { verdict: 'decided', stage: 'decide', decisionIds };
  const verdict = halt.until !== undefined && (halt.scope.paths?.length ?? 0) > 0 ? 'maintenance' : 'halted';
  return {
    verdict,
    stage: 'halts',
    because: { text: `${verdict === 'halted' ? 'halt' : 'maintenance'} ${halt.id} by ${halt.by}: ${halt.reason}` },
    decisionIds,
  };
}

/** Runs the machine's first step for every target of a branch. Nothing is kept yet, charges apart. */
function open(
  world: World,
  doc: RuleDocument,
  event: EventMessage,
  branch: string,
  paths: string[],
  { hit, incident }: { hit: TierHit & { tier: Tier }; incident: IncidentRef },
  cause: string,
): Opened {
  const { tier, ...work } = hit;
  const rows: EpisodeRow[] = [];
  const over: EpisodeRow[] = [];
  const limits = (doc.budget ?? []).map((b) => b.runs);
  const group = `${cause}\u0000${branch}`;
  for (const path of paths) {
    const resource = world.resource(path);
    const keys = budgetKeys(doc, event, resource, world.configs);
    const budget = world.budgetLeft(keys, limits, group);
    const id = messageId('episode', world.tenant, doc.name, doc.version, cause, path);
    const opening = { id, rule: doc.name, ruleVersion: doc.version, resource: path, branch, plan: planOf(doc, branch) };
    // The door has already asked about the goal; here only "not known to be met" is left.
    const { episode } = step(
      undefined,
      { kind: 'open', opening, goal: doc.goal === undefined ? 'none' : 'false', budget },
      world.now,
    );
    const row: EpisodeRow = {
      ...{ episode: episode!, origin: cause, event, tier, incident },
      ...(Object.keys(work).length === 0 ? {} : { work }),
    };
    if (!budget) over.push(row);
    else {
      rows.push(row);
      world.charge(keys, group);
    }
  }
  return { rows, over, group };
}
