/**
 * A checker for linearizability (Wing and Gong, with the memory of Lowe), for machines without Go, where Porcupine does
 * the same. Is there an order of all operations, each between its call and its return, in which the model gives every
 * answer that was given?
 */
import type { History, HistoryClaim, Op } from './history.js';

/** A grant whose fence nobody was told has the fence -1. */
interface Grant {
  holder: number;
  fence: number;
  claims: readonly HistoryClaim[];
}

/** Immutable: every step makes a new one. */
interface State {
  grants: readonly Grant[];
  /** Highest fence ever granted on each path. */
  top: readonly number[];
  key: string;
}

const stateOf = (grants: readonly Grant[], top: readonly number[]): State => ({
  grants,
  top,
  key: `${grants
    .map((g) => `${g.holder}=${g.fence}`)
    .sort()
    .join()};${top.join()}`,
});

type Related = (a: number, b: number) => boolean;

/** The mutex as it is specified: what each answer says about the grants at that moment. */
export function lockModel(
  { paths, members = [] }: Pick<History, 'paths' | 'members'>,
  strictBusy: boolean,
): (from: State, op: Op) => State[] {
  const under = (p: number, q: number): boolean => p === q || paths[p]!.startsWith(`${paths[q]!}/`);
  const related: Related = (a, b) => under(a, b) || under(b, a);
  // At, above or below a member on the one side, the group or what lies above it on the other.
  const through: Related = (a, b) => members.some(([m, g]) => related(a, m) && under(g, b));
  const table = paths.map((_p, a) => paths.map((_q, b) => related(a, b) || through(a, b) || through(b, a)));
  const overlap: Related = (a, b) => table[a]![b]!;
  const conflicts = (s: State, claims: readonly HistoryClaim[]): boolean =>
    s.grants.some((g) => g.claims.some((h) => claims.some((c) => (h.x || c.x) && overlap(h.path, c.path))));
  const newest = (s: State, claims: readonly HistoryClaim[], fence: number): boolean =>
    !claims.some((c) => s.top.some((top, p) => top >= fence && overlap(c.path, p)));
  const plus = (s: State, g: Grant): State =>
    stateOf(
      [...s.grants, g],
      s.top.map((top, p) => (g.claims.some((c) => c.path === p) ? Math.max(top, g.fence) : top)),
    );
  const minus = (s: State, g: Grant): State =>
    stateOf(
      s.grants.filter((one) => one !== g),
      s.top,
    );

  const acquire = (s: State, o: Op): State[] => {
    const mine = s.grants.find((g) => g.holder === o.holder);
    const wanted = { holder: o.holder, fence: o.fence, claims: o.claims };
    if (o.result === 'granted') {
      if (mine?.fence === o.fence) return [s];
      if (mine !== undefined) return mine.fence === -1 ? [plus(minus(s, mine), wanted)] : [];
      return conflicts(s, o.claims) || !newest(s, o.claims, o.fence) ? [] : [plus(s, wanted)];
    }
    if (o.result === 'busy') return mine !== undefined || (strictBusy && !conflicts(s, o.claims)) ? [] : [s];
    if (o.result === 'waiting') return mine !== undefined ? [] : [s];
    return mine !== undefined || conflicts(s, o.claims) ? [s] : [s, plus(s, { ...wanted, fence: -1 })];
  };

  return (s, o) => {
    if (o.op === 'acquire') return acquire(s, o);
    const held = s.grants.find((g) => g.fence === o.fence);
    if (o.op === 'release') {
      if (held === undefined) return [s];
      return o.result === 'unknown' ? [s, minus(s, held)] : [minus(s, held)];
    }
    const current = held?.claims.some((h) => under(o.claims[0]!.path, h.path)) === true;
    return o.result === 'unknown' || current === (o.result === 'current') ? [s] : [];
  };
}

interface Entry {
  op: Op;
  id: number;
  /** Of a call: its return. */
  match?: Entry;
  prev?: Entry | undefined;
  next?: Entry | undefined;
}

/** Calls and returns in the order of time; of two at one moment the call comes first, which allows more. */
function entriesOf(ops: readonly Op[]): Entry {
  const entries = ops.flatMap((op, id) => {
    const end: Entry = { op, id };
    return [
      { at: op.call, end: false, entry: { op, id, match: end } as Entry },
      { at: op.return, end: true, entry: end },
    ];
  });
  entries.sort((a, b) => a.at - b.at || Number(a.end) - Number(b.end));
  const head: Entry = { op: undefined as never, id: -1 };
  let last = head;
  for (const { entry } of entries) {
    last.next = entry;
    entry.prev = last;
    last = entry;
  }
  return head;
}

function cut(entry: Entry): void {
  entry.prev!.next = entry.next;
  if (entry.next !== undefined) entry.next.prev = entry.prev;
}

function restore(entry: Entry): void {
  entry.prev!.next = entry;
  if (entry.next !== undefined) entry.next.prev = entry;
}

/** A random number per operation: the exclusive or of those done names the set of them, up to chance of 2^-50. */
function names(count: number): { high: Int32Array; low: Int32Array } {
  const high = new Int32Array(count);
  const low = new Int32Array(count);
  let x = 0x9e3779b9;
  const next = (): number => {
    x = (x + 0x6d2b79f5) | 0;
    let t = Math.imul(x ^ (x >>> 15), x | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) | 0;
  };
  for (let i = 0; i < count; i += 1) {
    high[i] = next();
    low[i] = next();
  }
  return { high, low };
}

/** True when the history is linearizable. */
export function isLinearizable({ paths, members = [], strictBusy, ops }: History): boolean {
  const step = lockModel({ paths, members }, strictBusy);
  const head = entriesOf(ops);
  const { high, low } = names(ops.length);
  const seen = new Set<string>();
  const done: { entry: Entry; states: State[] }[] = [];
  let states: State[] = [
    stateOf(
      [],
      paths.map(() => 0),
    ),
  ];
  let [h, l] = [0, 0];
  for (let entry = head.next; head.next !== undefined;) {
    if (entry?.match !== undefined) {
      const next = new Map<string, State>();
      for (const s of states) for (const t of step(s, entry.op)) next.set(t.key, t);
      const key = `${h ^ high[entry.id]!}.${l ^ low[entry.id]!}.${[...next.keys()].sort().join('|')}`;
      if (next.size > 0 && !seen.has(key)) {
        seen.add(key);
        done.push({ entry, states });
        states = [...next.values()];
        h ^= high[entry.id]!;
        l ^= low[entry.id]!;
        cut(entry);
        cut(entry.match);
        entry = head.next;
      } else entry = entry.next;
    } else {
      // A return whose call could not be placed: the last choice was wrong.
      const last = done.pop();
      if (last === undefined) return false;
      states = last.states;
      h ^= high[last.entry.id]!;
      l ^= low[last.entry.id]!;
      restore(last.entry.match!);
      restore(last.entry);
      entry = last.entry.next;
    }
  }
  return true;
}
