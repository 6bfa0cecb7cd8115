/** What facts count, in memory: for rules that are played instead of run. Only what some rule counts is kept. */
import type { EventMessage, FactSpec, RuleDocument } from '@opsloop/contracts';
import { durationMs, isUnder, matchesPattern } from '@opsloop/contracts';
import { isLive } from '../episodes/machine.pure.js';
import type { Counted } from '../facts/around.pure.js';
import type { CountRequest, Place } from '../facts/facts.pure.js';
import { COUNT_MAX, countsEvent, isCount } from '../facts/facts.pure.js';
import type { EpisodeRow } from '../store/model.js';

/** Old entries are dropped when so many came: walking them costs less than keeping them. */
const SWEEP_EVERY = 10_000;

interface Seen {
  at: number;
  event: EventMessage;
}

interface Story {
  rule: string;
  resource: string;
  state: string;
  live: boolean;
  openedAt: number;
}

export class CountMemory {
  private readonly facts: FactSpec[];
  /** How far back any rule counts. */
  readonly longestMs: number;
  private readonly all: Seen[] = [];
  private readonly bySubject = new Map<string, Seen[]>();
  private readonly stories = new Map<string, Story>();
  private since = 0;

  constructor(docs: readonly RuleDocument[]) {
    this.facts = docs.flatMap((doc) => Object.values(doc.facts ?? {}).filter(isCount));
    this.longestMs = Math.max(0, ...this.facts.map(({ within }) => (within === undefined ? 0 : durationMs(within))));
  }

  note(event: EventMessage, at: number): void {
    const counted = this.facts.some((fact) => fact.events !== undefined && countsEvent(fact, { any: true }, event));
    if (!counted) return;
    const seen = { at, event };
    this.all.push(seen);
    if (event.subject !== undefined) {
      const list = this.bySubject.get(event.subject);
      if (list === undefined) this.bySubject.set(event.subject, [seen]);
      else list.push(seen);
    }
    if ((this.since += 1) % SWEEP_EVERY === 0) this.sweep(at - this.longestMs);
  }

  noteEpisodes(rows: readonly EpisodeRow[]): void {
    if (!this.facts.some((fact) => fact.episodes !== undefined)) return;
    for (const { episode } of rows)
      this.stories.set(episode.id, {
        rule: episode.rule,
        resource: episode.resource,
        state: episode.state,
        live: isLive(episode),
        openedAt: episode.openedAt,
      });
  }

  /** As the statements count; the event that asks is added by whoever judges it. */
  read(requests: readonly CountRequest[], asking: ReadonlySet<string>, now: number): Map<string, Counted> {
    const counts = new Map<string, Counted>();
    for (const request of requests)
      if (!counts.has(request.key))
        counts.set(
          request.key,
          request.fact.events === undefined ? this.episodes(request, now) : this.events(request, asking, now),
        );
    return counts;
  }

  private events({ fact, place, since = 0 }: CountRequest, asking: ReadonlySet<string>, now: number): Counted {
    const near = 'of' in place ? (this.bySubject.get(place.of) ?? []) : this.all;
    let count = 0;
    const subjects = new Set<string>();
    // Newest first: what is too old ends the walk.
    for (let i = near.length - 1; i >= 0 && count < COUNT_MAX; i -= 1) {
      const { at, event } = near[i]!;
      if (at <= since) break;
      if (at > now || asking.has(event.eventId) || !countsEvent(fact, place, event)) continue;
      count += 1;
      if (event.subject !== undefined) subjects.add(event.subject);
    }
    return { count, ...(fact.distinct === undefined ? {} : { subjects: [...subjects] }) };
  }

  private episodes({ fact, place, since = 0, not }: CountRequest, now: number): Counted {
    const { rule, state } = fact.episodes!;
    const count = [...this.stories.values()].filter(
      (one) =>
        inPlace(place, one.resource) &&
        one.openedAt > since &&
        one.openedAt < now &&
        (state === undefined ? one.live : state.includes(one.state)) &&
        (rule === undefined || matchesPattern(rule, one.rule)) &&
        !(one.rule === not.rule && one.resource === not.resource),
    ).length;
    return { count: Math.min(COUNT_MAX, count) };
  }

  private sweep(before: number): void {
    const fresh = this.all.findIndex(({ at }) => at > before);
    this.all.splice(0, fresh < 0 ? this.all.length : fresh);
    for (const [subject, list] of this.bySubject) {
      const kept = list.filter(({ at }) => at > before);
      if (kept.length === 0) this.bySubject.delete(subject);
      else this.bySubject.set(subject, kept);
    }
    for (const [id, { live, openedAt }] of this.stories) if (!live && openedAt <= before) this.stories.delete(id);
  }
}

function inPlace(place: Place, path: string): boolean {
  if ('any' in place) return true;
  return 'of' in place ? path === place.of : path !== place.under && isUnder(path, place.under);
}
