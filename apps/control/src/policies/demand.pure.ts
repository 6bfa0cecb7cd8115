import {
  type Approvers,
  type Claim,
  durationMs,
  type Json,
  type OnTimeout,
  pathProblem,
  type ResourceView,
  type Template,
  type TierApproval,
} from '@opsloop/contracts';
import { renderTemplate, templatePaths, toScopeValue } from '@opsloop/rules';
import { stretchAt } from './calendar.pure.js';
import { domainOf, mismatch, needsLabels, type PolicySubject, targetsOf } from './match.pure.js';
import {
  type ApprovalPolicy,
  type BlastPolicy,
  type ConflictAct,
  kindOfPattern,
  type MutexPolicy,
  type Policy,
  type QuotaPolicy,
  type Room,
  type StormPolicy,
} from './policy.pure.js';

/** First part of the paths on which counters are locked; nothing is ever claimed there. */
export const BUDGET_KIND = 'budget';
/** Keys that one start may touch: as many as a run has targets. */
export const KEYS_MAX = 1_000;

/** Room that a start asks of one counter. */
export interface BudgetDemand {
  policy: string;
  digest: string;
  /** What is counted together, for people. */
  key: string;
  counter: string;
  rooms: (Room & { of?: string })[];
  /** What it takes: itself, or its targets of this key. */
  units: string[];
  act: 'queue' | 'reject' | 'coalesce';
  noun: 'runs' | 'targets';
}

export interface FreezeDemand {
  policy: string;
  digest: string;
  until: string;
  then: 'hold' | 'reject';
  exceptions?: Approvers;
  perMinute: number;
}

export interface ApprovalDemand {
  policy: string;
  digest: string;
  approvers: Approvers;
  timeoutMs: number;
  onTimeout: OnTimeout;
  remindMs?: number;
  escalateTo?: Approvers;
}

export interface StormDemand {
  policy: string;
  digest: string;
  key: string;
  counter: string;
  units: string[];
  /** So many different targets in trouble are a storm. */
  threshold: number;
  total: number;
  withinMs: number;
  cooldownMs: number;
  then: { ref: string; input: Json };
}

/** All that the policies which match a start ask of it. Facts of its moment: the same facts give the same demand. */
export interface Demand {
  /** Names of the policies that matched. */
  matched: string[];
  refused: { policy: string; saw: string }[];
  /** What cannot be said without the inventory, which does not answer: it waits. */
  unknown: { policy: string; saw: string }[];
  budgets: BudgetDemand[];
  freezes: FreezeDemand[];
  approvals: ApprovalDemand[];
  storms: StormDemand[];
  /** Charged target by target, when the turn of each comes. */
  later: string[];
  /** Policies under which identical work joins what is alive. */
  coalesce?: string;
  /** Policies under which lower tiers give way. */
  preempt?: string;
  /** Temporal or the workers cannot follow. */
  behind?: string;
}

/** What the policies that match a start add to it. */
export interface PolicyEffect {
  claims: Claim[];
  onConflict: { policy: string; act: 'queue' | 'reject' };
  /** The shortest of those that say one. */
  validForMs?: number;
  /** Absent when only mutex policies without further wishes match. */
  demand?: Demand;
}

export interface World {
  /** The targets as the inventory has them; undefined: it does not answer. */
  resources: ReadonlyMap<string, ResourceView> | undefined;
  /** All resources of a kind; undefined: it does not answer. */
  ofKind(kind: string): readonly ResourceView[] | undefined;
}

export interface Weighed extends PolicySubject {
  /** Run id. */
  id: string;
  tenant: string;
  input: Json;
  /** Caused by an event: it counts for storms. */
  caused: boolean;
  /** Its targets take turns, each of which is admitted by itself. */
  turns: boolean;
  /** People whom the rule asks for. */
  approval?: TierApproval | undefined;
}

const readsResource = (template: Template | undefined): boolean =>
  template !== undefined && templatePaths(template).some((p) => /^resource\b/.test(p));

const percentOf = (p: Policy): boolean => (p.type === 'blast-radius' && p.percent !== undefined) || p.type === 'storm';

/** What has to be asked before the policies can be weighed. */
export function needsOf(policies: readonly Policy[], subject: PolicySubject): { resources: boolean; kinds: string[] } {
  const hits = policies.filter((p) => mismatch(p.match, subject) === undefined);
  const kinds = hits.filter(percentOf).flatMap((p) => (p.match.targets ?? []).flatMap((t) => kindOfPattern(t) ?? []));
  const resources = hits.some(
    (p) =>
      needsLabels(p) ||
      ('by' in p && readsResource(p.by)) ||
      (p.type === 'mutex' && p.locks.some((l) => readsResource(l.path))),
  );
  return { resources, kinds: [...new Set(kinds)] };
}

