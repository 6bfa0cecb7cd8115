import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Of each event but what stands in the message: digests are sha256, so the n-th begins at byte 32 n. */
const PARAMETERS = `p_tenant text, p_deliveries uuid[], p_types text[], p_bodies bytea, p_starts int[], p_lengths int[], p_ids uuid[], p_sources text[],
    p_source_ids text[], p_event_types text[], p_subjects text[], p_received timestamptz[], p_digests bytea, p_bytes int[], p_unmapped text[], p_brought uuid[],
    p_messages jsonb`;
const UNPACKED = `p_tenant, p_deliveries, p_types,
      ARRAY(SELECT substring(p_bodies FROM b.start + 1 FOR b.length) FROM unnest(p_starts, p_lengths) AS b(start, length)),
      p_ids, p_sources, p_source_ids, p_event_types, p_subjects, p_received,
      ARRAY(SELECT substring(p_digests FROM 32 * n + 1 FOR 32) FROM generate_series(0, cardinality(p_ids) - 1) n),
      p_bytes, p_unmapped, p_brought, messages`;

/**
 * The same as before, for bodies and digests that travel as one run of bytes each, and messages as one JSON list: as
 * arrays each of them is escaped by the client and read back here.
 */
export class AcceptPacked1700000003100 implements MigrationInterface {
  readonly name = 'AcceptPacked1700000003100';

  async up(runner: QueryRunner): Promise<void> {
    for (const [name, more, call] of [
      ['store_packed', '', `PERFORM ingest.store_new(${UNPACKED})`],
      ['accept_packed', ', p_keys text[]', `PERFORM ingest.accept_new(${UNPACKED}, p_keys)`],
    ] as const)
      await runner.query(`
        CREATE FUNCTION ingest.${name}(${PARAMETERS}${more}) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
        DECLARE messages jsonb[];
        BEGIN
          messages := ARRAY(SELECT jsonb_array_elements(p_messages));
          ${call};
        END $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION ingest.accept_packed, ingest.store_packed');
  }
}
