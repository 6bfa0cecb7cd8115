/** What deciding sees beside the rows under its locks: documents and counts that were read before. */
import type { TableDocument } from '@opsloop/contracts';
import type { MaintenanceInForce } from '../maintenance/maintenance.pure.js';

export interface Around {
  /** By reference as written, `name@range`. */
  tables: ReadonlyMap<string, TableDocument>;
  maintenance: readonly MaintenanceInForce[];
  /** Counts of facts by {@link countKey}; what happens in the batch itself is added when it is asked. */
  counts: ReadonlyMap<string, Counted>;
  /** How often a rule has worked on the subject of an event in its causal chain, by {@link chainKey}. */
  reentries?: ReadonlyMap<string, number>;
}

export const chainKey = (rule: string, eventId: string): string => `${rule} ${eventId}`;

export interface Counted {
  count: number;
  /** Of a count of subjects: who they are. */
  subjects?: readonly string[];
}

/** Nothing: for judging what needs none of it. */
export const NOTHING_AROUND: Around = { tables: new Map(), maintenance: [], counts: new Map() };
