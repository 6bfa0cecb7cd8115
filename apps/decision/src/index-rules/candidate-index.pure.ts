/**
 * Which rules an event has to be judged by, in time that depends on how many fit and not on how many there are. Each
 * entry of `on` is filed under the rarest of its keys; an event looks up its own values and tries what it finds there.
 */
import type { EventMessage, EventPattern } from '@opsloop/contracts';
import { dataMismatch, outerFits } from '../decide/match.pure.js';
import type { LiveRule } from '../store/model.js';
import type { Key, Scalar } from './rule-keys.pure.js';
import { hearsMisses, keysOf } from './rule-keys.pure.js';

interface Entry {
  rule: LiveRule;
  /** Place in the rule set: candidates are judged in this order, however they were found. */
  at: number;
  pattern: EventPattern;
  keys: Key[];
  /** Whether `data` is part of being a candidate. */
  data: boolean;
}

/** A place in the event, by its names; only places that some rule asks about exist. */
class Place {
  readonly below = new Map<string, Place>();
  private readonly equal = new Map<Scalar, Entry[]>();
  private readonly prefixes = new Map<string, Entry[]>();
  /** Distinct lengths of prefixes, few: people write some dozen. */
  private lengths: number[] = [];

  file(key: Key, entry: Entry): void {
    if (key.kind === 'prefix') {
      push(this.prefixes, key.prefix, entry);
      if (!this.lengths.includes(key.prefix.length)) this.lengths.push(key.prefix.length);
      return;
    }
    for (const value of key.values) push(this.equal, value, entry);
  }

  find(value: unknown, found: Set<Entry>): void {
    if (value === undefined || value === null) return;
    add(this.equal.get(value as Scalar), found);
    if (typeof value === 'string')
      for (const length of this.lengths)
        if (length <= value.length) add(this.prefixes.get(value.slice(0, length)), found);
    if (this.below.size === 0 || typeof value !== 'object') return;
    for (const [name, place] of this.below)
      if (Object.hasOwn(value, name)) place.find((value as Record<string, unknown>)[name], found);
  }

  at(path: readonly string[]): Place {
    const [name, ...rest] = path;
    if (name === undefined) return this;
    let next = this.below.get(name);
    if (next === undefined) this.below.set(name, (next = new Place()));
    return next.at(rest);
  }
}

export class CandidateIndex {
  private readonly root = new Place();
  private readonly always: Entry[] = [];

  constructor(rules: readonly LiveRule[]) {
    const entries = rules.flatMap((rule, at) =>
      rule.doc.on.map((pattern): Entry => ({
        rule,
        at,
        pattern,
        keys: keysOf(rule.doc, pattern),
        data: !hearsMisses(rule.doc),
      })),
    );
    const counts = countKeys(entries);
    for (const entry of entries) {
      const key = rarest(entry.keys, counts);
      if (key === undefined) this.always.push(entry);
      else this.root.at(key.kind === 'prefix' ? [key.field] : key.path).file(key, entry);
    }
  }

  /** Rules whose type, source, subject and equalities fit, in the order of the rule set. */
  candidates(event: EventMessage): LiveRule[] {
    const found = new Set<Entry>(this.always);
    this.root.find(event, found);
    const fitting: Entry[] = [];
    for (const entry of found) if (fits(entry, event)) fitting.push(entry);
    fitting.sort((a, b) => a.at - b.at);
    return fitting.filter((entry, i) => entry.at !== fitting[i - 1]?.at).map((entry) => entry.rule);
  }
}

/** The other keys are asked when the rule is judged; `data` here, so that a rule filed under its type costs no verdict. */
function fits({ pattern, data }: Entry, event: EventMessage): boolean {
  if (!outerFits(pattern, event)) return false;
  return !data || pattern.data === undefined || dataMismatch(pattern.data, event.data) === undefined;
}

/** How many entries would stand in each drawer. */
function countKeys(entries: readonly Entry[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { keys } of entries)
    for (const key of keys) for (const drawer of drawersOf(key)) counts.set(drawer, (counts.get(drawer) ?? 0) + 1);
  return counts;
}

function drawersOf(key: Key): string[] {
  if (key.kind === 'prefix') return [`${key.field}^${key.prefix}`];
  const place = key.path.join('\u0000');
  return key.values.map((value) => `${place}=${typeof value}:${String(value)}`);
}

function rarest(keys: readonly Key[], counts: ReadonlyMap<string, number>): Key | undefined {
  let best: { key: Key; crowd: number } | undefined;
  for (const key of keys) {
    const crowd = Math.max(...drawersOf(key).map((drawer) => counts.get(drawer) ?? 0));
    if (best === undefined || crowd < best.crowd) best = { key, crowd };
  }
  return best?.key;
}

function push<K>(map: Map<K, Entry[]>, key: K, entry: Entry): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [entry]);
  else list.push(entry);
}

function add(entries: readonly Entry[] | undefined, found: Set<Entry>): void {
  if (entries !== undefined) for (const entry of entries) found.add(entry);
}
