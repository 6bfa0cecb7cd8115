import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { RuleReach } from '@opsloop/contracts';
import { InternalClient, Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop } from '@opsloop/postgres';
import { OfferingService } from '../admit/offering.service.js';
import { CONTROL_CONFIG, type ControlConfig } from '../config.js';
import { HaltService } from '../halts/halt.service.js';
import { Signals } from '../signals.service.js';
import {
  type BrakeConfig,
  type ChangedCount,
  inVain,
  type Pull,
  type StartCount,
  subjectText,
  tooManyStarts,
  tooMuchChanged,
  type VerifiedCount,
} from './brake.pure.js';

const TENANT = 'default';
/** A rule that runs wild is stopped within a second of the start that was one too many. */
const STARTS_EVERY_MS = 1_000;
/** Ten minutes of runs with all their targets are read: not each second. */
const CHANGED_EVERY_MS = 5_000;
/** Rules and the number of resources change slowly. */
const FACTS_MS = 10_000;
const ASK_MS = 1_000;
/** Rows per rule and flow that are looked back at: five runs with 200 targets each. */
const ROWS_MAX = 1_000;
/** A look each second and a few missed ones. */
const NEWS_S = 30;
const RESTART_S = 86_400;
/** Targets of ten minutes; above it the counts are low, and the starts say enough. */
const CHANGED_MAX = 50_000;

/** When the brake of the rule or the flow of `a` was lifted last: what was before does not count again. */
const LIFTED = `(SELECT max(h.lifted_at) FROM control.halt h WHERE h.tenant = $1 AND h.brake IS NOT NULL
    AND h.brake->>'subject' IN ('rule ' || a.rule, 'flow ' || a.flow))`;

/**
 * The automatic brake: a rule or a flow that does harm halts itself, and its owner is told. What was before the last
 * lift of its brake does not count again.
 */
