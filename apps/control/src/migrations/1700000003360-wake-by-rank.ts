import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockTurnSql } from '../lock/lock-turn.sql.js';

/**
 * Who waits is told its rank, by which its process knows whom to wake; the function as it is now, where an earlier one
 * stands. And what passed a halt is deleted by age.
 */
export class WakeByRank1700000003360 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.lock_turn');
    await runner.query(lockTurnSql);
    await runner.query('CREATE INDEX halt_allow_age ON control.halt_allow (at)');
  }

  /** The code of before reads the columns that it knows. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX control.halt_allow_age');
  }
}