const noDemand = (): Demand => ({
  matched: [],
  refused: [],
  unknown: [],
  budgets: [],
  freezes: [],
  approvals: [],
  storms: [],
  later: [],
});

/** Nobody asks for anything. */
export const NO_DEMAND: Readonly<Demand> = noDemand();

/** What the policies in force ask of a start. Undefined when none matches. */
export function weigh(policies: readonly Policy[], s: Weighed, world: World, now: Date): PolicyEffect | undefined {
  const demand = noDemand();
  const mutexes: MutexPolicy[] = [];
  const claims: Claim[] = [];
  for (const policy of policies) {
    if (mismatch(policy.match, s) !== undefined) continue;
    if (world.resources === undefined && needsOf([policy], s).resources) {
      demand.matched.push(policy.name);
      demand.unknown.push({ policy: policy.name, saw: 'the inventory does not answer' });
      continue;
    }
    const targets = targetsOf(policy.match, s.targets, (path) => world.resources?.get(path)?.labels);
    if (targets.length === 0 && (policy.match.targets !== undefined || policy.match.labels !== undefined)) continue;
    demand.matched.push(policy.name);
    if (policy.type === 'mutex') {
      mutexes.push(policy);
      claims.push(...lockClaims(policy, s, targets, world, demand));
    } else addDemand(demand, policy, { s, targets, world, now });
  }
  if (demand.matched.length === 0) return undefined;
  demand.approvals = strictest(demand.approvals);
  return effectOf(mutexes, claims, demand);
}

interface Case {
  s: Weighed;
  targets: readonly string[];
  world: World;
  now: Date;
}

function addDemand(demand: Demand, policy: Exclude<Policy, MutexPolicy>, c: Case): void {
  const { name, digest } = policy;
  switch (policy.type) {
    case 'quota':
      return addQuota(demand, policy, c);
    case 'blast-radius':
      if (c.s.turns) demand.later.push(name);
      else addBlast(demand, policy, c);
      return;
    case 'freeze': {
      const stretch = stretchAt(policy.during, c.now);
      if (stretch === undefined) return;
      const { then, exceptions, perMinute } = policy;
      const until = stretch.until.toISOString();
      demand.freezes.push({
        policy: name,
        digest,
        until,
        then,
        perMinute,
        ...(exceptions === undefined ? {} : { exceptions }),
      });
      return;
    }
    case 'approval':
      demand.approvals.push(approvalDemand(policy));
      return;
    case 'storm':
      if (c.s.caused) addStorm(demand, policy, c);
  }
}

function approvalDemand(p: ApprovalPolicy): ApprovalDemand {
  const { name, digest, approvers, timeoutMs, onTimeout, remindMs, escalateTo } = p;
  return {
    policy: name,
    digest,
    approvers,
    timeoutMs,
    onTimeout,
    ...(remindMs === undefined ? {} : { remindMs }),
    ...(escalateTo === undefined ? {} : { escalateTo }),
  };
}

/** Policies that ask the same people ask once, with the strictest of their wishes. */
function strictest(list: readonly ApprovalDemand[]): ApprovalDemand[] {
  const byPeople = new Map<string, ApprovalDemand>();
  for (const a of list) {
    const { users = [], groups = [], min = 1, excludeInitiator = false } = a.approvers;
    const key = JSON.stringify([[...users].sort(), [...groups].sort()]);
    const other = byPeople.get(key);
    if (other === undefined) {
      byPeople.set(key, a);
      continue;
    }
    const hard = other.onTimeout === 'approve' ? a : other;
    byPeople.set(key, {
      ...hard,
      policy: `${other.policy}, ${a.policy}`,
      digest: `${other.digest},${a.digest}`,
      timeoutMs: Math.min(other.timeoutMs, a.timeoutMs),
      approvers: {
        ...a.approvers,
        min: Math.max(min, other.approvers.min ?? 1),
        excludeInitiator: excludeInitiator || other.approvers.excludeInitiator === true,
      },
    });
  }
  return [...byPeople.values()];
}

function scopeOf(
  s: Weighed,
  resource: ResourceView | undefined,
  more: Record<string, Json> = {},
): Record<string, unknown> {
  const initiator = s.initiator ?? { kind: 'service', name: '' };
  return {
    tenant: s.tenant,
    tier: s.tier,
    flow: s.flow,
    domain: domainOf(s.flow),
    rule: s.rule ?? '',
    initiator: toScopeValue({ ...initiator, team: initiator.team ?? initiator.name }),
    input: toScopeValue(s.input),
    ...(resource === undefined ? {} : { resource: toScopeValue(resource as unknown as Json) }),
    ...Object.fromEntries(Object.entries(more).map(([k, v]) => [k, toScopeValue(v)])),
  };
}

