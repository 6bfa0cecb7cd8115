import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockTurnSql } from '../lock/lock-turn.sql.js';

/** The function as it is now, where an earlier one stands. */
export class PassLateWaiters1700000003110 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.lock_turn');
    await runner.query(lockTurnSql);
  }

  /** The one before differed only in how long a late waiter was waited for; it is not brought back. */
  down(): Promise<void> {
    return Promise.resolve();
  }
}
