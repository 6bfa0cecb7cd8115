import {
  type Approvers,
  type Claim,
  durationMs,
  type Effect,
  type FieldError,
  type JsonObject,
  type OnTimeout,
  pathProblem,
  type Template,
  type Tier,
} from '@opsloop/contracts';
import { templatePaths } from '@opsloop/rules';
import { calendarErrors, type Calendar } from './calendar.pure.js';

/** Who speaks: a narrower layer can only be stricter, since all that match count together. */
export const LAYERS = ['platform', 'tenant', 'team'] as const;
export type Layer = (typeof LAYERS)[number];

export interface Match {
  targets?: string[];
  effect?: Effect[];
  tier?: Tier[];
  domain?: string;
  flows?: string[];
  rules?: string[];
  atoms?: string[];
  /** Of the targets: all of these, each with one of its values. */
  labels?: Record<string, string[]>;
  initiator?: { kind?: string[]; name?: string[]; team?: string[] };
}

export interface PolicyBase {
  name: string;
  /** Of the document: what was in force stands in the verdict. */
  digest: string;
  layer: Layer;
  match: Match;
}

export type ConflictAct = 'queue' | 'reject' | 'coalesce' | 'preempt';

export interface MutexPolicy extends PolicyBase {
  type: 'mutex';
  locks: { path: Template; mode: Claim['mode'] }[];
  onConflict: ConflictAct;
  validFor?: string;
}

/** So many at once, or so many within a time. */
export interface Room {
  max: number;
  withinMs?: number;
}

export interface QuotaPolicy extends PolicyBase {
  type: 'quota';
  by?: Template;
  rooms: Room[];
  onConflict: 'queue' | 'reject';
}

export interface BlastPolicy extends PolicyBase {
  type: 'blast-radius';
  by?: Template;
  max?: number;
  /** Of the resources in the inventory with the same key. */
  percent?: number;
  withinMs?: number;
  onConflict: 'queue' | 'reject';
}

export interface FreezePolicy extends PolicyBase {
  type: 'freeze';
  during: Calendar;
  then: 'hold' | 'reject';
  /** Who may let work through all the same. */
  exceptions?: Approvers;
  /** How quickly the debt is worked off at its end. */
  perMinute: number;
}

export interface ApprovalPolicy extends PolicyBase {
  type: 'approval';
  approvers: Approvers;
  timeoutMs: number;
  onTimeout: OnTimeout;
  remindMs?: number;
  escalateTo?: Approvers;
}

export interface StormPolicy extends PolicyBase {
  type: 'storm';
  by: Template;
  percent: number;
  withinMs: number;
  cooldownMs: number;
  then: { ref: string; with: Template };
}

export type Policy = MutexPolicy | QuotaPolicy | BlastPolicy | FreezePolicy | ApprovalPolicy | StormPolicy;

/** People need to notice, read and decide; as for the questions of flows. */
const APPROVAL_TIMEOUT_MS = 60 * 60_000;
/** A storm is what comes together: longer than a few rounds of probes, shorter than a shift. */
const STORM_WITHIN_MS = 10 * 60_000;
const STORM_COOLDOWN_MS = 10 * 60_000;
/** As lifted halts: one a second lets people see what comes before it is over. */
export const DEBT_PER_MINUTE = 60;

const listOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.map(String) : value === undefined ? [] : [String(value)];

function readMatch(match: JsonObject): Match {
  const lists = (['targets', 'flows', 'rules', 'atoms', 'effect', 'tier'] as const).flatMap((key) =>
    match[key] === undefined ? [] : [[key, listOf(match[key])] as const],
  );
  const labels = match['labels'] as JsonObject | undefined;
  const initiator = match['initiator'] as JsonObject | undefined;
  const byKey = (o: JsonObject): Record<string, string[]> =>
    Object.fromEntries(Object.entries(o).map(([k, v]) => [k, listOf(v)]));
  return {
    ...(Object.fromEntries(lists) as Match),
    ...(match['domain'] === undefined ? {} : { domain: String(match['domain']) }),
    ...(labels === undefined ? {} : { labels: byKey(labels) }),
    ...(initiator === undefined ? {} : { initiator: byKey(initiator) as NonNullable<Match['initiator']> }),
  };
}

