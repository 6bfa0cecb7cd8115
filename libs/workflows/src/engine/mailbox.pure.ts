/** The events that a run keeps for its waits, and which wait gets which. No I/O: deciding and remembering only. */
import { eventTypeMatches, matchesPattern } from '@opsloop/contracts';
import type { FlowEvent, Json, JsonObject } from '@opsloop/contracts';

/** Ids that are remembered: a repeat comes within seconds, and 1,000 of 36 characters are 4 % of what a run carries. */
export const SEEN_MAX = 1_000;
/**
 * What is kept in memory for waits that are still to come; then the oldest events go. Temporal takes 10,000 signals per
 * run of its own, and 8 MB are what a dozen cached runs of ordinary size take.
 */
export const HELD_MAX = 10_000;
export const HELD_CHARS_MAX = 8_000_000;
/**
 * What travels to the next Temporal run: of the 1,000,000 characters that may, the larger part must be left to journal
 * and variables. A run that keeps more goes on for as long as it can before it leaves the oldest behind.
 */
export const CARRIED_CHARS_MAX = 400_000;

/** The part of an event filter that is plain data: all but its condition, rendered. */
export interface EntryMatch {
  type: string;
  source?: string;
  subject?: string;
  correlate?: JsonObject;
  data?: JsonObject;
}

/** A wait: `take` gets at most one event for each of its open entries; `wake` is told of every event that fits. */
export interface Subscription {
  id: string;
  mode: 'take' | 'wake';
  entries: EntryMatch[];
  /** Indexes of the entries that still want an event. */
  open: number[];
  /** Every entry wants one; else the first event is enough. */
  all: boolean;
  /** Entries have conditions of their own, so that what is offered may come back. */
  conditional: boolean;
  /** Workflow that waits; absent: this one. */
  at?: string;
}

export interface Held {
  seq: number;
  event: FlowEvent;
  chars: number;
  /** Waits whose own condition did not want it. */
  passed?: string[];
}

export interface Offer {
  sub: Subscription;
  entry: number;
  held: Held;
}

export interface CarriedMailbox {
  seq: number;
  seen: string[];
  held: [seq: number, event: FlowEvent, passed?: string[]][];
  dropped: number;
  /** Waits of sub-flows; those of this workflow come again as it is walked. */
  subs: Subscription[];
}

export class Mailbox {
  private seq = 0;
  private seen: string[] = [];
  private readonly known = new Set<string>();
  private held: Held[] = [];
  private chars = 0;
  private readonly subs = new Map<string, Subscription>();
  /** Events that went because too many were kept. */
  dropped = 0;

  /** A new event: who is to be told of it. Nothing for one that was here before. */
  add(event: FlowEvent): Offer[] {
    if (this.known.has(event.eventId)) return [];
    this.remember(event.eventId);
    this.seq += 1;
    const held = heldOf(this.seq, event);
    const wakes = this.offers(held, 'wake');
    const first = this.offers(held, 'take')[0];
    if (first === undefined) this.keep(held);
    else this.fill(first);
    return first === undefined ? wakes : [...wakes, first];
  }

  /** A wait begins, or begins again: what is here for it already. */
  subscribe(sub: Subscription): Offer[] {
    this.subs.set(sub.id, { ...sub, open: [...sub.open] });
    return this.forSub(sub.id);
  }

  drop(id: string): void {
    this.subs.delete(id);
  }

  has(id: string): boolean {
    return this.subs.has(id);
  }

  /**
   * An event that its wait did not take comes back to its old place. With `entry` the wait goes on and this event is
   * never offered to it again; without, the wait is over.
   */
  giveBack(id: string, held: Held, entry?: number): Offer[] {
    const sub = this.subs.get(id);
    const back = entry === undefined ? held : { ...held, passed: [...(held.passed ?? []), id] };
    if (sub !== undefined && entry !== undefined) sub.open = sub.all ? [...sub.open, entry] : [...sub.entries.keys()];
    const next = this.offers(back, 'take')[0];
    if (next === undefined) this.keep(back);
    else this.fill(next);
    const others = sub !== undefined && entry !== undefined ? this.forSub(id) : [];
    return next === undefined ? others : [next, ...others];
  }

  private forSub(id: string): Offer[] {
    const sub = this.subs.get(id);
    if (sub === undefined || sub.mode === 'wake') return [];
    const offers: Offer[] = [];
    for (const held of [...this.held]) {
      if (sub.open.length === 0) break;
      const entry = fitting(sub, held);
      if (entry === undefined) continue;
      this.remove(held);
      const offer = { sub, entry, held };
      this.fill(offer);
      offers.push(offer);
    }
    return offers;
  }

