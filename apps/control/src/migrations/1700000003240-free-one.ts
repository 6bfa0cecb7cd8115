import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockFreeSql, lockTurnSql } from '../lock/lock-turn.sql.js';

/** One lock that is given back alone needs no turn; the functions as they are now, where an earlier one stands. */
export class FreeOne1700000003240 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.lock_turn');
    await runner.query(lockFreeSql);
    await runner.query(lockTurnSql);
  }

  /** The turn of now needs it, and the code of before has another turn. */
  down(): Promise<void> {
    return Promise.resolve();
  }
}
