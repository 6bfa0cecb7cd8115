import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { NoticeService } from '@opsloop/bus';
import { OpsError } from '@opsloop/contracts';
import { Logger, type Principal } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';
import { CONTROL_CONFIG, type ControlConfig } from '../config.js';
import { Signals } from '../signals.service.js';
import { countsOf, demotionOf, type Level, type RunResult } from './autonomy.pure.js';
import { LevelsService } from './levels.service.js';

const TENANT = 'default';
const EVERY_MS = 1_000;
/** A look each second and a few missed ones; the first look goes back over a restart. */
const NEWS_S = 30;
const RESTART_S = 86_400;
/** Runs of one rule and flow that a person sees counted. */
const SHOWN_RUNS = 20;
/** Rows that are read for them: a run has one per resource. */
const ROWS_MAX = 1_000;

export interface StatisticsView {
  rule: string;
  flow: string;
  level: Level;
  /** Of the last runs since it has its level, at most 20. */
  fixed: number;
  notFixed: number;
  overridden: number;
  lastAt?: string;
  why?: string;
  changedBy?: string;
  since?: string;
}

interface Row {
  rule: string;
  flow: string;
  level: Level | null;
  since: Date | null;
  why: string | null;
  changed_by: string | null;
  results: RunResult[];
  last_at: Date | null;
}

