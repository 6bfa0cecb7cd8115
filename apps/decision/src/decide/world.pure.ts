/**
 * The part of the world that one batch needs, loaded under its locks; deciding reads and changes it in memory, and what
 * changed is written in one go. No I/O and no clock in here.
 */
import { decisionId, messageId } from '@opsloop/contracts/ids';
import type {
  EpisodesMessage,
  EventMessage,
  Json,
  JsonObject,
  RuleDocument,
  StartsMessage,
  Tier,
} from '@opsloop/contracts';
import { isUnder, pathsOverlap } from '@opsloop/contracts';
import type { Episode, EpisodeEffect, EpisodeInput, GoalTruth } from '../episodes/machine.pure.js';
import { isLive, step } from '../episodes/machine.pure.js';
import { isTransition, mergeState, unknownResource } from '../resources/merge.pure.js';
import type {
  BudgetKey,
  Configs,
  DecisionRow,
  EpisodeRow,
  Halt,
  Hold,
  LiveRule,
  Resource,
  RuleTrace,
  Ruleset,
  TraceRow,
  TrialResult,
  WaitKind,
  WaitRow,
  Would,
} from '../store/model.js';
import type { Scope } from '@opsloop/rules';
import type { Around } from '../facts/around.pure.js';
import { NOTHING_AROUND } from '../facts/around.pure.js';
import { factsOf } from '../facts/facts.pure.js';
import type { OpenMaintenance } from '../maintenance/maintenance.pure.js';
import { maintenanceOver } from '../maintenance/maintenance.pure.js';
import { goalTruth, ruleScope } from './scope.pure.js';

export { decisionId, messageId };

export interface Loaded {
  resources: Resource[];
  episodes: EpisodeRow[];
  blocked: EpisodeRow[];
  waits: WaitRow[];
  budgets: (BudgetKey & { used: number })[];
  holds: Hold[];
  /** Starts that episodes outside this world still wait for. */
  siblings: string[];
  halts: Halt[];
}

export interface Outgoing {
  topic: 'starts' | 'episodes';
  id: string;
  key: string;
  body: StartsMessage | EpisodesMessage;
}

/** A start that the machine asked for and that is not built yet. */
export interface AskedStart {
  row: EpisodeRow;
  rung: number;
  n: number;
}

export interface Charge extends BudgetKey {
  /** Targets that start together share one charge of a key. */
  group: string;
  decisionId?: string;
}

const two = (a: string, b: string): string => `${a}\u0000${b}`;
const three = (a: string, b: string, c: string): string => `${a}\u0000${b}\u0000${c}`;

const byName = new WeakMap<Ruleset, Map<string, LiveRule>>();

/** Each episode of a batch asks for its rule, and there may be 10,000 of them. A version that is tried is `name@version`. */
export function ruleNamed(ruleset: Ruleset, name: string): LiveRule | undefined {
  let names = byName.get(ruleset);
  if (names === undefined) {
    names = new Map(ruleset.rules.map((rule) => [rule.name, rule]));
    for (const rule of ruleset.tried ?? []) names.set(`${rule.name}@${rule.version}`, rule);
    byName.set(ruleset, names);
  }
  return names.get(name);
}

/** A resource is reported by a handful of types; more are names made of something that changes, and nobody's rule. */
const REPORTERS_MAX = 16;

export class World {
  readonly traces: TraceRow[] = [];
  readonly traceUpdates: { eventId: string; verdicts: Record<string, RuleTrace> }[] = [];
  readonly decisions: DecisionRow[] = [];
  readonly outgoing: Outgoing[] = [];
  readonly stateChanges: { path: string; at: string; changes: JsonObject; cause?: string }[] = [];
  /** Types of events that report a resource for the first time. */
  readonly reporters: { path: string; type: string }[] = [];
  readonly charges: Charge[] = [];
  readonly asked: AskedStart[] = [];
  /** Episodes that a person has to look at. */
  readonly exhausted: EpisodeRow[] = [];
  readonly would: Would[] = [];
  readonly trialResults: TrialResult[] = [];
  readonly halts: readonly Halt[];
  readonly nowIso: string;
  private readonly resources = new Map<string, Resource>();
  private readonly dirtyResources = new Set<string>();
  private readonly live = new Map<string, EpisodeRow>();
  private readonly blockedRows = new Map<string, EpisodeRow>();
  private readonly dirtyEpisodes = new Map<string, EpisodeRow>();
  private readonly waits = new Map<string, WaitRow>();
  private readonly dirtyWaits = new Map<string, WaitRow>();
  private readonly endedWaits = new Map<string, { rule: string; kind: WaitKind; key: string }>();
  private readonly budgets = new Map<string, number>();
  private readonly holds: Hold[];
  private readonly siblings: ReadonlySet<string>;

