import { Injectable } from '@nestjs/common';
import { type Claim, type HaltView, OpsError, type StartRequest } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import { EventWaits } from '../deliver-events/event-waits.repository.js';
import { haltsOn } from '../halts/halt-scope.pure.js';
import { GroupsService } from '../lock/groups.service.js';
import { coverPaths, mergeClaims, rankOf } from '../lock/lock.pure.js';
import { LimitService } from '../policies/limit.service.js';
import type { Demand, PolicyEffect } from '../policies/demand.pure.js';
import { countersOf, PolicyGate } from '../policies/gate.service.js';
import { passes } from '../policies/policy-verdict.pure.js';
import { PolicyService } from '../policies/policy.service.js';
import { Signals } from '../signals.service.js';
import { AdmissionRepository, type GrantRow, publishRuns, runsBase } from './admission.repository.js';
import type { AdmissionRow, AdmissionState } from './admission-row.js';
import {
  validityOf,
  exclusivePaths,
  ownerOf,
  grantOf,
  atGate,
  unresolved,
  startableRow,
  repeated,
  weighedOf,
  flowOfRef,
  lockPlan,
  blankRow,
  newRow,
} from './admit.pure.js';
import { OfferingService, type Resolved } from './offering.service.js';
import { coalesceKey, planStart, type StartPlan, withDefaults } from './plan.pure.js';
import { type AdmissionFacts, decideVerdict, type VerdictResult } from './verdict.pure.js';

export interface StartInput {
  request: StartRequest;
  kind: 'run' | 'lock';
  dryRun?: boolean;
  /** Of `lock`: what it claims, and how long it may hold it. */
  claims?: Claim[];
  ttlMs?: number;
  heartbeatMs?: number;
}

export interface AdmitResult extends VerdictResult {
  id: string;
  flow: string;
  version?: string;
  targets: string[];
  fence?: string;
  /** The id was admitted before; nothing was done. */
  repeated?: boolean;
}

/** A start with its reference resolved, or why it could not be. */
export type Prepared = StartInput & {
  plan?: StartPlan;
  /** The plan's claims without those of policies and groups, which are read again at its turn. */
  ownClaims?: Claim[];
  offering?: Resolved;
  /** Nobody could tell to which groups its claims belong. */
  silent?: 'inventory';
  refused?: string;
  policy?: PolicyEffect;
  /** What policies and the flow's own limit ask besides claims. */
  demand?: Demand;
};

/** A verdict with what it stands on. */
type Judged = VerdictResult & { fence?: string; facts?: AdmissionFacts };

/** What was found under the locks of a batch, for one of its starts. */
interface Seen {
  halts: HaltView[];
  twins: Map<string, string>;
  ticket: string;
  /** The answer of a grant that was tried already, with the rank it was tried at. */
  grant?: GrantRow;
  rankAt?: Date;
}

/** What was found under the locks of a batch. */
interface Looked {
  known: Map<string, AdmissionRow>;
  halts: HaltView[];
  twins: Map<string, string>;
  tickets: string[];
  first?: { grant: GrantRow; rankAt: Date };
}

/** Admission: one transaction from request to verdict, with claims, place in the queue, row and message. */
@Injectable()
export class AdmitService {
  constructor(
    private readonly repository: AdmissionRepository,
    private readonly offerings: OfferingService,
    private readonly policies: PolicyService,
    private readonly limits: LimitService,
    private readonly groups: GroupsService,
    private readonly gate: PolicyGate,
    private readonly waits: EventWaits,
    private readonly signals: Signals,
    private readonly clock: Clock,
  ) {}

  /** Resolves a start outside any transaction. Without an answer of the catalog it stays unresolved and is queued. */
  async prepare(input: StartInput): Promise<Prepared> {
    if (input.kind === 'lock') return this.underPolicies(input, lockPlan(input));
    try {
      const [offering, config] = await Promise.all([
        this.offerings.resolve(input.request.ref),
        this.offerings.config(),
      ]);
      const request = withDefaults(input.request, offering.inputSchema);
      const planned = planStart(request, offering, config);
      // A dry run changes nothing: it needs no lock or room, must not keep real work from one, and nobody may share it.
      if (input.dryRun === true) {
        const { limits: _limits, ...plan } = { ...planned, claims: [], coalesceKey: undefined };
        return { ...input, request, plan, ownClaims: [], offering };
      }
      const prepared = await this.underPolicies({ ...input, request }, planned);
      return prepared.plan === undefined ? prepared : { ...prepared, offering };
    } catch (error) {
      if (!(error instanceof OpsError)) throw error;
      // The catalog is away: the work keeps its place and is resolved at its turn.
      if (error.code === 'unavailable' || error.code === 'overload' || error.code === 'internal') return input;
      return { ...input, refused: `${input.request.ref}: ${error.detail}` };
    }
  }