/** Per rule and flow: what its runs brought. Too little, and a person is asked; still too little, and it starts nothing. */
@Injectable()
export class AutonomyService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;
  private off: (() => void) | undefined;
  private looked = false;

  constructor(
    private readonly db: Database,
    private readonly levels: LevelsService,
    private readonly notices: NoticeService,
    private readonly signals: Signals,
    private readonly logger: Logger,
    @Inject(CONTROL_CONFIG) private readonly config: ControlConfig,
  ) {}

  onApplicationBootstrap(): void {
    // One switch for all that a rule loses by its own results.
    if (this.config.brake === undefined) return;
    this.loop = startDueLoop({
      name: 'control.autonomy',
      everyMs: EVERY_MS,
      logger: this.logger,
      run: () => this.look().then(() => 0),
    });
    this.off = this.signals.on('verified', () => this.loop?.poke());
  }

  async onApplicationShutdown(): Promise<void> {
    this.off?.();
    await this.loop?.stop();
  }

  async list(
    tenant: string,
    filter: { rule?: string | undefined; flow?: string | undefined },
  ): Promise<StatisticsView[]> {
    const rows = await this.rows(
      { tenant, query: this.db.query.bind(this.db) },
      `SELECT DISTINCT rule, flow FROM (SELECT rule, flow FROM control.verified WHERE tenant = $1 UNION SELECT rule, flow FROM control.autonomy WHERE tenant = $1) k
        WHERE ($2::text IS NULL OR rule = $2) AND ($3::text IS NULL OR flow = $3) ORDER BY rule, flow LIMIT 500`,
      [filter.rule ?? null, filter.flow ?? null],
    );
    return rows.map(viewOf);
  }

  /** Acts by itself again, and is counted anew. */
  async reset(
    principal: Principal,
    rule: string,
    flow: string | undefined,
    reason: string,
  ): Promise<{ reset: number }> {
    const reset = await this.db.inTransaction(principal.tenant, async (tx) => {
      const rows = await tx.query(
        `INSERT INTO control.autonomy (tenant, rule, flow, level, why, changed_by)
          SELECT DISTINCT tenant, rule, flow, 'auto', $4, $5 FROM (SELECT tenant, rule, flow FROM control.verified WHERE tenant = $1 AND rule = $2
            UNION SELECT tenant, rule, flow FROM control.autonomy WHERE tenant = $1 AND rule = $2) k WHERE $3::text IS NULL OR flow = $3
          ON CONFLICT (tenant, rule, flow) DO UPDATE SET level = 'auto', since = clock_timestamp(), why = excluded.why, changed_by = excluded.changed_by RETURNING flow`,
        [tx.tenant, rule, flow ?? null, reason, principal.name],
      );
      if (rows.length === 0)
        throw new OpsError(
          'not-found',
          `Nothing is known of runs of the rule ${rule}${flow === undefined ? '' : ` with ${flow}`}`,
        );
      await tx.query('INSERT INTO control.act (tenant, act, ref, made_by, reason) VALUES ($1, $2, $3, $4, $5)', [
        tx.tenant,
        'autonomy.reset',
        flow === undefined ? rule : `${rule} ${flow}`,
        principal.name,
        reason,
      ]);
      return rows.length;
    });
    this.levels.forget();
    return { reset };
  }

  private async look(): Promise<void> {
    const rows = await this.rows(
      { tenant: TENANT, query: this.db.query.bind(this.db) },
      'SELECT DISTINCT rule, flow FROM control.verified WHERE tenant = $1 AND at > clock_timestamp() - make_interval(secs => $2) AND $3::text IS NULL',
      [this.looked ? NEWS_S : RESTART_S, null],
    );
    this.looked = true;
    for (const row of rows) await this.judge(row);
  }

  private async judge(row: Row): Promise<void> {
    const level = row.level ?? 'auto';
    const demotion = demotionOf(level, row.results);
    if (demotion === undefined) return;
    const { to, why, figures } = demotion;
    const { rule, flow } = row;
    const done = await this.db.inTransaction(TENANT, async (tx) => {
      // Of two processes that see the same one writes: the other finds another level.
      const changed = await tx.query(
        `INSERT INTO control.autonomy AS a (tenant, rule, flow, level, why, changed_by) VALUES ($1, $2, $3, $4, $5, 'itself')
          ON CONFLICT (tenant, rule, flow) DO UPDATE SET level = excluded.level, since = clock_timestamp(), why = excluded.why, changed_by = excluded.changed_by
            WHERE a.level = $6 RETURNING since`,
        [tx.tenant, rule, flow, to, why, level],
      );
      if (changed.length === 0) return false;
      await this.notices.tell(tx, {
        type: 'opsloop.rule.demoted',
        subject: `rule/${rule}`,
        key: `${rule} ${flow} ${to} ${String((changed[0] as { since: Date }).since.getTime())}`,
        data: { rule, flow, from: level, to, why, figures, next: `opsloop autonomy reset ${rule} --reason "…"` },
      });
      return true;
    });
    if (!done) return;
    this.levels.forget();
    this.logger.warn('a rule acts less by itself from now on', { rule, flow, from: level, to, why });
  }

  /** What is known of the pairs that `pairs` names. */
  private rows(on: Pick<Tx, 'query' | 'tenant'>, pairs: string, values: unknown[]): Promise<Row[]> {
    return on.query<Row>(
      `SELECT p.rule, p.flow, a.level, a.since, a.why, a.changed_by, coalesce(r.results, '{}') AS results, r.last_at FROM (${pairs}) p
        LEFT JOIN control.autonomy a ON a.tenant = $1 AND a.rule = p.rule AND a.flow = p.flow
        LEFT JOIN LATERAL (SELECT array_agg(result ORDER BY at DESC) AS results, max(at) AS last_at FROM
          (SELECT max(v.at) AS at, CASE WHEN bool_or(v.result = 'overridden') THEN 'overridden' WHEN bool_and(v.result = 'fixed') THEN 'fixed' ELSE 'not-fixed' END AS result
            FROM (SELECT * FROM control.verified WHERE tenant = $1 AND rule = p.rule AND flow = p.flow AND at > coalesce(a.since, '-infinity') ORDER BY at DESC LIMIT ${ROWS_MAX}) v
            GROUP BY v.run_id ORDER BY max(v.at) DESC LIMIT ${SHOWN_RUNS}) runs) r ON true ORDER BY p.rule, p.flow`,
      [on.tenant, ...values],
    );
  }
}

function viewOf(row: Row): StatisticsView {
  const counts = countsOf(row.results);
  return {
    rule: row.rule,
    flow: row.flow,
    level: row.level ?? 'auto',
    fixed: counts.fixed,
    notFixed: counts['not-fixed'],
    overridden: counts.overridden,
    ...(row.last_at === null ? {} : { lastAt: row.last_at.toISOString() }),
    ...(row.why === null ? {} : { why: row.why }),
    ...(row.changed_by === null ? {} : { changedBy: row.changed_by }),
    ...(row.since === null ? {} : { since: row.since.toISOString() }),
  };
}
