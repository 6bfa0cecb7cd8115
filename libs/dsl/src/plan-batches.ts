import { OpsError, type RuleBatch } from '@opsloop/contracts';
import { renderTemplate, toScopeValue } from '@opsloop/rules';

/** `"20%"` of a total: rounded down, at least 1; a number is taken as it is. */
export function batchSize(size: number | string | undefined, total: number): number {
  if (size === undefined) return total;
  if (typeof size === 'number') return Math.max(1, Math.floor(size));
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(size);
  if (percent === null) throw new OpsError('validation', `batch size "${size}" is neither a number nor a percentage such as "20%"`);
  return Math.max(1, Math.floor((total * Number(percent[1])) / 100));
}

/** The failure domain of a target: what `by` gives for its labels; all alike without `by`. */
function domainOf(by: RuleBatch['by'], path: string, labels: Record<string, string>): string {
  if (by === undefined) return '';
  const value = renderTemplate(by, { resource: toScopeValue({ path, labels }) });
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/**
 * Cuts targets into batches: canaries first, one at a time as a batch of `canary`; then batches of `size`, at most `max`.
 * With `by` a batch never mixes failure domains: one rack (zone, shard) is worked off before the next is touched.
 * Percentages are of all targets without the canaries. The order of `paths` is kept inside a domain.
 */
export function planBatches(paths: readonly string[], labels: Record<string, Record<string, string>>, batch: RuleBatch): string[][] {
  const canary = Math.min(batch.canary ?? 0, paths.length);
  const domains = new Map<string, string[]>();
  for (const path of paths) {
    const domain = domainOf(batch.by, path, labels[path] ?? {});
    domains.set(domain, [...(domains.get(domain) ?? []), path]);
  }
  const ordered = [...domains.values()];
  const first: string[] = [];
  // Canaries come from one domain while it lasts: an error there must not touch a second one.
  for (const members of ordered) while (first.length < canary && members.length > 0) first.push(members.shift()!);
  const rest = ordered.reduce((n, members) => n + members.length, 0);
  const size = Math.max(1, Math.min(batchSize(batch.size, rest), batch.max ?? Number.POSITIVE_INFINITY, Math.max(1, rest)));
  const batches = ordered.flatMap((members) =>
    Array.from({ length: Math.ceil(members.length / size) }, (_, i) => members.slice(i * size, (i + 1) * size)),
  );
  return first.length > 0 ? [first, ...batches] : batches;
}
