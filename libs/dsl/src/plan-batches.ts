import { OpsError, pathKind, type Json, type RuleBatch } from '@opsloop/contracts';
import { renderTemplate, toScopeValue, type Scope } from '@opsloop/rules';

type Labels = Readonly<Record<string, Readonly<Record<string, string>> | undefined>>;

/**
 * Cuts targets into the batches in which they are acted on. Canary first and not counted in what follows; percent is
 * of all targets, rounded down, at least 1; `max` caps every batch. `by` names the failure domain: a batch never mixes
 * two of them, and one domain is finished before the next begins, so at most one domain is in danger at a time.
 * `spread` names what a batch must not have twice, such as a shard or a zone. With `ramp` each batch is larger than the
 * one before, since it only begins when that one went well.
 */
export function planBatches(paths: readonly string[], labels: Labels, batch: RuleBatch): string[][] {
  const unique = [...new Set(paths)];
  const max = batch.max ?? Number.POSITIVE_INFINITY;
  let size = Math.max(1, Math.min(sizeOf(batch.size, unique.length), max));
  const largest = Math.min(max, batch.ramp?.max ?? max);
  const canary = Math.min(batch.canary ?? 0, max);
  const batches: string[][] = [];
  let first = true;
  for (const domain of domainsOf(unique, labels, batch)) {
    const rest = new Takes(domain, labels, batch.spread);
    if (first && canary > 0) batches.push(rest.take(canary));
    first = false;
    while (rest.left > 0) {
      batches.push(rest.take(size));
      if (batch.ramp !== undefined) size = Math.max(size, Math.min(Math.floor(size * (batch.ramp.grow ?? 2)), largest));
    }
  }
  return batches;
}

/** Items of one domain, taken so that none of `spread` comes twice into one batch; the most frequent ones go first. */
class Takes {
  private rest: { path: string; keys: readonly string[] }[];

  constructor(domain: readonly string[], labels: Labels, spread: RuleBatch['spread']) {
    this.rest = domain.map((path) => ({ path, keys: keysOf(path, labels[path] ?? {}, spread) }));
    if (spread === undefined) return;
    // What a shard has most of takes most batches: left for last, it would go on alone when all others are done.
    const counts = new Map<string, number>();
    for (const { keys } of this.rest) for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
    const weight = (one: { keys: readonly string[] }): number =>
      Math.max(0, ...one.keys.map((key) => counts.get(key)!));
    this.rest.sort((a, b) => weight(b) - weight(a));
  }

  get left(): number {
    return this.rest.length;
  }

  take(most: number): string[] {
    const taken: string[] = [];
    const used = new Set<string>();
    this.rest = this.rest.filter(({ path, keys }) => {
      if (taken.length >= most || keys.some((key) => used.has(key))) return true;
      taken.push(path);
      for (const key of keys) used.add(key);
      return false;
    });
    return taken;
  }
}

/** One key per member of `spread`. A target without the label counts as one with an unknown value, which may be any other's. */
function keysOf(path: string, labels: Readonly<Record<string, string>>, spread: RuleBatch['spread']): string[] {
  if (spread === undefined || spread === null) return [];
  const members = Array.isArray(spread) ? spread : [spread];
  return members.map((member, i) => `${i} ${rendered(path, labels, member)}`);
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
  return rendered(path, labels, batch.by!);
}

function rendered(path: string, labels: Readonly<Record<string, string>>, template: Json): string {
  const scope = { resource: toScopeValue({ path, kind: pathKind(path), labels }) } satisfies Scope;
  try {
    return JSON.stringify(renderTemplate(template, scope));
  } catch (error) {
    if (error instanceof OpsError && error.code === 'expression') return '';
    throw error;
  }
}