  private async underPolicies(input: StartInput, plan: StartPlan): Promise<Prepared> {
    const policy = await this.policies.apply(weighedOf(input.request, plan));
    const demand = this.gate.demandOf(policy?.demand, plan.limits ?? [], input.request.tier);
    const own = policy === undefined ? plan.claims : mergeClaims([...plan.claims, ...policy.claims]);
    const claims = await this.groups.expand(own);
    if (claims === undefined) {
      // It keeps its place and is resolved at its turn. A lock for work outside has only what it says now.
      if (input.kind === 'run') return { ...input, silent: 'inventory' };
      throw new OpsError(
        'unavailable',
        'The inventory does not answer, so nobody can tell which groups these paths belong to',
        {
          retryAfterSec: 2,
        },
      );
    }
    return {
      ...input,
      plan: { ...plan, claims, ...this.keyOf(input, plan, demand) },
      ownClaims: plan.claims,
      ...(policy === undefined ? {} : { policy }),
      ...(demand === undefined ? {} : { demand }),
    };
  }

  /** A policy may want identical work to join, whoever starts it. */
  private keyOf(input: StartInput, plan: StartPlan, demand: Demand | undefined): Pick<StartPlan, 'coalesceKey'> {
    if (plan.coalesceKey !== undefined || demand?.coalesce === undefined || input.kind === 'lock') return {};
    return { coalesceKey: coalesceKey(input.request, { name: plan.flow, version: plan.version }, plan.targets) };
  }

  /** Admits in order. All locks of all of them are taken first, in one sorted sweep, so that batches cannot deadlock. */
  async admit(tx: Tx, starts: readonly Prepared[]): Promise<AdmitResult[]> {
    const { known, halts, twins, tickets, first } = await this.look(tx, starts);
    const results: AdmitResult[] = [];
    for (const [i, start] of starts.entries()) {
      const old = known.get(start.request.id);
      if (old !== undefined) {
        results.push(repeated(old));
        continue;
      }
      const result = await this.admitOne(tx, start, {
        halts,
        twins,
        ticket: tickets[i]!,
        ...first,
      });
      // A second message with this id in the same batch is a repeat too.
      known.set(start.request.id, { ...blankRow(start.request), state: result.verdict } as AdmissionRow);
      results.push(result);
    }
    return results;
  }

  /** Takes the locks and reads what the verdicts depend on; the usual start, alone and in nobody's way, in one statement. */
  private async look(tx: Tx, starts: readonly Prepared[]): Promise<Looked> {
    const keys = [...new Set(starts.flatMap((s) => s.plan?.coalesceKey ?? []))];
    const counters = starts.flatMap((s) => countersOf(s.demand));
    const paths = coverPaths([...starts.flatMap((s) => s.plan?.claims.map((c) => c.path) ?? []), ...counters]);
    const [start] = starts;
    if (starts.length > 1 || start?.plan === undefined || start.demand !== undefined) {
      // One round trip: the server runs them in this order, each with a snapshot younger than the locks of the first.
      const [, tickets, rest] = await Promise.all([
        this.repository.take(tx, paths, keys),
        this.repository.tickets(tx, starts.length),
        this.others(tx, starts, keys),
      ]);
      return { ...rest, tickets };
    }
    const rankAt = rankOf(start.request.tier, this.clock.now());
    const wish = grantOf(start, start.plan, { rankAt });
    const { ticket, grant } = await this.repository.grantOne(tx, start.request.id, start.plan.coalesceKey, paths, wish);
    // Tried = it is new, no halt is in force and nobody does the same.
    return grant === undefined
      ? { ...(await this.others(tx, starts, keys)), tickets: [ticket] }
      : { known: new Map(), halts: [], twins: new Map(), tickets: [ticket], first: { grant, rankAt } };
  }

  private async others(
    tx: Tx,
    starts: readonly Prepared[],
    keys: readonly string[],
  ): Promise<Pick<Looked, 'known' | 'halts' | 'twins'>> {
    const ids = starts.map((s) => s.request.id);
    const [known, halts, twins] = await Promise.all([
      this.repository.existing(tx, ids),
      this.repository.liveHalts(tx),
      this.repository.twins(tx, keys),
    ]);
    return { known, halts, twins };
  }

