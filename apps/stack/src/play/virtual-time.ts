/**
 * The time of a played world. This process exists for the play alone, so its `Date` and the `clock_timestamp()` of its
 * database are the world's; timers stay real, since they only say how often somebody looks.
 */
import { runSql } from '@opsloop/embedded';

const RealDate = Date;

export class VirtualTime {
  constructor(public now: number) {
    const time = (): number => this.now;
    globalThis.Date = class extends RealDate {
      constructor(...given: unknown[]) {
        if (given.length === 0) super(time());
        else super(...(given as [number]));
      }
      static override now(): number {
        return time();
      }
    } as DateConstructor;
  }
}

/** An empty database whose clock can be set. */
export async function makeDatabase(admin: string, name: string, now: number): Promise<string> {
  await runSql(admin, [`CREATE DATABASE ${name}`]);
  const url = new URL(admin);
  url.pathname = `/${name}`;
  await runSql(url.href, [
    'CREATE SCHEMA virtual',
    'CREATE TABLE virtual.clock (at timestamptz NOT NULL, set_at timestamptz NOT NULL)',
    `INSERT INTO virtual.clock VALUES (to_timestamp(${now / 1_000}), pg_catalog.clock_timestamp())`,
    // A thousandth of real time: what happens within one moment keeps its order, and the moment stays one.
    `CREATE FUNCTION virtual.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
       'SELECT at + (pg_catalog.clock_timestamp() - set_at) / 1000 FROM virtual.clock'`,
    // Named first, so that an unqualified clock_timestamp() is ours everywhere, also in functions and defaults.
    `ALTER DATABASE ${name} SET search_path = virtual, pg_catalog, public`,
  ]);
  return url.href;
}

/** Text of the query for the next moment at which some row of ours becomes due. */
export function nextDueSql(columns: readonly { schema: string; table: string; column: string }[]): string {
  const parts = columns.map(
    ({ schema, table, column }) =>
      `SELECT min(${column}) AS at FROM ${schema}.${table} WHERE ${column} > clock_timestamp() AND ${column} < 'infinity'`,
  );
  return `SELECT extract(epoch FROM min(at)) * 1000 AS ms FROM (${parts.join(' UNION ALL ')}) s`;
}

/** Columns that say when a row is to be looked at. */
export const DUE_COLUMNS = `SELECT table_schema AS schema, table_name AS table, column_name AS column FROM information_schema.columns
  WHERE table_schema IN ('bus', 'decision', 'control', 'ingest', 'catalog') AND data_type = 'timestamp with time zone'
    AND column_name ~ '^(due_at|retry_at|next_try_at|check_at|expires_at|[a-z]+_until|next_at)$'`;