  constructor(
    readonly tenant: string,
    readonly now: number,
    readonly configs: Configs,
    readonly ruleset: Ruleset,
    /** Every rule version that a loaded episode or window names. */
    private readonly versions: ReadonlyMap<string, RuleDocument>,
    loaded: Loaded,
    readonly around: Around = NOTHING_AROUND,
  ) {
    this.nowIso = new Date(now).toISOString();
    for (const resource of loaded.resources) this.resources.set(resource.path, resource);
    for (const row of loaded.episodes) this.live.set(two(row.episode.rule, row.episode.resource), row);
    for (const row of loaded.blocked) this.blockedRows.set(two(row.episode.rule, row.episode.resource), row);
    for (const wait of loaded.waits) this.waits.set(three(wait.rule, wait.kind, wait.key), wait);
    for (const budget of loaded.budgets)
      this.budgets.set(three(budget.rule, String(budget.slot), budget.key), budget.used);
    this.holds = loaded.holds;
    this.siblings = new Set(loaded.siblings);
    this.halts = loaded.halts.filter((halt) => halt.until === undefined || Date.parse(halt.until) > now);
  }

  // ---------------------------------------------------------------- rules
  /** The document of exactly this version; the live one when it is the same. */
  ruleDoc(name: string, version: string): RuleDocument | undefined {
    const live = this.liveRule(name);
    if (live?.version === version) return live.doc;
    const key = `${name}@${version}`;
    return (live?.pair === undefined ? undefined : ruleNamed(this.ruleset, key)?.doc) ?? this.versions.get(key);
  }

  liveRule(name: string): LiveRule | undefined {
    return ruleNamed(this.ruleset, name);
  }

  /** What conditions and slots of a rule see once its event has come this far: facts and the present beside the event. */
  scope(
    doc: RuleDocument,
    event: EventMessage,
    resource: Resource | undefined,
    more: Record<string, Json> = {},
  ): Scope {
    if (doc.facts === undefined) return ruleScope(this.configs, event, resource, { ...more, now: this.nowIso });
    const facts = factsOf(doc, event, resource, {
      now: this.now,
      configs: this.configs,
      around: this.around,
      events: () => this.traces.map((trace) => trace.event),
      opened: () => this.allLive().filter((row) => row.episode.openedAt === this.now),
    });
    const all = { ...more, now: this.nowIso, facts: { ...facts, ...(more['facts'] as JsonObject | undefined) } };
    return ruleScope(this.configs, event, resource, all);
  }

  // ---------------------------------------------------------------- resources
  resource(path: string): Resource {
    return this.resources.get(path) ?? unknownResource(path);
  }

  /** What stands in the place of a retired resource: its goal is met when that is well. */
  standsFor(path: string): Resource {
    const resource = this.resource(path);
    const next = resource.retired?.replacedBy;
    return next === undefined ? resource : this.resource(next);
  }

  setResource(resource: Resource): void {
    this.resources.set(resource.path, resource);
    this.dirtyResources.add(resource.path);
  }

  /**
   * Merges a report and tells every episode of the resource what it means for its goal. Returns whether a newer
   * observation of one of the keys was known. `type`: of the event that reports.
   */
  observe(
    path: string,
    report: JsonObject,
    at: string,
    cause: string | undefined,
    type?: string,
  ): { late: boolean; changes: JsonObject } {
    const { resource, changes, late } = mergeState(this.reported(path, type), report, at);
    this.setResource(resource);
    if (isTransition(changes)) this.stateChanges.push({ path, at, changes, ...(cause === undefined ? {} : { cause }) });
    this.checkGoals(path);
    return { late, changes };
  }

  private reported(path: string, type: string | undefined): Resource {
    const resource = this.resource(path);
    const { reportedBy } = resource;
    if (type === undefined || reportedBy.includes(type) || reportedBy.length >= REPORTERS_MAX) return resource;
    this.reporters.push({ path, type });
    return { ...resource, reportedBy: [...reportedBy, type] };
  }

  /** Level-triggered: what counts is the state now, not the change that led to it. */
  checkGoals(path: string): void {
    const resource = this.resource(path);
    for (const row of this.episodesOf(path)) {
      this.apply(row, { kind: 'state', goal: this.goalOf(row.episode), ...this.goalAt(resource) });
    }
    for (const row of [...this.blockedRows.values()].filter((r) => r.episode.resource === path)) {
      if (this.goalOf(row.episode) === 'true') this.unblock(row);
    }
  }

  private goalAt(resource: Resource): { goalAt?: number } {
    // A source whose clock runs ahead must not make a goal stable earlier than we saw it.
    return resource.observedAt === undefined ? {} : { goalAt: Math.min(Date.parse(resource.observedAt), this.now) };
  }

