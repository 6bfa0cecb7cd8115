/**
 * Rules played over events in virtual time: the same stages, windows, episodes and ladders as in production, with a
 * world in memory and nobody who works. What a run would do is not known: each ends at once, with success, and what it
 * changed is what the events say. Observing is left out for the same reason; the last report counts.
 */
import type { EventMessage } from '@opsloop/contracts';
import { aim } from '../decide/aim.pure.js';
import { decideEvents } from '../decide/batch.pure.js';
import { loadRequestOf } from '../decide/load-request.pure.js';
import { aimOf, endWindow } from '../decide/windows.pure.js';
import { World } from '../decide/world.pure.js';
import { budgetKeysOf, goOn } from '../episodes/go-on.pure.js';
import { CandidateIndex } from '../index-rules/candidate-index.pure.js';
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
} from '../store/model.js';
import { MemoryStore } from './memory-store.pure.js';

const TENANT = 'default';
/** Ended windows are dropped each so many events: a walk over what is left costs less than what it keeps away. */
const SWEEP_EVERY = 1_000;
/** Moments at which something is due between two events; a ladder of an hour has some hundred. */
const MOMENTS_MAX = 100_000;

export interface Play {
  rules: readonly LiveRule[];
  configs: Configs;
  resources: readonly Resource[];
  /** Hears each verdict; a window that ends changes what was said of its events. */
  verdict?: (eventId: string, rule: string, trace: RuleTrace) => void;
  /** Hears each decision. */
  decided: (decision: DecisionRow) => void;
}

export class RulePlay {
  readonly store: MemoryStore;
  private readonly ruleset: Ruleset;
  private readonly index: CandidateIndex;
  private now = 0;
  private played = 0;

  constructor(private readonly play: Play) {
    const rules = play.rules.map(withoutObserving);
    this.ruleset = { id: 'play', rules };
    this.index = new CandidateIndex(rules);
    this.store = new MemoryStore(play.resources);
  }

  /** Goes to the moment at which the event was received and judges it. */
  send(event: EventMessage): void {
    this.advance(Date.parse(event.receivedAt));
    if ((this.played += 1) % SWEEP_EVERY === 0) this.store.sweep(this.now);
    const candidates = this.index.candidates(event);
    if (candidates.length === 0 && event.state === undefined) return;
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
    const world = this.world(loadRequestOf([event], aims, this.play.configs, seen));
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
      return { wait, rule, aim: rule && aimOf(rule, wait, this.play.configs, new Map(known), members) };
    });
    const aims = works.flatMap((work) => work.aim ?? []);
    const request = loadRequestOf([], aims, this.play.configs, new Map());
    const world = this.world({ ...request, waits: [...request.waits, ...due] });
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

  private world(request: LoadRequest): World {
    const { configs } = this.play;
    return new World(TENANT, this.now, configs, this.ruleset, new Map(), this.store.load(request, this.now));
  }

  /** Keeps what was decided and lets the work end. */
  private settle(world: World): void {
    this.store.save(world);
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
  }
}

function withoutObserving(rule: LiveRule): LiveRule {
  const { goal } = rule.doc;
  if (goal?.observe === undefined) return rule;
  const { observe: _observe, ...rest } = goal;
  return { ...rule, doc: { ...rule.doc, goal: rest } };
}
