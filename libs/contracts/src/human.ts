/**
 * What flows wait for from outside: events and people. The interpreter, control and the clients share these types; the
 * functions are pure, so that control and the workflow judge an answer alike.
 */
import type { Json, JsonObject } from './json.js';
import type { Condition, Template } from './documents.js';
import type { Initiator } from './flow.js';
import { matchesPattern } from './path.js';

// ---------------------------------------------------------------- events

/** One entry of `waitForEvent` and of `reconcile.wakeOn`: all of its members must fit. */
export interface EventFilter {
  /** CloudEvents type; `*` matches any characters, but never types that begin with `opsloop.`. */
  type: string;
  /** Pattern. */
  source?: string;
  /** Template that gives a pattern. */
  subject?: Template;
  /** Members of `data` that must equal these, rendered when the step is reached. */
  correlate?: Template;
  /** Partial match of `data`; a list means any of its members. */
  data?: JsonObject;
  /** Condition over `event` and everything that the step sees. */
  filter?: Condition;
}

/** Exactly one of `one`, `any`, `all`. */
export interface WaitForEventSpec {
  one?: EventFilter;
  any?: EventFilter[];
  all?: EventFilter[];
  timeout?: string;
}

/** An event as a flow sees it. */
export interface FlowEvent {
  eventId: string;
  id: string;
  source: string;
  type: string;
  subject?: string;
  time: string;
  data: Json;
  /** Its data is too large for a flow and was left out. */
  dataOmitted?: true;
}

/** Payload of the signal that hands events to a run, in the order in which they were accepted. */
export interface EventsSignal {
  events: FlowEvent[];
}

/** opsloop's own events must be named in full: a pattern would answer our own runs for ever. */
const OWN_TYPES = 'opsloop.';

export function eventTypeMatches(pattern: string, type: string): boolean {
  if (pattern.includes('*') && type.startsWith(OWN_TYPES)) return false;
  return matchesPattern(pattern, type);
}

// ---------------------------------------------------------------- approvals

export interface Approvers {
  users?: string[];
  groups?: string[];
  /** Persons who must approve. Default 1. */
  min?: number;
  excludeInitiator?: boolean;
}

export const ON_TIMEOUT = ['reject', 'approve', 'fail', 'escalate'] as const;
export type OnTimeout = (typeof ON_TIMEOUT)[number];

export interface ApprovalSpec {
  title: string;
  details?: Template;
  approvers: Approvers;
  /** JSON Schema of what an approver fills in. */
  form?: JsonObject;
  timeout?: string;
  onTimeout?: OnTimeout;
}

/** Who answers. */
export interface ApprovalPerson {
  kind: string;
  name: string;
  groups: string[];
  /** Stands for every group, never for several persons. */
  admin?: boolean;
}

export interface ApprovalAnswer {
  by: string;
  answer: 'approve' | 'reject';
  at: string;
  reason?: string;
  form?: Json;
}

export const APPROVAL_STATUSES = ['open', 'approved', 'rejected', 'timed-out', 'withdrawn', 'cancelled'] as const;
export type ApprovalStatus = (typeof APPROVAL_STATUSES)[number];

/** Argument of the Update `answerApproval`; `withdraw` is control's, when the cause has cleared. */
export interface AnswerRequest {
  /** Full instance path of the approval. */
  path: string;
  answer: 'approve' | 'reject' | 'withdraw';
  person: ApprovalPerson;
  reason?: string;
  form?: Json;
}

export interface AnswerResult {
  status: ApprovalStatus;
  approvals: number;
  needed: number;
}

/** What a flow tells control of an approval: that it is asked, was escalated, or is over. */
export type ApprovalReport = {
  path: string;
  /** The workflow that takes the answers: of the run, or of one of its sub-flows. */
  workflowId: string;
} & (
  | {
      change: 'opened';
      flow: string;
      title: string;
      details?: Json;
      approvers: Approvers;
      form?: JsonObject;
      onTimeout: OnTimeout;
      openedAt: string;
      expiresAt: string;
    }
  | { change: 'escalated'; expiresAt: string }
  | {
      change: 'closed';
      status: Exclude<ApprovalStatus, 'open'>;
      at: string;
      reason?: string;
      /** Names of those whose answers counted. */
      answered?: string[];
    }
);

/** An approval as the API shows it. */
export interface ApprovalView {
  id: string;
  run: string;
  flow: string;
  path: string;
  title: string;
  details?: Json;
  approvers: Approvers;
  form?: JsonObject;
  onTimeout: OnTimeout;
  status: ApprovalStatus;
  openedAt: string;
  expiresAt: string;
  escalatedAt?: string;
  closedAt?: string;
  reason?: string;
  initiator: { kind: string; name: string };
  answers: (ApprovalAnswer & { pending?: true })[];
  /** Asked by this policy before the start; without it the flow asks. */
  policy?: string;
  /** Of the plan that is approved: nothing else starts on the strength of it. */
  planHash?: string;
  /** How often it was asked again. */
  reminders?: number;
  /** Approvals so far, and how many it takes. */
  approvals: number;
  needed: number;
}

export const neededOf = (approvers: Approvers): number => Math.max(1, approvers.min ?? 1);

/** Why this person may not answer; undefined when they may. */
export function answerRefusal(approvers: Approvers, initiator: Initiator, person: ApprovalPerson): string | undefined {
  if (person.kind === 'service') return 'only people and their tokens answer approvals';
  if (approvers.excludeInitiator === true && initiator.kind === person.kind && initiator.name === person.name)
    return 'who started the run may not approve it';
  const { users = [], groups = [] } = approvers;
  if (users.length === 0 && groups.length === 0) return undefined;
  if (users.includes(person.name)) return undefined;
  if (groups.length > 0 && (person.admin === true || groups.some((group) => person.groups.includes(group))))
    return undefined;
  const wanted = [...users.map((user) => `user ${user}`), ...groups.map((group) => `group ${group}`)];
  return `needs ${wanted.join(' or ')}; ${person.name} is in ${person.groups.length === 0 ? 'no group' : `group ${person.groups.join(', ')}`}`;
}
