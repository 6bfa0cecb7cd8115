/**
 * Calls between the apps: under `/internal`, with the service token, not in OpenAPI (design section 12.12). One row
 * per call; `libs/platform`'s `InternalClient` and the controllers share these types.
 */
import type { Json, JsonObject } from './json.js';
import type { AtomDocument, Effect, Retired, RuleMode, TableDocument, Tier, ScheduleDocument } from './documents.js';
import type { Claim, CompiledFlow, FlowDocument, RunOutcome } from './flow.js';
import type { ApprovalReport } from './human.js';
import type { LogBatch } from './logs.js';
import type { BlockedBy, EventMessage, RunsMessage, StartCause } from './messages.js';

export interface InternalCalls {
  /** service-catalog: `name@range` → the newest published version in range with everything it refers to, compiled. 404 when none. */
  'POST /internal/catalog/compile': { body: { ref: string }; answer: CompiledOffering };
  /** service-catalog: manifest of an atom, for polls and observations. */
  'POST /internal/catalog/atom': { body: { ref: string }; answer: AtomDocument };
  /** service-catalog: all configs of the tenant, `{ <name>: values }`. */
  'POST /internal/catalog/configs': { body: Record<string, never>; answer: { configs: Record<string, JsonObject> } };
  /** service-catalog: decision tables by `name@range`, each the newest published version in range; unknown ones are absent. */
  'POST /internal/catalog/tables': { body: { refs: string[] }; answer: { tables: Record<string, TableDocument> } };
  /** service-catalog: all schedules in force. */
  'POST /internal/catalog/schedules': {
    body: Record<string, never>;
    answer: { schedules: { name: string; digest: string; body: ScheduleDocument }[] };
  };
  /** service-catalog: values of secrets, only for the moment of their use. Names that are not kept are absent from the answer. */
  'POST /internal/catalog/secrets/resolve': {
    body: { names: string[] };
    answer: { secrets: { name: string; version: number; value: string }[] };
  };
  /** service-catalog: keeps a secret that stood in a document of another app, such as `source/am-prod`. Idempotent. */
  'POST /internal/catalog/secrets/keep': {
    body: { name: string; value: string; by: string };
    answer: { name: string; version: number };
  };
  /** service-catalog: forgets such a secret. Idempotent. */
  'POST /internal/catalog/secrets/forget': { body: { name: string; by: string }; answer: { forgotten: boolean } };
  /** service-catalog: who an API token belongs to, by its id and the sha256 of all of it (base64url). */
  'POST /internal/catalog/tokens/find': { body: { id: string; hash: string }; answer: TokenAnswer };
  /** decision: is the cause of a queued or held start still there? `unknown` = ask again later. */
  'POST /internal/decision/recheck': {
    body: { id: string; cause: StartCause; targets: string[] };
    answer: {
      verdict: 'stands' | 'cleared' | 'unknown';
      reason: string;
      targets: { path: string; verdict: 'stands' | 'cleared' | 'unknown' }[];
    };
  };
  /** decision: the front part of a run's timeline (event, decision, later states). */
  'POST /internal/decision/story': {
    body: { decisionId?: string; targets: string[]; since: string; until?: string };
    answer: { entries: TimelineEntry[] };
  };
  /** decision: resources for polls, `resource.list` and policies. */
  'POST /internal/decision/resources': {
    body: { paths?: string[]; kind?: string; labels?: Record<string, string>; under?: string; limit?: number };
    answer: { items: ResourceView[] };
  };
  /** decision: all resources of a kind, page by page; `next` is the `after` of the page that follows. */
  'POST /internal/decision/inventory': {
    body: { kind: string; after?: string };
    answer: { items: ResourceView[]; next?: string };
  };
  /** decision: of each path the groups whose members it overlaps, theirs included; paths without are absent. `kinds`: of what there are members at all. */
  'POST /internal/decision/groups': {
    body: { paths: string[] };
    answer: { groups: Record<string, string[]>; kinds: string[] };
  };
  /** decision: live rules and what each of them may start, for what a halt would hit. */
  'POST /internal/decision/rules': { body: Record<string, never>; answer: { rules: RuleReach[] } };
  /** decision: how many resources there are of each kind. */
  'POST /internal/decision/kinds': { body: Record<string, never>; answer: { kinds: Record<string, number> } };
  /** event-ingest: a stored event. 404 when unknown. */
  'POST /internal/events/get': { body: { eventId: string }; answer: EventMessage };
  /** control: the interpreter's closing report. Idempotent. */
  'POST /internal/runs/:id/outcome': { body: RunOutcome; answer: { closed: boolean } };
  /** control: claims of a running run at a step (`do.lock`, per-target turns); covered ones are granted under its fence. */
  'POST /internal/runs/:id/claims': {
    body: { step: string; claims: Claim[] };
    answer: { granted: true; fence: string } | { granted: false; blockedBy: BlockedBy[] };
  };
  /** control: gives back what a step claimed. Idempotent. */
  'POST /internal/runs/:id/release': { body: { step: string }; answer: { released: boolean } };
  /** control: a flow asks people, or has stopped asking. Idempotent by run and path. */
  'POST /internal/runs/:id/approvals': { body: ApprovalReport; answer: { id: string } };
  /** control: lines that a step says; kept as far as the bounds of its run allow. */
  'POST /internal/runs/:id/logs': { body: LogBatch; answer: { kept: number } };
  /** control: compiled flow by digest, for inputs above 128 KB. */
  'POST /internal/runs/:id/ir': { body: { digest: string }; answer: CompiledFlow };
  /** control: halts in force and the open runs each of them stops. Polled by every worker each 500 ms. */
  'POST /internal/halts': { body: Record<string, never>; answer: HaltSnapshot };
  /** control: what was last published about these admissions, for whoever lost a message: a start, an end, a refusal. */
  'POST /internal/control/tell-again': { body: { ids: string[] }; answer: { messages: RunsMessage[] } };
  /** control: runs of these flows that are under way, for whoever publishes another version; absent = none. */
  'POST /internal/control/open-runs': { body: { flows: string[] }; answer: { open: Record<string, number> } };
  /** control: who holds, waits for and halts this path, for explain. */
  'POST /internal/control/holds': { body: { path: string }; answer: HoldsView };
}