  goalOf(episode: Episode): GoalTruth {
    const doc = this.ruleDoc(episode.rule, episode.ruleVersion);
    const resource = this.standsFor(episode.resource);
    return doc === undefined ? 'unknown' : goalTruth(doc, resource, this.configs, this.now);
  }

  goalOfRule(rule: LiveRule, path: string): GoalTruth {
    return goalTruth(rule.doc, this.resource(path), this.configs, this.now);
  }

  goalInput(episode: Episode): { goal: GoalTruth; goalAt?: number } {
    return { goal: this.goalOf(episode), ...this.goalAt(this.standsFor(episode.resource)) };
  }

  /** Looks that are older than the end of a run on the resource prove nothing any more. */
  noteRunEnd(path: string, at: string): void {
    this.resources.set(path, { ...this.resource(path), lastRunEnd: at });
  }

  // ---------------------------------------------------------------- episodes
  episodesOf(path: string): EpisodeRow[] {
    return [...this.live.values()].filter((row) => row.episode.resource === path && isLive(row.episode));
  }

  allLive(): EpisodeRow[] {
    return [...this.live.values()].filter((row) => isLive(row.episode));
  }

  openEpisode(rule: string, path: string): EpisodeRow | undefined {
    const row = this.live.get(two(rule, path));
    return row !== undefined && isLive(row.episode) ? row : undefined;
  }

  blocked(rule: string, path: string): EpisodeRow | undefined {
    const row = this.blockedRows.get(two(rule, path));
    return row?.episode.blockedUntil !== undefined && row.episode.blockedUntil > this.now ? row : undefined;
  }

  private unblock(row: EpisodeRow): void {
    const { episode } = step(row.episode, { kind: 'reset', reason: 'goal seen true' }, this.now);
    this.blockedRows.delete(two(row.episode.rule, row.episode.resource));
    this.dirtyEpisodes.set(row.episode.id, { ...row, episode: episode! });
  }

  putEpisode(row: EpisodeRow): void {
    const key = two(row.episode.rule, row.episode.resource);
    this.dirtyEpisodes.set(row.episode.id, row);
    if (isLive(row.episode)) this.live.set(key, row);
    else if (this.live.get(key)?.episode.id === row.episode.id) this.live.delete(key);
    if (row.episode.blockedUntil !== undefined) this.blockedRows.set(key, row);
  }

  /** One step of the machine with its effects put where they belong. */
  apply(row: EpisodeRow, input: EpisodeInput): EpisodeRow {
    const result = step(row.episode, input, this.now);
    if (result.episode === row.episode || result.episode === undefined) return row;
    const next = { ...row, episode: result.episode };
    this.putEpisode(next);
    this.effects(next, result.effects);
    return next;
  }

