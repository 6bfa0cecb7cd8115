import { Inject, Injectable } from '@nestjs/common';
import type {
  DecisionView,
  EpisodeView,
  EventMessage,
  HoldsView,
  Page,
  ResourceView,
  RuleLine,
} from '@opsloop/contracts';
import { OpsError, pathPrefixes } from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import type { Principal } from '@opsloop/platform';
import { Clock, InternalClient } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { printLogic } from '@opsloop/rules';
import type { DecisionConfig } from '../config.js';
import { DECISION_CONFIG } from '../config.js';
import { viewOf } from '../decide/scope.pure.js';
import { step } from '../episodes/machine.pure.js';
import { unjudged } from '../index-rules/unjudged.pure.js';
import { unknownResource } from '../resources/merge.pure.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import { RuleCache } from '../rules/rule-cache.service.js';
import type { DecisionRow, TraceRow } from '../store/model.js';
import { WorldService } from '../store/world.service.js';
import type { PageOf } from './decisions.repository.js';
import { DecisionsRepository } from './decisions.repository.js';
import { eventText, resourceText, undecidedText } from './text.pure.js';
import { decisionView, episodeView } from './views.pure.js';

export interface EventExplanation {
  event: EventMessage;
  duplicateOf?: string;
  rules: RuleLine[];
  decisions: DecisionView[];
  text: string;
}

export interface ResourceExplanation {
  resource: ResourceView;
  episodes: EpisodeView[];
  last?: EpisodeView;
  locks: HoldsView['locks'];
  waiting: HoldsView['waiting'];
  halts: HoldsView['halts'];
  maintenance: HoldsView['maintenance'];
  decisions: DecisionView[];
  text: string;
}

/** Control answers in milliseconds; an explanation is better late by two seconds than missing. */
const HOLDS_TIMEOUT_MS = 2_000;

/** Answers "why" and "why not" from stored facts alone. */
@Injectable()
export class ExplainService {
  constructor(
    private readonly db: Database,
    private readonly repository: DecisionsRepository,
    private readonly resources: ResourceRepository,
    private readonly rules: RuleCache,
    private readonly worlds: WorldService,
    private readonly client: InternalClient,
    private readonly clock: Clock,
    @Inject(DECISION_CONFIG) private readonly config: DecisionConfig,
  ) {}

  async event(eventId: string): Promise<EventExplanation> {
    if (!isUuid(eventId)) throw new OpsError('not-found', `There is no event ${eventId}`);
    const trace = await this.repository.trace(eventId);
    if (trace === undefined) return this.undecided(eventId);
    const rules = await this.ruleLines(trace);
    const ids = Object.values(trace.verdicts).flatMap((verdict) => verdict.decisionIds ?? []);
    const decisions = await this.withRuns(await this.repository.decisionsOfEvent(eventId, ids));
    return {
      event: trace.event,
      ...(trace.event.replayOf === undefined ? {} : { duplicateOf: trace.event.replayOf }),
      rules,
      decisions,
      text: eventText(trace.event, trace.notes, rules, decisions),
    };
  }

  async resource(path: string): Promise<ResourceExplanation> {
    const resource = await this.resources.one(path);
    const live = (await this.repository.episodes({ resource: path, live: true }, { limit: 50 })).items;
    const last =
      live.length > 0 ? undefined : (await this.repository.episodes({ resource: path }, { limit: 1 })).items[0];
    const { holds, silent } = await this.holds(path);
    if (
      resource === undefined &&
      last === undefined &&
      live.length === 0 &&
      holds.locks.length === 0 &&
      holds.waiting.length === 0
    ) {
      throw new OpsError('not-found', `Nothing is known of ${path}`);
    }
    const known = resource ?? unknownResource(path);
    const decisions = await this.withRuns((await this.repository.decisions({ target: path }, { limit: 5 })).items);
    const story = {
      resource: known,
      episodes: live,
      ...(last === undefined ? {} : { last }),
      holds,
      controlSilent: silent,
      goals: await this.goals(live.map(({ episode }) => ({ name: episode.rule, version: episode.ruleVersion }))),
      now: this.clock.now().getTime(),
    };
    return {
      resource: viewOf(known) as unknown as ResourceView,
      episodes: live.map(episodeView),
      ...(last === undefined ? {} : { last: episodeView(last) }),
      ...holds,
      decisions,
      text: resourceText(story),
    };
  }

  async decisions(filter: Parameters<DecisionsRepository['decisions']>[0], page: PageOf): Promise<Page<DecisionView>> {
    const { items, nextCursor } = await this.repository.decisions(filter, page);
    return { items: await this.withRuns(items), ...(nextCursor === undefined ? {} : { nextCursor }) };
  }

  async decision(id: string): Promise<DecisionView> {
    const row = isUuid(id) ? await this.repository.decision(id) : undefined;
    if (row === undefined) throw new OpsError('not-found', `There is no decision ${id}`);
    return (await this.withRuns([row]))[0]!;
  }

