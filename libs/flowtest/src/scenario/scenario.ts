/** A scenario test as it is written; its JSON Schema is `dsl-schemas/scenario.schema.json`. */
import type { Json, JsonObject } from '@opsloop/contracts';
import type { MockAnswer } from '../play/flowtest.js';

/** One answer of an atom, and what the world does after it. */
export interface ScenarioAnswer extends MockAnswer {
  /** Only calls whose input holds these members. */
  with?: JsonObject;
  /** From this time on, instead of in turn: what an atom sees that only looks. */
  from?: string;
  /** Events that follow once the atom has answered. */
  then?: ScenarioEvent[];
}

export interface ScenarioEvent {
  /** Virtual time since the start; of what follows an answer, since the answer. */
  at?: string;
  event: { type: string; source?: string; subject?: string; data?: Json };
}

export interface ScenarioAct {
  at: string;
  act: 'approve' | 'reject' | 'halt' | 'lift' | 'request';
  by?: string;
  reason?: string;
  /** approve, reject: only questions of runs of this flow. */
  flow?: string;
  /** halt: what it covers; nothing means everything. */
  scope?: JsonObject;
  running?: 'pause' | 'cancel' | 'leave';
  /** request: any call of the API, such as `POST /v1/locks`. */
  request?: string;
  body?: Json;
}

export interface ScenarioExpectation {
  decisions?: (JsonObject | string)[];
  verdicts?: { event: number; rule: string; verdict: string; because?: string }[];
  admissions?: (JsonObject | string)[];
  calls?: (JsonObject | string)[];
  runs?: (JsonObject | string)[];
  episodes?: (JsonObject | string)[];
  resources?: Record<string, JsonObject>;
  within?: string;
}

export interface ScenarioTest {
  dsl: 'opsloop/v1';
  kind: 'scenario';
  name: string;
  start?: { at?: string };
  resources?: JsonObject[];
  config?: Record<string, JsonObject>;
  /** Answers by atom; a list is given in turn, its last entry goes on. */
  mocks?: Record<string, ScenarioAnswer | ScenarioAnswer[]>;
  events: ScenarioEvent[];
  operator?: ScenarioAct[];
  /** How long the world is watched; default: until nothing is left to happen. */
  until?: string;
  expect: ScenarioExpectation;
}

/** What the world did, in the order in which it did it; times are virtual seconds since the start. */
export interface ScenarioSeen {
  decisions: JsonObject[];
  /** By place of the event in the test. */
  verdicts: Record<string, { verdict: string; because?: string }>[];
  admissions: JsonObject[];
  calls: JsonObject[];
  runs: JsonObject[];
  episodes: JsonObject[];
  resources: Record<string, JsonObject>;
  /** Virtual milliseconds until nothing was left to happen. */
  tookMs: number;
  /** What cannot be right: a call without an answer, an act that was refused. */
  troubles: string[];
  warnings: string[];
}
