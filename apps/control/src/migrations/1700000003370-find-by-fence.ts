import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockFreeSql, lockTurnSql } from '../lock/lock-turn.sql.js';
import { readySql } from '../lock/lock.sql.js';

/** As for the function it replaces, whose settings go with it. */
const SETTINGS = ['enable_seqscan', 'enable_mergejoin', 'jit'];

/** Locks are found by their fence and holder, waiters by their ticket, and never by reading all that the tenant has; the functions as they are now. */
export class FindByFence1700000003370 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.lock_turn');
    await runner.query('DROP FUNCTION control.lock_free');
    await runner.query(lockFreeSql);
    await runner.query(lockTurnSql);
    await runner.query(readySql);
    await runner.query('ALTER FUNCTION control.ready SET plan_cache_mode = force_generic_plan');
    for (const setting of SETTINGS) await runner.query(`ALTER FUNCTION control.ready SET ${setting} = off`);
  }

  /** They keep their meaning and their parameters, so the ones of now serve the code of before. */
  down(): Promise<void> {
    return Promise.resolve();
  }
}