  private async admitOne(tx: Tx, start: Prepared, seen: Seen): Promise<AdmitResult> {
    const { request, plan } = start;
    const now = this.clock.now();
    const rankAt = seen.rankAt ?? rankOf(request.tier, now);
    const validForMs = validityOf(request, start.policy);
    const judged: Judged =
      plan === undefined && start.refused === undefined
        ? unresolved(validForMs, start.silent)
        : await this.judge(tx, start, { ...seen, rankAt, validForMs });
    const { facts, ...result } = judged;
    const state: AdmissionState = result.verdict;
    const decided = {
      ...result,
      id: request.id,
      flow: plan?.flow ?? flowOfRef(request.ref),
      targets: plan?.targets ?? request.targets,
      ...(plan === undefined ? {} : { version: plan.version }),
    };
    if (start.offering !== undefined)
      this.repository.keepAdmittedIr(tx, start.offering.irDigest, start.offering.compiled);
    this.repository.insert(tx, newRow(start, decided, { ...seen, rankAt, validForMs, now }));
    if (start.offering !== undefined && start.kind === 'run' && state !== 'rejected' && state !== 'coalesced')
      this.waits.register(tx, { id: request.id, flow: decided.flow }, start.offering.compiled);
    if (state === 'queued' && plan !== undefined) {
      await this.repository.insertWaiters(tx, {
        ticket: seen.ticket,
        rankAt,
        owner: ownerOf(decided.flow, request.initiator),
        runId: request.id,
        claims: plan.claims,
      });
    }
    if (start.demand !== undefined && facts !== undefined && plan !== undefined)
      this.gate.settle(tx, start.demand, facts, atGate(start, plan, { ticket: seen.ticket, rankAt }), state);
    if (plan?.coalesceKey !== undefined && result.into === undefined && state !== 'rejected')
      seen.twins.set(plan.coalesceKey, request.id);
    this.tell(tx, start, decided, now);
    if (state === 'admitted' && start.kind === 'run' && start.offering !== undefined) {
      const row = startableRow(tx.tenant, start, decided);
      const { compiled } = start.offering;
      tx.afterCommit(() => this.signals.emit('admitted', row.id, { row, compiled, at: performance.now() }));
    }
    return decided;
  }

  private async judge(tx: Tx, start: Prepared, seen: Seen & { rankAt: Date; validForMs: number }): Promise<Judged> {
    const { request, plan } = start;
    if (plan === undefined)
      return decideVerdict({
        refused: { policy: 'catalog', reason: start.refused! },
        coalesce: false,
        halts: [],
        claims: 0,
        holders: [],
        ahead: [],
        validForMs: seen.validForMs,
      });
    const twin = plan.coalesceKey === undefined ? undefined : seen.twins.get(plan.coalesceKey);
    const halts = haltsOn(seen.halts, {
      rule: request.cause?.rule,
      flow: plan.flow,
      atoms: plan.atoms,
      targets: plan.targets,
      tier: request.tier,
    });
    const place = atGate(start, plan, seen);
    const policies =
      start.demand === undefined || twin !== undefined ? undefined : await this.gate.look(tx, start.demand, place);
    const wants = twin === undefined && halts.length === 0 && plan.claims.length > 0 && passes(policies);
    const grant = wants
      ? (seen.grant ??
        (await this.repository.grant(tx, { ...grantOf(start, plan, seen), runId: request.id, ticket: seen.ticket })))
      : undefined;
    const found = grant ?? (passes(policies) ? undefined : await this.repository.inTheWay(tx, plan.claims, place));
    const facts: AdmissionFacts = {
      twin,
      coalesce: request.coalesce || plan.coalesceKey !== undefined,
      halts,
      claims: plan.claims.length,
      fence: grant?.fence ?? undefined,
      holders: found?.holders ?? [],
      ahead: found?.ahead ?? [],
      validForMs: seen.validForMs,
      onConflict: start.policy?.onConflict,
      limit: await this.limits.look(tx, { ...plan, act: plan.onLimit, grant, ...place }),
      policies,
      preempt:
        grant?.fence === null ? await this.gate.preempt(tx, start.demand, request.tier, grant.holders) : undefined,
    };
    return { ...decideVerdict(facts), facts, ...(grant?.fence == null ? {} : { fence: grant.fence }) };
  }

  private tell(tx: Tx, start: Prepared, result: AdmitResult & { fence?: string }, now: Date): void {
    const { id, verdict, consulted, position, blockedBy, into, reason, fence } = result;
    if (start.kind === 'run') {
      const row = {
        id,
        decision_id: start.request.cause === undefined ? null : id,
        flow: result.flow,
        version: result.version ?? null,
        targets: result.targets,
        tier: start.request.tier,
        request: start.request,
      };
      publishRuns(
        tx,
        {
          ...runsBase(row, now),
          kind: 'verdict',
          verdict,
          consulted,
          ...(position === undefined ? {} : { position }),
          ...(blockedBy === undefined ? {} : { blockedBy }),
          ...(into === undefined ? {} : { into }),
          ...(reason === undefined ? {} : { reason }),
          ...(fence === undefined ? {} : { fence }),
          ...(verdict === 'admitted' ? { exclusive: exclusivePaths(start.plan?.claims ?? []) } : {}),
        },
        '0',
      );
    }
    if (verdict === 'queued' && start.plan === undefined) tx.afterCommit(() => this.signals.emit('released'));
  }
}
