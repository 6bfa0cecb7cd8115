import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockFreeSql, lockTurnSql } from '../lock/lock-turn.sql.js';
import { readySql } from '../lock/lock.sql.js';

/** Locks are found by their fence and holder, waiters by their ticket, and never by reading all that the tenant has; the functions as they are now. */
export class FindByFence1700000003370 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.lock_turn');
    await runner.query('DROP FUNCTION control.lock_free');
    await runner.query(lockFreeSql);
    await runner.query(lockTurnSql);
    await runner.query(readySql);
  }

  /** They keep their meaning and their parameters, so the ones of now serve the code of before. */
  down(): Promise<void> {
    return Promise.resolve();
  }
}
