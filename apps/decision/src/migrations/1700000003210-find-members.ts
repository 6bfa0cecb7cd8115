import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Who locks a path asks of which groups anything there is a member; most of an inventory is a member of none. */
export class FindMembers1700000003210 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `CREATE INDEX resource_grouped ON decision.resource (tenant, kind, path) WHERE member_of <> '{}'`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX decision.resource_grouped');
  }
}