  /** The entry has its event; a wait that has all it wants is over unless it may send one back. */
  private fill({ sub, entry }: Offer): void {
    sub.open = sub.all ? sub.open.filter((index) => index !== entry) : [];
    if (sub.open.length === 0 && !sub.conditional) this.subs.delete(sub.id);
  }

  private offers(held: Held, mode: Subscription['mode']): Offer[] {
    const offers: Offer[] = [];
    for (const sub of this.subs.values()) {
      if (sub.mode !== mode) continue;
      const entry = fitting(sub, held);
      if (entry !== undefined) offers.push({ sub, entry, held });
      if (mode === 'take' && offers.length > 0) break;
    }
    return offers;
  }

  private keep(held: Held): void {
    let at = this.held.length;
    while (at > 0 && this.held[at - 1]!.seq > held.seq) at -= 1;
    this.held.splice(at, 0, held);
    this.chars += held.chars;
    this.trim(HELD_CHARS_MAX);
  }

  private trim(chars: number): void {
    while (this.held.length > HELD_MAX || (this.chars > chars && this.held.length > 1)) {
      this.chars -= this.held.shift()!.chars;
      this.dropped += 1;
    }
  }

  private remove(held: Held): void {
    const at = this.held.indexOf(held);
    if (at < 0) return;
    this.held.splice(at, 1);
    this.chars -= held.chars;
  }

  private remember(id: string): void {
    this.known.add(id);
    this.seen.push(id);
    if (this.seen.length > 2 * SEEN_MAX) {
      for (const old of this.seen.slice(0, -SEEN_MAX)) this.known.delete(old);
      this.seen = this.seen.slice(-SEEN_MAX);
    }
  }

  /** More is kept than can travel. */
  get isHeavy(): boolean {
    return this.chars > CARRIED_CHARS_MAX;
  }

  get isEmpty(): boolean {
    return this.seq === 0 && this.subs.size === 0;
  }

  carry(): CarriedMailbox {
    this.trim(CARRIED_CHARS_MAX);
    return {
      seq: this.seq,
      seen: this.seen.slice(-SEEN_MAX),
      held: this.held.map(({ seq, event, passed }) => (passed === undefined ? [seq, event] : [seq, event, passed])),
      dropped: this.dropped,
      subs: [...this.subs.values()].filter((sub) => sub.at !== undefined),
    };
  }

  /** What arrived in this Temporal run before is younger than what is carried. */
  restore(carried: CarriedMailbox): void {
    const younger = this.held.splice(0);
    this.chars = 0;
    this.seq = carried.seq;
    this.dropped += carried.dropped;
    for (const id of carried.seen) this.remember(id);
    for (const [seq, event, passed] of carried.held) this.keep(heldOf(seq, event, passed));
    for (const sub of carried.subs) this.subs.set(sub.id, sub);
    for (const { event } of younger) {
      if (carried.seen.includes(event.eventId)) continue;
      this.seq += 1;
      this.keep(heldOf(this.seq, event));
    }
  }
}

function heldOf(seq: number, event: FlowEvent, passed?: string[]): Held {
  return { seq, event, chars: JSON.stringify(event).length, ...(passed === undefined ? {} : { passed }) };
}

function fitting(sub: Subscription, held: Held): number | undefined {
  if (held.passed?.includes(sub.id) === true) return undefined;
  return sub.open.find((index) => matchesEntry(sub.entries[index]!, held.event));
}

/** All members of the entry but its condition. */
export function matchesEntry(entry: EntryMatch, event: FlowEvent): boolean {
  if (!eventTypeMatches(entry.type, event.type)) return false;
  if (entry.source !== undefined && !matchesPattern(entry.source, event.source)) return false;
  if (entry.subject !== undefined && !(event.subject !== undefined && matchesPattern(entry.subject, event.subject)))
    return false;
  if (entry.data !== undefined && !partlyEqual(entry.data, event.data, true)) return false;
  return entry.correlate === undefined || partlyEqual(entry.correlate, event.data, false);
}

/** Every member of the pattern is in the value and equal; with `lists` a list of the pattern means any of its members. */
function partlyEqual(pattern: Json, value: Json | undefined, lists: boolean): boolean {
  if (value === undefined) return false;
  if (Array.isArray(pattern)) {
    if (lists) return pattern.some((one) => partlyEqual(one, value, lists));
    return (
      Array.isArray(value) &&
      value.length === pattern.length &&
      pattern.every((one, i) => partlyEqual(one, value[i], lists))
    );
  }
  if (pattern === null || typeof pattern !== 'object') return pattern === value;
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false;
  return Object.entries(pattern).every(
    ([key, member]) => Object.hasOwn(value, key) && partlyEqual(member, value[key], lists),
  );
}
