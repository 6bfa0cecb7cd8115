import type { MigrationInterface, QueryRunner } from 'typeorm';
import { overlapSql } from '../lock/overlap.sql.js';

/** Those that ask what is in the way, or are planned with it. */
const FUNCTIONS = ['try_grant', 'acquire', 'ready', 'admit_one'];
const SETTINGS = ['enable_seqscan', 'enable_mergejoin', 'jit'];

/** A start read every claim there was, with some work for each: 3 ms with 300 locks held elsewhere, and growing with them. */
export class ReadClaimsByKey1700000003345 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(overlapSql);
    for (const name of FUNCTIONS)
      for (const setting of SETTINGS) await runner.query(`ALTER FUNCTION control.${name} SET ${setting} = off`);
  }

  /** The functions keep their meaning and their parameters, so the ones of now serve the code of before. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP INDEX control.claim_holder, control.claim_fence, control.waiter_ticket;
      CREATE INDEX claim_holder ON control.claim (tenant, holder);
      CREATE INDEX claim_fence ON control.claim (tenant, fence);
      CREATE INDEX waiter_ticket ON control.waiter (tenant, ticket)`);
    for (const name of FUNCTIONS)
      for (const setting of SETTINGS) await runner.query(`ALTER FUNCTION control.${name} RESET ${setting}`);
  }
}