const ms = (value: unknown, otherwise: number): number => (value === undefined ? otherwise : durationMs(String(value)));

function roomsOf(body: JsonObject): Room[] {
  const rooms: Room[] = [];
  const runs = body['runs'] as number | undefined;
  if (runs !== undefined)
    rooms.push({ max: runs, ...(body['within'] === undefined ? {} : { withinMs: ms(body['within'], 0) }) });
  for (const w of (body['windows'] ?? []) as { runs: number; within: string }[])
    rooms.push({ max: w.runs, withinMs: durationMs(w.within) });
  // The smaller of two for the same time is the limit.
  return rooms.filter(
    (r) =>
      !rooms.some(
        (o) => o.withinMs === r.withinMs && (o.max < r.max || (o.max === r.max && rooms.indexOf(o) < rooms.indexOf(r))),
      ),
  );
}

/** A policy as the document says it, with its defaults; the document has passed its schema. */
export function readPolicy(name: string, body: JsonObject, digest = ''): Policy {
  const base: PolicyBase = {
    name,
    digest,
    layer: (body['layer'] ?? 'tenant') as Layer,
    match: readMatch((body['match'] ?? {}) as JsonObject),
  };
  const by = body['by'] === undefined ? {} : { by: body['by'] };
  switch (body['type']) {
    case 'quota':
      return {
        ...base,
        type: 'quota',
        ...by,
        rooms: roomsOf(body),
        onConflict: (body['onConflict'] ?? 'queue') as 'queue',
      };
    case 'blast-radius':
      return {
        ...base,
        // Looking at a thing does not change it.
        match: { ...base.match, effect: base.match.effect ?? ['mutate', 'destroy'] },
        type: 'blast-radius',
        ...by,
        ...(body['max'] === undefined ? {} : { max: body['max'] as number }),
        ...(body['percent'] === undefined ? {} : { percent: body['percent'] as number }),
        ...(body['within'] === undefined ? {} : { withinMs: ms(body['within'], 0) }),
        onConflict: (body['onConflict'] ?? 'queue') as 'queue',
      };
    case 'freeze':
      return {
        ...base,
        type: 'freeze',
        during: body['during'] as unknown as Calendar,
        then: (body['then'] ?? 'hold') as 'hold',
        ...(body['exceptions'] === undefined ? {} : { exceptions: body['exceptions'] as Approvers }),
        perMinute: (body['perMinute'] ?? DEBT_PER_MINUTE) as number,
      };
    case 'approval':
      return {
        ...base,
        type: 'approval',
        approvers: body['approvers'] as Approvers,
        timeoutMs: ms(body['timeout'], APPROVAL_TIMEOUT_MS),
        onTimeout: (body['onTimeout'] ?? 'reject') as OnTimeout,
        ...(body['remind'] === undefined ? {} : { remindMs: ms(body['remind'], 0) }),
        ...(body['escalateTo'] === undefined ? {} : { escalateTo: body['escalateTo'] as Approvers }),
      };
    case 'storm':
      return readStorm(base, body);
    default:
      return {
        ...base,
        type: 'mutex',
        locks: ((body['locks'] ?? []) as JsonObject[]).map((l) => ({
          path: l['path']!,
          mode: l['mode'] === 'shared' ? 'shared' : 'exclusive',
        })),
        onConflict: (body['onConflict'] ?? 'queue') as ConflictAct,
        ...(body['validFor'] === undefined ? {} : { validFor: String(body['validFor']) }),
      };
  }
}

function readStorm(base: PolicyBase, body: JsonObject): StormPolicy {
  const then = (body['then'] ?? {}) as { run?: string; call?: string; with?: Template };
  return {
    ...base,
    type: 'storm',
    by: body['by']!,
    percent: Number.parseInt(String(body['unhealthy']), 10),
    withinMs: ms(body['within'], STORM_WITHIN_MS),
    cooldownMs: ms(body['cooldown'], STORM_COOLDOWN_MS),
    then: { ref: then.run ?? then.call ?? '', with: then.with ?? {} },
  };
}