/** Without `principal` the token is unknown, revoked or expired. */
export interface TokenAnswer {
  principal?: {
    tenant: string;
    kind: 'token';
    name: string;
    roles: string[];
    groups: string[];
    /** Patterns of the secrets that a worker may resolve. */
    secrets: string[];
  };
  expiresAt?: string;
}

export interface CompiledOffering {
  kind: 'flow' | 'atom';
  name: string;
  version: string;
  effect: Effect;
  compiled: CompiledFlow;
  /** The flow document (an atom is wrapped in a flow of one step). */
  document: FlowDocument;
  /** Input schema, for the answer 400 before anything is admitted. */
  inputSchema?: JsonObject;
}

export interface HaltScope {
  rules?: string[];
  flows?: string[];
  atoms?: string[];
  paths?: string[];
  tiers?: Tier[];
  domain?: string;
}

export interface HaltView {
  id: string;
  scope: HaltScope;
  running: 'pause' | 'cancel' | 'leave';
  reason: string;
  by: string;
  since: string;
  until?: string;
  /** Made by the automatic brake, for a rule or a flow that may do harm. */
  brake?: { subject: string; cause: string; owner?: string };
  /** Whoever made it may not lift it. */
  secondPerson?: true;
  /** Runs that a person let pass. */
  allowed?: string[];
}

/** `asOf` lets a worker know how old its picture is: above 1.5 s it asks before it acts, and without an answer nothing starts. */
export interface HaltSnapshot {
  asOf: string;
  halts: HaltView[];
}

/** What a live rule may start, as far as its document says. */
export interface RuleReach {
  name: string;
  mode: RuleMode;
  /** `name@range` of every rung. */
  refs: string[];
  /** Absent: decided by a table, so any. */
  tiers?: Tier[];
  owner?: string;
  /** Starts in a minute that its budget grants. */
  perMinute?: number;
  /** Patterns of the subjects it listens to; absent: any, or its targets are not the subjects. */
  subjects?: string[];
}

export interface HoldsView {
  locks: { fence: string; path: string; mode: string; owner: string; runId?: string; since: string; state: string }[];
  waiting: { id: string; flow: string; verdict: string; position?: number; since: string }[];
  halts: HaltView[];
  maintenance: HaltView[];
}

export interface ResourceView {
  path: string;
  kind: string;
  labels: Record<string, string>;
  state: JsonObject;
  /** Time of the last change per key of `state`. */
  stateAt: Record<string, string>;
  /** Newest observation of any key. */
  observedAt?: string;
  memberOf: string[];
  dependsOn: string[];
  owner?: string;
  retired?: Retired;
}

export type TimelineKind =
  'event' | 'decision' | 'admission' | 'lock' | 'step' | 'approval' | 'operator' | 'state' | 'run';

export interface TimelineEntry {
  at: string;
  kind: TimelineKind;
  title: string;
  /** What it is about: an event id, decision id, fence, step path, … */
  ref?: string;
  cause?: string;
  detail?: Json;
}
