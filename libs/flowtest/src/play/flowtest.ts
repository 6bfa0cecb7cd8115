/** A flow test as it is written; its JSON Schema is `dsl-schemas/flowtest.schema.json`. */
import type { Json, JsonObject, PauseScope, Tier } from '@opsloop/contracts';

/** How one attempt of a call ends; a delay alone answers `null`. */
export interface MockAnswer {
  result?: Json;
  problem?: MockProblem;
  delay?: string;
  hangs?: true;
}

export interface MockProblem {
  type: string;
  status?: number;
  title?: string;
  detail?: string;
  retryable?: boolean;
}

/** When something happens: at a time, or after or during a step; at once when nothing is said. */
export interface When {
  at?: string;
  after?: string;
  during?: string;
  delay?: string;
}

export interface TestEvent extends When {
  event: { type: string; source?: string; subject?: string; data?: Json };
}

export interface TestApproval {
  step: string;
  by: string;
  groups?: string[];
  answer: 'approve' | 'reject' | 'withdraw';
  delay?: string;
  reason?: string;
  form?: Json;
}

export interface TestAct extends When {
  act: 'pause' | 'resume' | 'skip' | 'retry' | 'setConcurrency' | 'abortItem' | 'cancel';
  scope?: PauseScope;
  path?: string;
  item?: string;
  concurrency?: number;
  output?: Json;
  by?: string;
  reason?: string;
}

export interface ExpectedCall {
  step?: string;
  atom?: string;
  with?: Json;
  attempts?: number;
}

export interface Expectation {
  status?: 'succeeded' | 'failed' | 'cancelled';
  output?: Json;
  problem?: JsonObject;
  path?: string[];
  calls?: (string | ExpectedCall)[];
  compensated?: string[];
  emitted?: { type: string; subject?: string; data?: Json }[];
  steps?: Record<string, JsonObject>;
  within?: string;
}

export interface FlowTest {
  dsl: 'opsloop/v1';
  kind: 'flowtest';
  name: string;
  flow: string;
  input?: Json;
  config?: Record<string, JsonObject>;
  start?: { at?: string; by?: string; tier?: Tier };
  mocks?: Record<string, MockAnswer | MockAnswer[]>;
  events?: TestEvent[];
  approvals?: TestApproval[];
  operator?: TestAct[];
  expect: Expectation;
}

/** Any number of entries in a list of what is expected. */
export const ANY = '...';