  async episodes(filter: Parameters<DecisionsRepository['episodes']>[0], page: PageOf): Promise<Page<EpisodeView>> {
    const { items, nextCursor } = await this.repository.episodes(filter, page);
    return { items: items.map(episodeView), ...(nextCursor === undefined ? {} : { nextCursor }) };
  }

  async episode(id: string): Promise<EpisodeView> {
    const row = isUuid(id) ? await this.repository.episode(id) : undefined;
    if (row === undefined) throw new OpsError('not-found', `There is no episode ${id}`);
    return { ...episodeView(row), event: JSON.parse(JSON.stringify(row.event)) };
  }

  /** Lets the rule open a new episode for the resource before the cooldown is over. Repeating it changes nothing. */
  async reset(principal: Principal, id: string, reason: string): Promise<EpisodeView> {
    const found = isUuid(id) ? await this.repository.episode(id) : undefined;
    if (found === undefined) throw new OpsError('not-found', `There is no episode ${id}`);
    if (found.episode.state !== 'exhausted')
      throw new OpsError('conflict', `Episode ${id} is ${found.episode.state}; only an exhausted one is reset`);
    await this.db.inTransaction(principal.tenant, async (tx) => {
      const world = await this.worlds.load(tx, { paths: [found.episode.resource] });
      const { episode } = step(found.episode, { kind: 'reset', reason: `${principal.name}: ${reason}` }, world.now);
      world.putEpisode({
        ...found,
        episode: {
          ...episode!,
          reason: `${found.episode.reason ?? 'exhausted'}; reset by ${principal.name}: ${reason}`,
        },
      });
      await this.worlds.save(tx, world);
    });
    return this.episode(id);
  }

  async withRuns(rows: readonly DecisionRow[]): Promise<DecisionView[]> {
    const runs = await this.repository.runs(rows.map((row) => row.id));
    return rows.map((row) => decisionView(row, runs.get(row.id)));
  }

  /** One line per rule that was live: stored verdicts of candidates, the others judged again by their versions. */
  private async ruleLines(trace: TraceRow): Promise<RuleLine[]> {
    const live = await this.repository.ruleset(trace.ruleset);
    const versions = await this.rules.versions(
      this.db,
      live
        .filter(({ name }) => trace.verdicts[name] === undefined)
        .flatMap(({ name, version, trial }) => [
          { name, version },
          ...(trial === undefined ? [] : [{ name, version: trial.version }]),
        ]),
    );
    const lines = live.map(({ name, version: liveVersion, trial }): RuleLine => {
      // Where the live version only watched, the tried one had to act and was no candidate.
      const version = trial !== undefined && trace.verdicts[`${name}@${liveVersion}`] ? trial.version : liveVersion;
      const stored = trace.verdicts[name];
      if (stored !== undefined) {
        const { decisionIds, ...line } = stored;
        return { rule: name, ...line, ...(decisionIds?.[0] === undefined ? {} : { decisionId: decisionIds[0] }) };
      }
      const doc = versions.get(`${name}@${version}`);
      if (doc === undefined) return { rule: name, version, verdict: 'no-match', stage: 'on' };
      return { rule: name, ...unjudged({ name, version, digest: '', mode: 'active', doc }, trace) };
    });
    // A rule can judge a window after it left the ruleset of the event; its verdict must not be lost.
    for (const [name, stored] of Object.entries(trace.verdicts)) {
      if (live.some((rule) => rule.name === name)) continue;
      const { decisionIds: _ids, ...line } = stored;
      // A version that only watched stands under `name@version`.
      lines.push({ rule: name.split('@', 1)[0]!, ...line });
    }
    return lines;
  }

  /** Stored by event-ingest, and not (or no longer) here. */
  private async undecided(eventId: string): Promise<EventExplanation> {
    const event = await this.client.call('POST /internal/events/get', { eventId });
    const text = undecidedText(event, this.clock.now().getTime(), this.config.retentionMs);
    return { event, rules: [], decisions: [], text };
  }

  private async goals(named: readonly { name: string; version: string }[]): Promise<Record<string, string>> {
    const versions = await this.rules.versions(this.db, named);
    const goals: Record<string, string> = {};
    for (const { name, version } of named) {
      const goal = versions.get(`${name}@${version}`)?.goal;
      if (goal !== undefined) goals[name] = printLogic(goal.state);
    }
    return goals;
  }

  private async holds(path: string): Promise<{ holds: HoldsView; silent: boolean }> {
    try {
      return {
        holds: await this.client.call('POST /internal/control/holds', { path }, {}, { timeoutMs: HOLDS_TIMEOUT_MS }),
        silent: false,
      };
    } catch {
      const locks = (await this.repository.holdsOn(path, pathPrefixes(path))).map((hold) => ({
        fence: '',
        path: hold.path,
        mode: 'exclusive',
        owner: hold.flow ?? hold.runId,
        runId: hold.runId,
        since: hold.since,
        state: 'held',
      }));
      return { holds: { locks, waiting: [], halts: [], maintenance: [] }, silent: true };
    }
  }
}