@Injectable()
export class BrakeService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loops: DueLoop[] = [];
  private off: (() => void) | undefined;
  private looked = false;
  private facts: { at: number; rules: Map<string, RuleReach>; kinds: Record<string, number> } | undefined;

  constructor(
    private readonly db: Database,
    private readonly halts: HaltService,
    private readonly offerings: OfferingService,
    private readonly internal: InternalClient,
    private readonly signals: Signals,
    private readonly logger: Logger,
    @Inject(CONTROL_CONFIG) private readonly config: ControlConfig,
  ) {}

  onApplicationBootstrap(): void {
    const { brake } = this.config;
    if (brake === undefined) return;
    const every = (name: string, everyMs: number, run: () => Promise<void>): DueLoop =>
      startDueLoop({ name, everyMs, logger: this.logger, run: () => run().then(() => 0) });
    const verified = every('control.brake-verified', STARTS_EVERY_MS, () => this.lookAtVerified(brake));
    this.loops = [
      every('control.brake-starts', STARTS_EVERY_MS, () => this.lookAtStarts(brake)),
      every('control.brake-changed', CHANGED_EVERY_MS, () => this.lookAtChanged(brake)),
      verified,
    ];
    this.off = this.signals.on('verified', () => verified.poke());
  }

  async onApplicationShutdown(): Promise<void> {
    this.off?.();
    await Promise.all(this.loops.map((loop) => loop.stop()));
  }

  async lookAtStarts(config: BrakeConfig): Promise<void> {
    const looked = performance.now();
    // Retries are acts of persons, one by one or with a count that they saw; a dry run changes nothing.
    const counts = await this.db.query<StartCount>({
      name: 'control.brake-starts',
      text: `SELECT a.rule, a.flow, count(*)::int AS count FROM control.admission a WHERE a.tenant = $1 AND a.kind = 'run' AND a.created_at > $2::timestamptz
        AND (a.started_at IS NOT NULL OR a.state = 'admitted') AND a.effect <> 'read' AND NOT a.dry_run AND a.retry_of IS NULL
        AND a.created_at > coalesce(${LIFTED}, '-infinity') GROUP BY a.rule, a.flow`,
      values: [TENANT, new Date(Date.now() - 60_000)],
    });
    if (counts.reduce((sum, one) => sum + one.count, 0) <= config.startsPerMinute) return;
    const { rules } = await this.known();
    await this.pull(tooManyStarts(counts, rules, config), looked);
  }

  async lookAtChanged(config: BrakeConfig): Promise<void> {
    const looked = performance.now();
    const changed = await this.db.query<ChangedCount>({
      name: 'control.brake-changed',
      text: `SELECT DISTINCT a.rule, a.flow, split_part(t, '/', 1) AS kind, t AS path FROM control.admission a, unnest(a.targets) t
        WHERE a.tenant = $1 AND a.kind = 'run' AND a.created_at > $2::timestamptz - interval '1 hour' AND a.started_at > $2::timestamptz
          AND a.effect <> 'read' AND NOT a.dry_run AND a.started_at > coalesce(${LIFTED}, '-infinity') LIMIT $3`,
      values: [TENANT, new Date(Date.now() - config.changedWithinMs), CHANGED_MAX],
    });
    // A tenth of the smallest kind that counts.
    if (changed.length * 100 <= config.kindLeast * config.changedPercent) return;
    const { kinds } = await this.known();
    await this.pull(tooMuchChanged(changed, kinds, config), looked);
  }

  /** Only what was verified a moment ago can have become too much; the first look goes back over a restart. */
  async lookAtVerified(config: BrakeConfig, backS = this.looked ? NEWS_S : RESTART_S): Promise<void> {
    const looked = performance.now();
    const runs = await this.db.query<VerifiedCount>({
      name: 'control.brake-verified',
      text: `WITH news AS (SELECT DISTINCT rule, flow FROM control.verified WHERE tenant = $1 AND at > clock_timestamp() - make_interval(secs => $2)),
          near AS (SELECT r.* FROM (SELECT DISTINCT rule FROM news) n, LATERAL
              (SELECT * FROM control.verified WHERE tenant = $1 AND rule = n.rule ORDER BY at DESC LIMIT ${ROWS_MAX}) r
            UNION SELECT f.* FROM (SELECT DISTINCT flow FROM news) n, LATERAL
              (SELECT * FROM control.verified WHERE tenant = $1 AND flow = n.flow ORDER BY at DESC LIMIT ${ROWS_MAX}) f)
        SELECT rule, flow, fixed FROM (SELECT a.rule, a.flow, a.run_id, bool_and(a.result = 'fixed') AS fixed, max(a.at) AS at FROM near a
          WHERE a.result <> 'overridden' AND a.at > coalesce(${LIFTED}, '-infinity') GROUP BY a.rule, a.flow, a.run_id) v ORDER BY at DESC`,
      values: [TENANT, backS],
    });
    this.looked = true;
    await this.pull(inVain(runs, config), looked);
  }

  /** `looked`: when the look began whose facts these are. */
  private async pull(pulls: readonly Pull[], looked: number): Promise<void> {
    for (const one of pulls) {
      const { subject, cause, reason, figures } = one;
      if (await this.halts.isBraked(TENANT, subjectText(subject))) continue;
      const owner = await this.ownerOf(one);
      const order = {
        scope: subject.kind === 'rule' ? { rules: [subject.name] } : { flows: [subject.name] },
        reason,
        brake: { subject: subjectText(subject), cause, ...(owner === undefined ? {} : { owner }) },
        figures,
      };
      const id = await this.halts.brake(TENANT, order, performance.now() - looked);
      if (id !== undefined) this.logger.warn('the automatic brake was pulled', { halt: id, reason, owner });
    }
  }

  private async ownerOf({ subject }: Pull): Promise<string | undefined> {
    if (subject.kind === 'rule') return (await this.known()).rules.get(subject.name)?.owner;
    return this.offerings.resolve(subject.name).then(
      ({ document }) => document.owner,
      () => undefined,
    );
  }

  /** As decision last said; without an answer the brake does without, and asks again. */
  private async known(): Promise<{ rules: Map<string, RuleReach>; kinds: Record<string, number> }> {
    if (this.facts !== undefined && performance.now() - this.facts.at < FACTS_MS) return this.facts;
    const ask = { timeoutMs: ASK_MS };
    const [rules, kinds] = await Promise.all([
      this.internal.call('POST /internal/decision/rules', {}, {}, ask).catch(() => undefined),
      this.internal.call('POST /internal/decision/kinds', {}, {}, ask).catch(() => undefined),
    ]);
    const facts = {
      at: performance.now(),
      rules: rules === undefined ? (this.facts?.rules ?? new Map()) : new Map(rules.rules.map((r) => [r.name, r])),
      kinds: kinds?.kinds ?? this.facts?.kinds ?? {},
    };
    if (rules !== undefined && kinds !== undefined) this.facts = facts;
    return facts;
  }
}