/** A text of what a template gives; undefined when it gives nothing. */
function keyOf(template: Template, scope: Record<string, unknown>): string | undefined {
  try {
    const value = renderTemplate(template, scope);
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    return typeof value === 'string' && value !== '' ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Targets by key; those that have none are under undefined. */
function keysOf(by: Template | undefined, c: Case): Map<string | undefined, string[]> {
  if (by === undefined) return new Map([['all', [...c.targets]]]);
  if (!readsResource(by)) return new Map([[keyOf(by, scopeOf(c.s, undefined)), [...c.targets]]]);
  const keys = new Map<string | undefined, string[]>();
  for (const path of c.targets) {
    const resource = c.world.resources?.get(path);
    const key = resource === undefined ? undefined : keyOf(by, scopeOf(c.s, resource));
    keys.set(key, [...(keys.get(key) ?? []), path]);
  }
  return keys;
}

/** One counter for each policy and key; the key is cut to what fits into a path. */
export function counterOf(policy: string, key: string): string {
  const safe = key.normalize('NFC').replace(/[%/\u0000-\u001f\u007f]/g, (ch) => encodeURIComponent(ch));
  const short =
    new TextEncoder().encode(safe).length > 200 ? `${[...safe].slice(0, 60).join('')}~${hashOf(key)}` : safe;
  return `${BUDGET_KIND}/${policy}/${/^\.{1,2}$/.test(short) ? `%${short}` : short}`;
}

/** FNV-1a of 53 bits: keys of one policy that share 60 characters. */
function hashOf(text: string): string {
  let h = 0xcbf29ce484222325n;
  for (const ch of text) h = ((h ^ BigInt(ch.codePointAt(0)!)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return h.toString(16);
}

function addQuota(demand: Demand, policy: QuotaPolicy, c: Case): void {
  for (const key of keysOf(policy.by, c).keys())
    demand.budgets.push({
      policy: policy.name,
      digest: policy.digest,
      key: key ?? '(none)',
      counter: counterOf(policy.name, key ?? '(none)'),
      rooms: policy.rooms,
      units: [c.s.id],
      act: policy.onConflict,
      noun: 'runs',
    });
}

function addBlast(demand: Demand, policy: BlastPolicy, c: Case): void {
  for (const [key, units] of keysOf(policy.by, c)) {
    if (key === undefined) {
      const [first] = units;
      const why = c.world.resources?.get(first!) === undefined ? 'is not in the inventory' : 'has no value for it';
      demand.refused.push({
        policy: policy.name,
        saw: `${first} ${why}: nobody knows to which ${nameOf(policy.by)} it belongs; declare it with PUT /v1/resources/${first}`,
      });
      continue;
    }
    const rooms = blastRooms(policy, key, c);
    if (rooms === undefined) {
      demand.unknown.push({
        policy: policy.name,
        saw: `how many resources ${key} has is unknown: the inventory does not answer`,
      });
      continue;
    }
    const counter = counterOf(policy.name, key);
    demand.budgets.push({
      policy: policy.name,
      digest: policy.digest,
      key,
      counter,
      rooms,
      units,
      act: policy.onConflict,
      noun: 'targets',
    });
  }
}

const nameOf = (by: Template | undefined): string =>
  typeof by === 'string' ? by.replace(/^\$\{(?:resource\.labels\.)?(.*)\}$/, '$1') : 'group';

/** floor, and at least one, as everywhere where a percentage of targets is meant. */
export const shareOf = (total: number, percent: number): number => Math.max(1, Math.floor((total * percent) / 100));

function blastRooms(policy: BlastPolicy, key: string, c: Case): BudgetDemand['rooms'] | undefined {
  const within = policy.withinMs === undefined ? {} : { withinMs: policy.withinMs };
  const rooms: BudgetDemand['rooms'] = policy.max === undefined ? [] : [{ max: policy.max, ...within }];
  if (policy.percent === undefined) return rooms;
  const total = membersOf(policy, key, c);
  if (total === undefined) return undefined;
  // One of both is the limit; two rooms of the same time would count those who wait twice.
  const share = shareOf(total, policy.percent);
  if (policy.max !== undefined && policy.max <= share) return rooms;
  return [{ max: share, of: `${policy.percent}% of ${total}`, ...within }];
}

const counted = new WeakMap<object, Map<string, number>>();

/** How many resources of the inventory a policy counts under a key. */
function membersOf(policy: BlastPolicy | StormPolicy, key: string, c: Case): number | undefined {
  const kinds = [...new Set((policy.match.targets ?? []).flatMap((t) => kindOfPattern(t) ?? []))];
  let sum = 0;
  for (const kind of kinds) {
    const all = c.world.ofKind(kind);
    if (all === undefined) return undefined;
    sum += countsOf(policy, all, c).get(key) ?? 0;
  }
  return sum;
}

/** Once per policy and picture of the inventory: 10,000 resources take some 20 ms. */
function countsOf(policy: BlastPolicy | StormPolicy, all: readonly ResourceView[], c: Case): Map<string, number> {
  const kept = counted.get(policy);
  const same = kept !== undefined && picture.get(policy) === all;
  if (same && (policy.by === undefined || readsResource(policy.by))) return kept;
  const counts = new Map<string, number>();
  const byPath = new Map(all.map((r) => [r.path, r]));
  const targets = targetsOf(policy.match, [...byPath.keys()], (path) => byPath.get(path)?.labels);
  const keys = keysOf(policy.by, { ...c, targets, world: { ...c.world, resources: byPath } });
  for (const [key, paths] of keys) if (key !== undefined) counts.set(key, paths.length);
  counted.set(policy, counts);
  picture.set(policy, all);
  return counts;
}
const picture = new WeakMap<object, readonly ResourceView[]>();

function addStorm(demand: Demand, policy: StormPolicy, c: Case): void {
  for (const [key, units] of keysOf(policy.by, c)) {
    if (key === undefined) continue;
    const total = membersOf(policy, key, c);
    // Without an inventory nobody can tell a storm from one broken host: the other policies still hold.
    if (total === undefined || total === 0) continue;
    demand.storms.push({
      policy: policy.name,
      digest: policy.digest,
      key,
      counter: counterOf(policy.name, key),
      units,
      threshold: Math.max(2, Math.ceil((total * policy.percent) / 100)),
      total,
      withinMs: policy.withinMs,
      cooldownMs: policy.cooldownMs,
      then: {
        ref: policy.then.ref,
        input: rendered(policy.then.with, scopeOf(c.s, undefined, { group: { key, total } })),
      },
    });
  }
}

function rendered(template: Template, scope: Record<string, unknown>): Json {
  try {
    return renderTemplate(template, scope);
  } catch {
    return {};
  }
}

function lockClaims(
  policy: MutexPolicy,
  s: Weighed,
  targets: readonly string[],
  world: World,
  demand: Demand,
): Claim[] {
  return policy.locks.flatMap(({ path, mode }): Claim[] => {
    const scopes = readsResource(path)
      ? targets.map((t) => scopeOf(s, world.resources?.get(t)))
      : [scopeOf(s, undefined)];
    return scopes.flatMap((scope) => {
      const at = keyOf(path, scope);
      if (at !== undefined && pathProblem(at) === undefined) return [{ path: at, mode }];
      demand.refused.push({
        policy: policy.name,
        saw: `its lock ${JSON.stringify(path)} gives no path for this start`,
      });
      return [];
    });
  });
}

const RANK: Record<ConflictAct, number> = { queue: 0, coalesce: 1, preempt: 2, reject: 3 };

/** All matching policies together: every lock, the strictest answer to a conflict, the shortest validity. */
function effectOf(mutexes: readonly MutexPolicy[], claims: Claim[], demand: Demand): PolicyEffect {
  const hardest = [...mutexes].sort((a, b) => RANK[b.onConflict] - RANK[a.onConflict])[0];
  const validities = mutexes.flatMap((p) => (p.validFor === undefined ? [] : [durationMs(p.validFor)]));
  const named = (act: ConflictAct): string | undefined => mutexes.find((p) => p.onConflict === act)?.name;
  const [coalesce, preempt] = [named('coalesce'), named('preempt')];
  const full: Demand = {
    ...demand,
    ...(coalesce === undefined ? {} : { coalesce }),
    ...(preempt === undefined ? {} : { preempt }),
  };
  return {
    claims,
    onConflict: { policy: hardest?.name ?? 'mutex', act: hardest?.onConflict === 'reject' ? 'reject' : 'queue' },
    ...(validities.length === 0 ? {} : { validForMs: Math.min(...validities) }),
    ...(isIdle(full) ? {} : { demand: full }),
  };
}

/** It asks nothing that has to be looked at: the admission goes its usual way. */
function isIdle(d: Demand): boolean {
  const lists = [d.refused, d.unknown, d.budgets, d.freezes, d.approvals, d.storms, d.later];
  return lists.every((l) => l.length === 0) && d.coalesce === undefined && d.preempt === undefined;
}