/** Top-level names that templates of policies may read. */
export const POLICY_SLOTS = ['resource', 'initiator', 'tier', 'flow', 'domain', 'rule', 'tenant', 'input'] as const;

function templateErrors(template: Template | undefined, pointer: string, more: readonly string[] = []): FieldError[] {
  if (template === undefined) return [];
  const known: readonly string[] = [...POLICY_SLOTS, ...more];
  return templatePaths(template)
    .map((path) => path.split(/[.[?]/, 1)[0]!)
    .filter((root) => !known.includes(root))
    .map((root) => ({
      pointer,
      message: `reads "${root}", which policies do not have; they have ${known.join(', ')}`,
    }));
}

/** Shares are counted over the whole inventory, by what does not change from minute to minute. */
function groupErrors(by: Template | undefined): FieldError[] {
  const wrong = (by === undefined ? [] : templatePaths(by)).filter((p) => !/^resource\.(labels\b|path$|kind$)/.test(p));
  return wrong.map((p) => ({
    pointer: '/by',
    message: `reads "${p}"; a share is counted by resource.labels, resource.path or resource.kind`,
  }));
}

/** The kind of resources that a pattern is about: its first segment, when that has no `*`. */
export function kindOfPattern(pattern: string): string | undefined {
  const kind = pattern.split('/', 1)[0]!;
  return kind === '' || kind.includes('*') ? undefined : kind;
}

/** What the schema cannot say of a policy; what would not be held is refused, since people rely on it. */
export function policyErrors(body: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const say = (pointer: string, message: string): void => void errors.push({ pointer, message });
  const policy = readPolicy(String(body['name']), body);
  switch (policy.type) {
    case 'mutex':
      for (const [i, { path }] of policy.locks.entries()) {
        const pointer = `/locks/${i}/path`;
        const wrong = typeof path === 'string' && !path.includes('${') ? pathProblem(path) : undefined;
        if (wrong !== undefined) say(pointer, wrong);
        errors.push(...templateErrors(path, pointer));
      }
      break;
    case 'quota':
      if (policy.rooms.length === 0) say('/runs', 'or windows must be there');
      errors.push(...templateErrors(policy.by, '/by'));
      break;
    case 'blast-radius':
      if (policy.max === undefined && policy.percent === undefined) say('/max', 'or percent must be there');
      if (policy.percent !== undefined && !kindsAreKnown(policy.match))
        say('/match/targets', 'must begin with a kind, as host/*: percent needs to know what to count');
      errors.push(...(policy.percent === undefined ? templateErrors(policy.by, '/by') : groupErrors(policy.by)));
      break;
    case 'freeze':
      errors.push(...calendarErrors(policy.during, '/during'));
      break;
    case 'approval':
      errors.push(...approvalErrors(policy));
      break;
    case 'storm':
      if (policy.then.ref === '') say('/then/run', 'or call must be there');
      if (policy.percent < 1 || policy.percent > 100) say('/unhealthy', 'must be 1% to 100%');
      if (!kindsAreKnown(policy.match))
        say('/match/targets', 'must begin with a kind, as host/*: a storm is counted in percent');
      errors.push(...groupErrors(policy.by), ...templateErrors(policy.then.with, '/then/with', ['group']));
      break;
  }
  return errors;
}

const kindsAreKnown = ({ targets }: Match): boolean =>
  targets !== undefined && targets.length > 0 && targets.every((p) => kindOfPattern(p) !== undefined);

function approvalErrors({ approvers, onTimeout, escalateTo, remindMs, timeoutMs }: ApprovalPolicy): FieldError[] {
  const errors: FieldError[] = [];
  const { users = [], groups = [], min = 1 } = approvers;
  if (groups.length === 0 && users.length > 0 && users.length < min)
    errors.push({ pointer: '/approvers/min', message: `is ${min}, but only ${users.length} may answer` });
  if (onTimeout === 'escalate' && escalateTo === undefined)
    errors.push({ pointer: '/escalateTo', message: 'must say to whom, when onTimeout is escalate' });
  if (remindMs !== undefined && remindMs >= timeoutMs)
    errors.push({ pointer: '/remind', message: 'must be shorter than timeout' });
  return errors;
}
