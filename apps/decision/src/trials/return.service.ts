import { Injectable } from '@nestjs/common';
import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import { NoticeService } from '@opsloop/bus';
import type { JsonObject, RolloutState, TrialFigures } from '@opsloop/contracts';
import { Clock, Logger } from '@opsloop/platform';
import type { DueLoop } from '@opsloop/postgres';
import { Database, DocumentStore, startDueLoop } from '@opsloop/postgres';
import { StopService } from '../episodes/stop.service.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { Pair } from '../store/model.js';
import { breachOf, figuresOf } from './rollout.pure.js';

const TENANT = 'default';
/** A bad version is taken back within a second of the result that was one too many. */
const EVERY_MS = 1_000;
/** Results of one trial that are read: a run has one per resource. */
const ROWS_MAX = 2_000;

/** Takes a tried version back when too many of its runs were in vain: the last good version acts on everything again. */
@Injectable()
export class ReturnService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
    private readonly rules: RuleCache,
    private readonly stop: StopService,
    private readonly notices: NoticeService,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'decision trials',
      everyMs: EVERY_MS,
      logger: this.logger,
      run: () => this.look().then(() => 0),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  async look(): Promise<void> {
    const { rules } = await this.rules.live();
    // Without a trial this costs nothing; nor does one that only watches, since it starts nothing.
    for (const { pair } of rules) if (pair !== undefined && pair.percent > 0) await this.judge(pair);
  }

  /** What the last runs of a version that is tried brought. */
  async figures(rule: string, { version, since, of }: RolloutState): Promise<TrialFigures> {
    const rows = await this.db.query<{ fixed: boolean }>({
      name: 'decision.trial-figures',
      text: `SELECT bool_and(fixed) AS fixed FROM
          (SELECT run_id, fixed, at FROM decision.trial_result WHERE tenant = $1 AND rule = $2 AND version = $3 AND at >= $4 ORDER BY at DESC LIMIT ${ROWS_MAX}) r
        GROUP BY run_id ORDER BY max(at) DESC`,
      values: [TENANT, rule, version, since ?? new Date(0).toISOString()],
    });
    return figuresOf(
      rows.map(({ fixed }) => fixed),
      of,
    );
  }

  private async judge({ tried: { name, version } }: Pair): Promise<void> {
    const known = await this.documents.get(this.db, 'rule', name);
    const state = known?.meta['rollout'] as unknown as RolloutState | undefined;
    if (state?.version !== version) return;
    const figures = await this.figures(name, state);
    const why = breachOf(figures, state);
    if (why === undefined) return;
    const back = await this.takeBack(name, version, why, figures);
    if (back !== undefined)
      this.logger.warn('a version that was tried was taken back', { rule: name, version, to: back, why });
  }

  /** Answers the version that acts again; undefined when somebody else was first. */
  private takeBack(name: string, version: string, why: string, figures: TrialFigures): Promise<string | undefined> {
    return this.db.inTransaction(TENANT, async (tx) => {
      // Of two processes that see the same the second one waits here and finds nothing more to do.
      await tx.query(`SELECT pg_advisory_xact_lock(hashtext('decision.trial'), hashtext($1))`, [name]);
      const stored = await this.documents.get(tx, 'rule', name);
      const state = stored?.meta['rollout'] as unknown as RolloutState | undefined;
      if (stored === undefined || state?.version !== version) return undefined;
      const { rollout: _rollout, ...rest } = stored.meta;
      const at = this.clock.now().toISOString();
      const reason = `version ${version} was taken back: ${why}`;
      const returned = { version, at, why, figures: { ...figures }, percent: state.percent };
      await this.documents.setMeta(tx, 'rule', name, { ...rest, returned, reason, by: 'itself', at });
      await this.rules.publish(tx);
      await this.stop.stopRule(tx, name, reason, version);
      const owner = (stored.body as { owner?: string }).owner;
      await this.notices.tell(tx, {
        type: 'opsloop.rule.returned',
        subject: `rule/${name}`,
        key: `${name} ${version} ${state.since ?? ''}`,
        data: {
          ...{ rule: name, from: version, to: stored.version!, percent: state.percent, why, figures: { ...figures } },
          ...(owner === undefined ? {} : { owner }),
          next: `opsloop rules agreement ${name}@${version}`,
        } satisfies JsonObject,
      });
      return stored.version;
    });
  }
}