  effects(row: EpisodeRow, effects: readonly EpisodeEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'changed') this.tellEpisode(row, effect);
      else if (effect.kind === 'start') this.asked.push({ row, rung: effect.rung, n: effect.n });
      else this.withdraw(effect.id, effect.reason);
    }
  }

  private tellEpisode(row: EpisodeRow, { state, reason, verified }: Extract<EpisodeEffect, { kind: 'changed' }>): void {
    const { episode } = row;
    const { rule, ruleVersion: version, resource } = episode;
    if (verified !== undefined && this.liveRule(rule)?.pair?.tried.version === version)
      this.trialResults.push({ rule, version, resource, ...verified });
    if (state === 'exhausted') this.exhausted.push(row);
    this.outgoing.push({
      topic: 'episodes',
      id: messageId(
        'episode',
        this.tenant,
        episode.id,
        state,
        String(episode.starts),
        String(episode.flaps),
        String(this.now),
      ),
      key: episode.resource,
      body: {
        id: episode.id,
        rule: episode.rule,
        resource: episode.resource,
        state,
        at: this.nowIso,
        ...(reason === undefined ? {} : { reason }),
        ...(verified === undefined ? {} : { verified }),
        ...(row.incident === undefined ? {} : { incidentId: row.incident.id }),
      },
    });
  }

  /** A start for several targets is withdrawn only when none of them needs it any more; control drops single ones at their turn. */
  private withdraw(startId: string, reason: string): void {
    const others = this.allLive().some(
      (row) => row.episode.startId === startId && !row.episode.withdrawing && row.episode.state === 'pending',
    );
    if (others || this.siblings.has(startId)) return;
    this.outgoing.push({
      topic: 'starts',
      id: messageId('withdraw', this.tenant, startId),
      key: startId,
      body: { kind: 'withdraw', id: startId, reason },
    });
  }

  // ---------------------------------------------------------------- windows, budgets, holds
  wait(rule: string, kind: WaitKind, key: string): WaitRow | undefined {
    const wait = this.waits.get(three(rule, kind, key));
    return wait !== undefined && (wait.dueAt !== undefined || Date.parse(wait.expiresAt) > this.now) ? wait : undefined;
  }

  putWait(wait: WaitRow): void {
    const key = three(wait.rule, wait.kind, wait.key);
    this.waits.set(key, wait);
    this.dirtyWaits.set(key, wait);
    this.endedWaits.delete(key);
  }

  endWait(rule: string, kind: WaitKind, key: string): void {
    const id = three(rule, kind, key);
    if (!this.waits.delete(id)) return;
    this.dirtyWaits.delete(id);
    this.endedWaits.set(id, { rule, kind, key });
  }

  /** True while every budget of these keys has room for one more start; keys of the same group are charged once. */
  budgetLeft(keys: readonly BudgetKey[], limits: readonly number[], group: string): boolean {
    return keys.every((key) => {
      const used = this.budgets.get(three(key.rule, String(key.slot), key.key)) ?? 0;
      const charged = this.charges.filter(
        (c) => c.rule === key.rule && c.slot === key.slot && c.key === key.key && c.group !== group,
      );
      return used + new Set(charged.map((c) => c.group)).size < limits[key.slot]!;
    });
  }

  charge(keys: readonly BudgetKey[], group: string): void {
    for (const key of keys) {
      const known = this.charges.some(
        (c) => c.rule === key.rule && c.slot === key.slot && c.key === key.key && c.group === group,
      );
      if (!known) this.charges.push({ ...key, group });
    }
  }

  settleCharges(group: string, id: string): void {
    for (const charge of this.charges)
      if (charge.group === group && charge.decisionId === undefined) charge.decisionId = id;
  }

  holdOn(path: string): Hold | undefined {
    return this.holds.find((hold) => pathsOverlap(hold.path, path));
  }

  /** A run that holds what this resource depends on, or a group of which it is a member: what it shows is that run's effect. */
  linkedHold(path: string): { hold: Hold; how: string } | undefined {
    const { dependsOn, memberOf } = this.resource(path);
    for (const hold of this.holds) {
      if (dependsOn.includes(hold.path)) return { hold, how: 'depends on' };
      if (memberOf.includes(hold.path)) return { hold, how: 'is a member of' };
    }
    return undefined;
  }

  // ---------------------------------------------------------------- left alone for a time
  maintenanceOver(rule: string, path: string): OpenMaintenance | undefined {
    const { maintenance } = this.around;
    return maintenance.length === 0 ? undefined : maintenanceOver(maintenance, rule, this.resource(path), this.now);
  }

  /** One look is owed to this rule and resource; whoever owes it longer wins, and the last event stands for all. */
  owe(rule: LiveRule, path: string, event: EventMessage, until: number): void {
    const known = this.waits.get(three(rule.name, 'debt', path));
    const dueAt = new Date(Math.max(until, Date.parse(known?.dueAt ?? '') || 0)).toISOString();
    const doc = { ruleVersion: rule.version, events: [event] };
    this.putWait({ rule: rule.name, kind: 'debt', key: path, doc, dueAt, expiresAt: dueAt });
  }

  /** The subject of an event as it stands now. */
  subjectOf(event: EventMessage): Resource | undefined {
    return event.subject === undefined ? undefined : this.resource(event.subject);
  }

  // ---------------------------------------------------------------- what has to be written
  dirty(): {
    resources: Resource[];
    episodes: EpisodeRow[];
    waits: WaitRow[];
    ended: { rule: string; kind: WaitKind; key: string }[];
  } {
    return {
      resources: [...this.dirtyResources].map((path) => this.resources.get(path)!),
      episodes: [...this.dirtyEpisodes.values()],
      waits: [...this.dirtyWaits.values()],
      ended: [...this.endedWaits.values()],
    };
  }
}

/** Does a halt cover this work? All that its scope names must fit; an empty scope covers everything. */
export function haltCovers(
  halt: Halt,
  work: { rule: string; refs: string[]; paths: string[]; tier: Tier },
  matches: (pattern: string, text: string) => boolean,
): boolean {
  const { rules, flows, atoms, paths, tiers, domain } = halt.scope;
  const any = (patterns: readonly string[] | undefined, texts: readonly string[]): boolean =>
    patterns === undefined || patterns.length === 0 || patterns.some((p) => texts.some((t) => matches(p, t)));
  return (
    any(rules, [work.rule]) &&
    any(
      flows,
      work.refs.filter((ref) => ref.includes('/')),
    ) &&
    any(
      atoms,
      work.refs.filter((ref) => !ref.includes('/')),
    ) &&
    (paths === undefined ||
      paths.length === 0 ||
      paths.some((p) => work.paths.some((t) => matches(p, t) || isUnder(t, p)))) &&
    (tiers === undefined || tiers.length === 0 || tiers.includes(work.tier)) &&
    (domain === undefined || work.refs.some((ref) => ref.split('/', 1)[0] === domain))
  );
}

export type { EventMessage };
