/** Answers of the API that only its clients read. */
import type {
  Consulted,
  EventView,
  HaltScope,
  HaltView,
  HoldsView,
  Json,
  JsonObject,
  ResourceView,
  Tier,
  Verdict,
} from '@opsloop/contracts';

export interface RuleLine {
  rule: string;
  version: string;
  verdict: string;
  stage?: string;
  because?: { text: string; path?: string; expected?: Json; actual?: Json };
  decisionId?: string;
}

export interface DecisionView {
  id: string;
  rule: string;
  version: string;
  branch: string;
  rung: string;
  tier: Tier;
  eventId?: string;
  ref: string;
  targets: string[];
  batches: string[][];
  at: string;
  admissions: {
    id: string;
    verdict: Verdict | 'pending';
    consulted: Consulted[];
    runId?: string;
    status?: string;
    reason?: string;
  }[];
}

export interface EventExplanation {
  event: EventView;
  duplicateOf?: string;
  rules: RuleLine[];
  decisions: DecisionView[];
  text: string;
}

export interface ResourceExplanation extends HoldsView {
  resource: ResourceView;
  episodes: JsonObject[];
  decisions: DecisionView[];
  text: string;
}

/** One line of `GET /v1/locks`. */
export interface LockView {
  fence: string;
  path: string;
  mode: 'shared' | 'exclusive';
  owner: string;
  runId?: string;
  since: string;
  expiresAt?: string;
  state: string;
  waiting?: number;
}

export type RunAct = 'pause' | 'resume' | 'cancel' | 'terminate' | 'retry' | 'skip';

export interface StartBody {
  input: Json;
  version?: string;
  wait?: string;
  dryRun?: boolean;
  coalesce?: boolean;
}

export interface HaltBody {
  scope: HaltScope;
  running: HaltView['running'];
  reason: string;
  until?: string;
  dryRun?: boolean;
}

export interface HaltAnswer {
  id: string;
  hits?: { rules?: number; queued: number; running: number; targets: number };
}

export interface VersionActAnswer {
  name: string;
  version: string;
  status: string;
  changed: boolean;
  deprecated: string[];
}

export interface ReadinessView {
  ready: boolean;
  parts: { name: string; ok: boolean; detail?: string }[];
}

export interface SecretPut {
  name: string;
  version: number;
  change: 'created' | 'changed';
}

/** What may be known of a secret. */
export interface SecretView {
  name: string;
  version: number;
  updatedAt: string;
  updatedBy: string;
  usedBy: string[];
}

export interface KeyRotation {
  keyId: string;
  /** The platform made the key; otherwise it is the first of the configured ones. */
  made: boolean;
  rewrapped: number;
  /** Keys that nothing needs any more. */
  retired: string[];
}

export interface CreateTokenBody {
  name: string;
  roles: string[];
  groups?: string[];
  secrets?: string[];
  expiresInDays?: number;
  reason?: string;
}

export interface TokenView {
  id: string;
  name: string;
  roles: string[];
  groups: string[];
  secrets: string[];
  createdAt: string;
  createdBy: string;
  expiresAt?: string;
  revokedAt?: string;
}
