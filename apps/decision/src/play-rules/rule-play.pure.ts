/**
 * Rules played over events in virtual time: the same stages, windows, episodes and ladders as in production, with a
 * world in memory and nobody who works. What a run would do is not known: each ends at once, with success, and what it
 * changed is what the events say. Observing is left out for the same reason; the last report counts.
 */
import type { EventMessage, RuleDocument, TableDocument } from '@opsloop/contracts';
import type { Aim } from '../decide/aim.pure.js';
import { aim } from '../decide/aim.pure.js';
import { decideEvents } from '../decide/batch.pure.js';
import { loadRequestOf } from '../decide/load-request.pure.js';
import { onMismatch } from '../decide/match.pure.js';
import { aimOf, endWindow } from '../decide/windows.pure.js';
import { World } from '../decide/world.pure.js';
import { budgetKeysOf, goOn } from '../episodes/go-on.pure.js';
import type { Around } from '../facts/around.pure.js';
import { NOTHING_AROUND } from '../facts/around.pure.js';
import { countRequests } from '../facts/facts.pure.js';
import { CandidateIndex } from '../index-rules/candidate-index.pure.js';
import type { MaintenanceInForce } from '../maintenance/maintenance.pure.js';
import { unknownResource } from '../resources/merge.pure.js';
import type {
  Configs,
  DecisionRow,
  EpisodeRow,
  LiveRule,
  LoadRequest,
  Resource,
  RuleTrace,
  Ruleset,
  WaitRow,
} from '../store/model.js';
import { CountMemory } from './count-memory.pure.js';
import { MemoryStore } from './memory-store.pure.js';

const TENANT = 'default';
const NO_VERSIONS: ReadonlyMap<string, RuleDocument> = new Map();
/** Ended windows are dropped each so many events: a walk over what is left costs less than what it keeps away. */
const SWEEP_EVERY = 1_000;
/** Moments at which something is due between two events; a ladder of an hour has some hundred. */
const MOMENTS_MAX = 100_000;

export interface Play {
  rules: readonly LiveRule[];
  configs: Configs;
  resources: readonly Resource[];
  /** Decision tables by reference as written. */
  tables?: ReadonlyMap<string, TableDocument>;
  maintenance?: readonly MaintenanceInForce[];
  /** Hears each verdict; a window that ends changes what was said of its events. */
  verdict?: (eventId: string, rule: string, trace: RuleTrace) => void;
  /** Hears each decision. */
  decided: (decision: DecisionRow) => void;
  /** Who is asked which rules an event has to be judged by; default: the index, as in production. */
  candidates?: (event: EventMessage) => LiveRule[];
}

export class RulePlay {
  readonly store: MemoryStore;
  private readonly ruleset: Ruleset;
  private readonly candidates: (event: EventMessage) => LiveRule[];
  private readonly counts: CountMemory;
  /** What was said last of a subject, per type and source: where a look may be owed. */
  private readonly lastSaid = new Map<string, EventMessage>();
  private readonly owing: boolean;
  private now = 0;
  private played = 0;

  constructor(private readonly play: Play) {
    const rules = play.rules.map(withoutObserving);
    this.ruleset = { id: 'play', rules };
    const index = new CandidateIndex(rules);
    this.candidates = play.candidates ?? ((event) => index.candidates(event));
    this.store = new MemoryStore(play.resources);
    this.counts = new CountMemory(rules.map(({ doc }) => doc));
    this.owing = (play.maintenance ?? []).length > 0 || rules.some(({ doc }) => doc.flapping !== undefined);
  }

  /** How far before the first event the events have to be known that facts count. */
  get countsBackMs(): number {
    return this.counts.longestMs;
  }

  /** An event of before the first one: it is only counted. */
  remember(event: EventMessage): void {
    this.counts.note(event, Date.parse(event.receivedAt));
  }

  /** Goes to the moment at which the event was received and judges it. */
  send(event: EventMessage): void {
    this.advance(Date.parse(event.receivedAt));
    if ((this.played += 1) % SWEEP_EVERY === 0) this.store.sweep(this.now);
    const candidates = this.candidates(event);
    if (this.owing && event.subject !== undefined) this.lastSaid.set(saidKey(event), event);
    if (candidates.length > 0 || event.state !== undefined) this.judge(event, candidates);
    this.counts.note(event, this.now);
  }

  private judge(event: EventMessage, candidates: LiveRule[]): void {
    const aims = candidates.map((rule) =>
      aim({
        event,
        rule,
        configs: this.play.configs,
        resource: (path) => this.store.resource(path) ?? unknownResource(path),
        members: (path) => this.store.members(path),
      }),
    );
    const seen = new Map(
      aims
        .flatMap(({ targets }) => targets)
        .flatMap((path) => {
          const known = this.store.resource(path);
          return known === undefined ? [] : [[path, known] as const];
        }),
    );
    const world = this.world(loadRequestOf([event], aims, this.play.configs, seen), aims);
    decideEvents(world, [event], new Map([[event, aims]]));
    this.settle(world);
  }

