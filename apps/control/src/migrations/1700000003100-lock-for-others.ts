import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockTurnSql } from '../lock/lock-turn.sql.js';

const UP = `
-- Locks for work outside: whoever waits for one says how often it will ask, and is passed when it no longer does.
ALTER TABLE control.admission ADD COLUMN heartbeat interval, ADD COLUMN alive_until timestamptz;
`;

export class LockForOthers1700000003100 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
    await runner.query(lockTurnSql);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.lock_turn');
    await runner.query('ALTER TABLE control.admission DROP COLUMN heartbeat, DROP COLUMN alive_until');
  }
}
