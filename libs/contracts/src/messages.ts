/**
 * The bus: a closed list of topics and the body of each (design section 4, engineering section 3.1). Bodies carry all
 * that a handler needs, so that no handler has to call back before it can act.
 */
import type { Json, JsonObject } from './json.js';
import type { BatchRamp, Tier, TierApproval } from './documents.js';
import type { Initiator, RunEnd } from './flow.js';
import type { Problem } from './errors.js';

export const TOPICS = ['events', 'starts', 'runs', 'episodes', 'documents'] as const;
export type Topic = (typeof TOPICS)[number];

/** An event as stored and as it travels (topic `events`, key `subject`). */
export interface EventMessage {
  /** Our id (UUIDv7); routes take it. */
  eventId: string;
  /** CloudEvents attributes. */
  source: string;
  id: string;
  type: string;
  subject?: string;
  /** ISO; the receive time when absent or more than 5m ahead. */
  time: string;
  receivedAt: string;
  /** Set when `time` was not the sender's. */
  clockSkew?: boolean;
  data: Json;
  datacontenttype?: string;
  correlationId: string;
  causationId?: string;
  /** Causal depth, ≤ 16. */
  hops: number;
  /** State that this event reports of its subject: merged into `resource.state`. */
  state?: JsonObject;
  /** Replay of another event. */
  replayOf?: string;
  /** Of a replay: `shadow` (the default) is decided and explained but starts nothing and changes no state. */
  replayMode?: 'shadow' | 'active';
  /** CloudEvents extension attributes other than those above. */
  extensions?: Record<string, string | number | boolean>;
  /** Document `source` through which it came. */
  via?: string;
}

/** What decided the start and how to check, at its turn, whether it still holds. */
export interface StartCause {
  rule: string;
  ruleVersion: string;
  branch: string;
  rung: string;
  eventId?: string;
  /** Targets with their episodes: the re-check asks about these. */
  episodes: { id: string; resource: string }[];
}

/** Asks control to admit and start work; id = decision id = admission id = run id. */
export interface StartRequest {
  id: string;
  tenant: string;
  /** `name@range`; a flow (`domain/name`) or an atom (`word.word`). */
  ref: string;
  /** Input of a single run; of a per-target run the members of `items`. */
  input: Json;
  /** `per: target`: one run of `opsloop/per-target` over these. */
  perTarget?: {
    items: { path: string; input: Json }[];
    /** Explicit batches of paths. */
    batches: string[][];
    pause?: string;
    tolerate?: { failures?: number; percent?: number };
    concurrency?: number;
    /** Batches after the first follow the outcome of the one before; `batches` are then the largest they may become. */
    ramp?: BatchRamp;
  };
  /** Paths from the decision; a flow that declares `targets` adds its own. */
  targets: string[];
  tier: Tier;
  initiator: Initiator;
  cause?: StartCause;
  /** What this work is part of: approvals and notifications of one incident belong together. */
  incidentId?: string;
  /** People who must agree, beside what policies ask. */
  approval?: TierApproval;
  /** Identical work shares it while alive; absent = never coalesced. Control adds version, targets and input. */
  coalesce: boolean;
  correlationId: string;
  causationId?: string;
  hops: number;
  /** Duration; default 30m. */
  validFor?: string;
  /** The run of which this is an operator's retry. */
  retryOf?: string;
  /** Of a dry run: what its timers are multiplied with. */
  timeScale?: number;
  at: string;
}

/** Topic `starts`, key admission id. */
export type StartsMessage = { kind: 'start'; start: StartRequest } | { kind: 'withdraw'; id: string; reason: string };

export type Verdict =
  'admitted' | 'queued' | 'coalesced' | 'held' | 'needs-approval' | 'rejected' | 'withdrawn' | 'expired' | 'cancelled';

/** One policy (or built-in check) that admission asked, what it saw and what it said. */
export interface Consulted {
  policy: string;
  saw: string;
  said: string;
}

interface RunsBase {
  id: string;
  decisionId?: string;
  flow: string;
  version?: string;
  targets: string[];
  tier: Tier;
  cause?: StartCause;
  at: string;
}

/** Topic `runs`, key admission id. */
export type RunsMessage =
  | (RunsBase & {
      kind: 'verdict';
      verdict: Verdict;
      consulted: Consulted[];
      position?: number;
      blockedBy?: BlockedBy[];
      /** Of `coalesced`. */
      into?: string;
      reason?: string;
      /** ISO: earliest useful retry of a refused start. */
      retryAt?: string;
      /** Of `admitted`: exclusive claims, so that decision knows whose effects it sees. */
      exclusive?: string[];
      fence?: string;
    })
  | (RunsBase & { kind: 'started'; workflowId: string; fence?: string })
  | (RunsBase & {
      kind: 'closed';
      status: RunEnd;
      problem?: Problem;
      outcome: { path: string; status: RunEnd | 'withdrawn' }[];
    });

export interface BlockedBy {
  fence?: string;
  path: string;
  owner: string;
  runId?: string;
  flow?: string;
  since?: string;
}

/** Topic `episodes`, key resource path. */
export interface EpisodesMessage {
  id: string;
  rule: string;
  resource: string;
  state: string;
  at: string;
  reason?: string;
  incidentId?: string;
  /** The transition settled what this run brought. */
  verified?: { run: string; fixed: boolean };
}

/** Topic `documents`, key `kind/name`: hints for caches. Halts travel here too, as kind `halt`. */
export interface DocumentsMessage {
  kind: string;
  name: string;
  change: 'created' | 'changed' | 'deleted' | 'published' | 'rolled-back' | 'lifted';
  version?: string;
  digest?: string;
  /** Of a halt: its scope and mode. */
  body?: JsonObject;
}

export interface TopicBodies {
  events: EventMessage;
  starts: StartsMessage;
  runs: RunsMessage;
  episodes: EpisodesMessage;
  documents: DocumentsMessage;
}
