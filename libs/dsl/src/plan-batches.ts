import { OpsError, pathKind, type RuleBatch } from '@opsloop/contracts';
import { renderTemplate, toScopeValue, type Scope } from '@opsloop/rules';

type Labels = Readonly<Record<string, Readonly<Record<string, string>> | undefined>>;

/**
 * Cuts targets into the batches in which they are acted on. Canary first and not counted in what follows; percent is
 * of all targets, rounded down, at least 1; `max` caps every batch. `by` names the failure domain: a batch never mixes
 * two of them, and one domain is finished before the next begins, so at most one domain is in danger at a time.
 */
export function planBatches(paths: readonly string[], labels: Labels, batch: RuleBatch): string[][] {
  const unique = [...new Set(paths)];
  const max = batch.max ?? Number.POSITIVE_INFINITY;
  const size = Math.max(1, Math.min(sizeOf(batch.size, unique.length), max));
  const canary = Math.min(batch.canary ?? 0, max);
  const batches: string[][] = [];
  let first = true;
  for (const domain of domainsOf(unique, labels, batch)) {
    let at = 0;
    if (first && canary > 0) {
      batches.push(domain.slice(0, canary));
      at = canary;
    }
    first = false;
    for (; at < domain.length; at += size) batches.push(domain.slice(at, at + size));
  }
  return batches;
}

/** Without a size everything goes at once, `max` permitting. */
function sizeOf(size: number | string | undefined, total: number): number {
  if (size === undefined) return Math.max(1, total);
  if (typeof size === 'number') return Math.max(1, Math.floor(size));
  const percent = /^(\d{1,3}(?:\.\d+)?)%$/.exec(size)?.[1];
  if (percent !== undefined) return Math.max(1, Math.floor((total * Number(percent)) / 100));
  if (/^\d+$/.test(size)) return Math.max(1, Number(size));
  throw new OpsError('validation', `"${size}" is no batch size; write a number or a percentage such as "20%"`);
}

function domainsOf(paths: readonly string[], labels: Labels, batch: RuleBatch): string[][] {
  if (batch.by === undefined) return paths.length === 0 ? [] : [[...paths]];
  const domains = new Map<string, string[]>();
  for (const path of paths) {
    const key = domainOf(path, labels[path] ?? {}, batch);
    const known = domains.get(key);
    if (known === undefined) domains.set(key, [path]);
    else known.push(path);
  }
  return [...domains.values()];
}

/** A target without the label belongs to one domain of the unlabelled: nobody knows what they share. */
function domainOf(path: string, labels: Readonly<Record<string, string>>, batch: RuleBatch): string {
  const scope = { resource: toScopeValue({ path, kind: pathKind(path), labels }) } satisfies Scope;
  try {
    return JSON.stringify(renderTemplate(batch.by!, scope));
  } catch (error) {
    if (error instanceof OpsError && error.code === 'expression') return '';
    throw error;
  }
}
