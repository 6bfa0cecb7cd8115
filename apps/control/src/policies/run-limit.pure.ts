import type { BlockedBy, Claim, Consulted, FlowDocument } from '@opsloop/contracts';
import { pathsOverlap } from '@opsloop/contracts';
import { type FlowLimit, LIMIT_KIND, limitKeyOf } from '@opsloop/dsl';
import type { BudgetDemand } from './demand.pure.js';

/** What becomes of a start whose flow has its one run already. */
export type LimitAct = NonNullable<NonNullable<FlowDocument['limit']>['onConflict']>;

/** What stands in the way of a limit, read under the locks of its paths. */
export interface LimitFacts {
  flow: string;
  paths: readonly string[];
  act: LimitAct;
  holders: readonly BlockedBy[];
  ahead: readonly BlockedBy[];
  /** The run to join: alive, and kept from ending until this start has joined it. */
  into?: string | undefined;
}

/** Above this a list helps nobody. */
const KEYS_SHOWN = 3;

/**
 * Of a start's claims those that hold its flow's limit of one run: one, or one per key of a run per target. A limit of
 * several runs is a counter; its shared claims only keep versions with a limit of one out.
 */
export const limitPaths = (flow: string, claims: readonly Claim[]): string[] =>
  claims.filter((c) => c.mode === 'exclusive' && c.path.startsWith(`${LIMIT_KIND}/${flow}/`)).map((c) => c.path);

export const isLimitPath = (path: string): boolean => path.startsWith(`${LIMIT_KIND}/`);

/** Those in the way of something else than the limit. */
export const besidesLimit = (blockers: readonly BlockedBy[], limit: LimitFacts | undefined): BlockedBy[] =>
  blockers.filter((b) => limit === undefined || !limit.paths.some((path) => pathsOverlap(path, b.path)));

/** What the limit saw and says. */
export function consultLimit(limit: LimitFacts): Consulted {
  const keys = limit.paths.slice(0, KEYS_SHOWN).map(limitKeyOf).join(', ');
  const more = limit.paths.length > KEYS_SHOWN ? ` and ${limit.paths.length - KEYS_SHOWN} more` : '';
  const what = `1 run of ${limit.flow} for ${keys}${more}`;
  const [holder] = limit.holders;
  const [first] = limit.ahead;
  if (holder === undefined && first === undefined) return { policy: 'limit', saw: `${what}; none alive`, said: 'ok' };
  const who = (b: BlockedBy): string => (b.runId === undefined ? b.owner : `run ${b.runId}`);
  const saw = holder !== undefined ? `${what}; held by ${who(holder)}` : `${what}; ${who(first!)} waits before it`;
  if (limit.act === 'reject') return { policy: 'limit', saw, said: 'reject' };
  return { policy: 'limit', saw, said: limit.act === 'coalesce' && limit.into !== undefined ? 'coalesce' : 'queue' };
}

/** Several runs of one key share the claim and are counted; a version that allows one alone still excludes them. */
export const limitDemand = (
  id: string,
  { name, limit }: Pick<FlowDocument, 'name' | 'limit'>,
  { claim, runs }: FlowLimit,
): BudgetDemand => ({
  policy: 'limit',
  digest: '',
  key: `${name} for ${limitKeyOf(claim.path)}`,
  counter: claim.path,
  rooms: [{ max: runs }],
  units: [id],
  act: limit?.onConflict ?? 'queue',
  noun: 'runs',
});
