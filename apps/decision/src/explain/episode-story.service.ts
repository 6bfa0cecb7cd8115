import { Injectable } from '@nestjs/common';
import type { DecisionView, EpisodeView, EventMessage, JsonObject, ResourceView } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { viewOf } from '../decide/scope.pure.js';
import { isLive } from '../episodes/machine.pure.js';
import { unknownResource } from '../resources/merge.pure.js';
import { ResourceRepository } from '../resources/resource.repository.js';
import type { RuleTrace } from '../store/model.js';
import type { StateChange } from './decisions.repository.js';
import { DecisionsRepository } from './decisions.repository.js';
import { ExplainService } from './explain.service.js';
import { episodeView } from './views.pure.js';

const TENANT = 'default';
/** Events and decisions of one story: a person reads some dozen, a noisy source sends some hundred. */
const STORY_MAX = 1_000;
/** Windows before the first start: what came this long before it may be part of why. */
const BEFORE_MS = 3_600_000;

export interface EpisodeStory {
  episode: EpisodeView;
  /** As they are declared today, with the state of today. */
  resources: ResourceView[];
  /** Of its resource from the first cause on, oldest first, with what the rules said of each. */
  events: { event: EventMessage; verdicts: Record<string, RuleTrace> }[];
  changes: StateChange[];
  decisions: DecisionView[];
  /** More happened than is told. */
  cut: boolean;
}

/** Everything that is stored of one episode: what `opsloop test record` makes a scenario of. */
@Injectable()
export class EpisodeStoryService {
  constructor(
    private readonly db: Database,
    private readonly repository: DecisionsRepository,
    private readonly resources: ResourceRepository,
    private readonly explain: ExplainService,
    private readonly clock: Clock,
  ) {}

  async story(id: string): Promise<EpisodeStory> {
    const row = isUuid(id) ? await this.repository.episode(id) : undefined;
    if (row === undefined) throw new OpsError('not-found', `There is no episode ${id}`);
    const { episode, event } = row;
    const decisions = await this.db.query<{ id: string; targets: string[] }>(
      `SELECT id, targets FROM decision.decision WHERE tenant = $1 AND rule = $2 AND at >= $3 AND episodes @> $4::jsonb ORDER BY at, id LIMIT $5`,
      [TENANT, episode.rule, new Date(episode.openedAt - 1), JSON.stringify([{ id }]), STORY_MAX],
    );
    const paths = [
      ...new Set([episode.resource, event.subject ?? [], ...decisions.map(({ targets }) => targets)].flat()),
    ];
    const since = new Date(Math.min(episode.openedAt - BEFORE_MS, Date.parse(event.receivedAt))).toISOString();
    const until = isLive(episode) ? this.clock.now() : new Date(episode.changedAt);
    const events = await this.events(paths, since, until.toISOString());
    const known = await this.resources.byPaths(this.db, paths);
    // What came long before belongs to it only when the rule waited with it.
    const first = Math.min(
      Date.parse(event.receivedAt),
      ...events.flatMap((one) => (waited(one.verdicts[episode.rule]) ? [Date.parse(one.event.receivedAt)] : [])),
    );
    const mine = events.filter((one) => Date.parse(one.event.receivedAt) >= first);
    return {
      episode: { ...episodeView(row), event: JSON.parse(JSON.stringify(event)) },
      resources: paths.map((path) => viewOf(known.get(path) ?? unknownResource(path)) as unknown as ResourceView),
      events: mine,
      changes: await this.repository.stateChanges(paths, new Date(first).toISOString(), until.toISOString()),
      decisions: await this.explain.withRuns(await this.repository.decisionsByIds(decisions.map((one) => one.id))),
      cut: events.length >= STORY_MAX || decisions.length >= STORY_MAX,
    };
  }

  private async events(
    paths: readonly string[],
    since: string,
    until: string,
  ): Promise<{ event: EventMessage; verdicts: Record<string, RuleTrace> }[]> {
    const rows = await this.db.query<{ event: EventMessage & JsonObject; verdicts: Record<string, RuleTrace> }>(
      `SELECT event, verdicts FROM decision.trace WHERE tenant = $1 AND subject = ANY ($2) AND at >= $3 AND at <= $4 ORDER BY at, event_id LIMIT $5`,
      [TENANT, paths, since, until, STORY_MAX],
    );
    return rows.filter(({ event }) => event.replayOf === undefined);
  }
}

/** It was decided, or waited and became part of what was. */
function waited(trace: RuleTrace | undefined): boolean {
  return trace !== undefined && (trace.decisionIds?.length ?? 0) > 0;
}
