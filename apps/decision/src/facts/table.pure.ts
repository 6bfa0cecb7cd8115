/** Decision tables: which row fits. */
import type { TableDocument, TierHit } from '@opsloop/contracts';
import { OpsError, TIERS } from '@opsloop/contracts';
import type { Scope } from '@opsloop/rules';
import { evaluateCondition } from '@opsloop/rules';

type Row = TableDocument['rows'][number];

/** The rows that fit under the table's hit policy: at most one, but with `collect` any number. */
export function rowsOf(table: TableDocument, scope: Scope): Row[] {
  if (table.hit === 'first') {
    const row = table.rows.find((one) => one.when === undefined || evaluateCondition(one.when, scope));
    return row === undefined ? [] : [row];
  }
  const rows = table.rows.filter((one) => one.when === undefined || evaluateCondition(one.when, scope));
  if (table.hit === 'unique' && rows.length > 1) {
    const numbers = rows.map((row) => table.rows.indexOf(row) + 1).join(' and ');
    throw new OpsError(
      'expression',
      `rows ${numbers} of ${table.name}@${table.version} both fit, and "unique" allows one`,
    );
  }
  return rows;
}

/** What the fitting rows say of the work: the most critical tier wins with its batch, and the most people are asked. */
export function hitOf(table: TableDocument, scope: Scope): TierHit {
  const rows: TierHit[] = rowsOf(table, scope);
  const rank = (hit: TierHit): number => (hit.tier === undefined ? TIERS.length : TIERS.indexOf(hit.tier));
  const best = rows.reduce<TierHit | undefined>((a, b) => (a === undefined || rank(b) < rank(a) ? b : a), undefined);
  const approval = rows.reduce<TierHit['approval']>(
    (a, { approval: b }) => ((b?.min ?? (b === undefined ? 0 : 1)) > (a?.min ?? (a === undefined ? 0 : 1)) ? b : a),
    undefined,
  );
  return {
    ...(best?.tier === undefined ? {} : { tier: best.tier }),
    ...(best?.batch === undefined ? {} : { batch: best.batch }),
    ...(approval === undefined ? {} : { approval }),
  };
}

/** A row as a fact: everything but its condition. */
export function outputOf({ when: _when, ...rest }: Row): Record<string, unknown> {
  return rest;
}
