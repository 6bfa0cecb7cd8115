import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockTurnSql } from '../lock/lock-turn.sql.js';

/** Requests that meet nobody are granted in one statement; the function as it is now, where an earlier one stands. */
export class GrantTogether1700000003120 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.lock_turn');
    await runner.query(lockTurnSql);
  }

  /** The one before had other parameters and the same meaning; the code of now could not call it. */
  down(): Promise<void> {
    return Promise.resolve();
  }
}