  /** Lets time pass: windows end, episodes are looked at, ladders go on. */
  advance(to: number): void {
    for (let moment = 0; ; moment += 1) {
      const due = this.store.nextDue(to);
      if (due === undefined) break;
      if (moment > MOMENTS_MAX) throw new Error(`something is due ${MOMENTS_MAX} times between two events`);
      this.now = Math.max(this.now, due);
      this.endWindows();
      this.lookAtEpisodes();
    }
    this.now = Math.max(this.now, to);
  }

  private endWindows(): void {
    const due = this.store.dueWaits(this.now);
    if (due.length === 0) return;
    const works = due.map((wait) => {
      const rule = this.ruleset.rules.find((one) => one.name === wait.rule);
      const subjects = wait.doc.events.flatMap((event) => event.subject ?? []);
      const known = [...subjects, ...(wait.doc.targets ?? [])].map(
        (path) => [path, this.store.resource(path) ?? unknownResource(path)] as const,
      );
      const members = new Map(subjects.map((path) => [path, this.store.members(path)]));
      const aim = rule && aimOf(rule, wait, this.play.configs, new Map(known), members);
      return { wait, rule, aim, clearedBy: rule && this.takenBack(rule, wait) };
    });
    const aims = works.flatMap((work) => work.aim ?? []);
    const request = loadRequestOf([], aims, this.play.configs, new Map());
    const world = this.world({ ...request, waits: [...request.waits, ...due] }, aims);
    for (const work of works) endWindow(world, work);
    this.settle(world);
  }

  private lookAtEpisodes(): void {
    const due = this.store.dueEpisodes(this.now);
    if (due.length === 0) return;
    const world = this.world({
      paths: due.map(({ episode }) => episode.resource),
      waits: [],
      budgets: this.budgets(due),
    });
    goOn(world, due, []);
    this.settle(world);
  }

  private budgets(rows: readonly EpisodeRow[]): LoadRequest['budgets'] {
    return rows.flatMap((row) => {
      const doc = this.ruleset.rules.find((one) => one.name === row.episode.rule)?.doc;
      if (doc === undefined) return [];
      const resource = this.store.resource(row.episode.resource) ?? unknownResource(row.episode.resource);
      return budgetKeysOf(row, doc, resource).map((key) => ({ ...key, doc }));
    });
  }

  /** An event that reports no state holds until the same source says otherwise of the same subject. */
  private takenBack(rule: LiveRule, { kind, doc }: WaitRow): string | undefined {
    const event = doc.events[0]!;
    if (kind !== 'debt' || event.state !== undefined || event.subject === undefined) return undefined;
    const last = this.lastSaid.get(saidKey(event));
    return last === undefined || onMismatch(rule, last) === undefined ? undefined : last.eventId;
  }

  private world(request: LoadRequest, aims: readonly Aim[] = []): World {
    const loaded = this.store.load(request, this.now);
    return new World(TENANT, this.now, this.play.configs, this.ruleset, NO_VERSIONS, loaded, this.around(aims));
  }

  private around(aims: readonly Aim[]): Around {
    const { tables = NOTHING_AROUND.tables, maintenance = NOTHING_AROUND.maintenance, configs } = this.play;
    const counting = aims.filter(({ rule }) => rule.doc.facts !== undefined);
    if (counting.length === 0) return { tables, maintenance, counts: NOTHING_AROUND.counts };
    const requests = counting.flatMap(({ rule, event }) =>
      countRequests(rule.doc, event, this.subjectOf(event), configs, this.now),
    );
    const asking = new Set(counting.map(({ event }) => event.eventId));
    return { tables, maintenance, counts: this.counts.read(requests, asking, this.now) };
  }

  private subjectOf({ subject }: EventMessage): Resource | undefined {
    return subject === undefined ? undefined : (this.store.resource(subject) ?? unknownResource(subject));
  }

  /** Keeps what was decided and lets the work end. */
  private settle(world: World): void {
    this.store.save(world);
    this.counts.noteEpisodes(world.dirty().episodes);
    const { verdict, decided } = this.play;
    if (verdict !== undefined) {
      for (const { eventId, verdicts } of [...world.traces, ...world.traceUpdates])
        for (const [rule, trace] of Object.entries(verdicts)) verdict(eventId, rule, trace);
    }
    for (const decision of world.decisions) {
      decided(decision);
      this.finish(decision);
    }
  }

  private finish({ id, targets }: DecisionRow): void {
    const world = this.world({ paths: targets, waits: [], budgets: [] });
    for (const row of world.allLive().filter(({ episode }) => episode.startId === id)) {
      const started = world.apply(row, { kind: 'started' });
      world.apply(started, { kind: 'closed', status: 'succeeded', at: this.now, ...world.goalInput(row.episode) });
    }
    this.store.save(world);
    this.counts.noteEpisodes(world.dirty().episodes);
  }
}

const saidKey = ({ subject, type, source }: EventMessage): string => [subject, type, source].join('\u0000');

function withoutObserving(rule: LiveRule): LiveRule {
  const { goal } = rule.doc;
  if (goal?.observe === undefined) return rule;
  const { observe: _observe, ...rest } = goal;
  return { ...rule, doc: { ...rule.doc, goal: rest } };
}
