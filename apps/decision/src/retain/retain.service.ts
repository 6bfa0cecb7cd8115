import { Inject, Injectable } from '@nestjs/common';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { DecisionConfig } from '../config.js';
import { DECISION_CONFIG } from '../config.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import { longestBudgetMs, sweepsOf } from './retain.pure.js';

/** Rows per statement: some 20 ms of locks, so that deciding never waits for a sweep. */
const ROWS = 5_000;

/** Deletes what is too old to be asked about, a bounded number of rows at a time. */
@Injectable()
export class RetainService {
  constructor(
    private readonly db: Database,
    private readonly rules: RuleCache,
    private readonly clock: Clock,
    @Inject(DECISION_CONFIG) private readonly config: DecisionConfig,
  ) {}

  /** One statement per table. Returns the largest number of rows that one of them deleted: a full batch means more. */
  async sweep(rows: number = ROWS): Promise<number> {
    const { rules } = await this.rules.live();
    const sweeps = sweepsOf(
      this.clock.now().getTime(),
      this.config.retentionMs,
      longestBudgetMs(rules.map((rule) => rule.doc)),
    );
    let most = 0;
    for (const { table, where, before } of sweeps) {
      const gone = await this.db.query(
        `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ${table} t WHERE ${where} LIMIT $2)) RETURNING 1`,
        [before, rows],
      );
      most = Math.max(most, gone.length);
    }
    return most;
  }
}
