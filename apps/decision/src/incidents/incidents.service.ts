import { Injectable } from '@nestjs/common';
import type { IncidentSummary, IncidentView, Page } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import type { PageOf } from '../explain/decisions.repository.js';
import { DecisionsRepository } from '../explain/decisions.repository.js';
import { ExplainService } from '../explain/explain.service.js';
import { episodeView } from '../explain/views.pure.js';
import type { IncidentFilter } from './incident.pure.js';
import { storyOfIncident, summaryOf } from './incident.pure.js';
import { IncidentsRepository } from './incidents.repository.js';

/** A state that comes late still belongs to the story: reports and looks take seconds. */
const AFTER_MS = 60_000;

/** Episodes that belong together, as one story. */
@Injectable()
export class IncidentsService {
  constructor(
    private readonly incidents: IncidentsRepository,
    private readonly decisions: DecisionsRepository,
    private readonly explain: ExplainService,
  ) {}

  async list(filter: IncidentFilter, page: PageOf): Promise<Page<IncidentSummary>> {
    const { items, nextCursor } = await this.incidents.list(filter, page);
    return { items: items.map(summaryOf), ...(nextCursor === undefined ? {} : { nextCursor }) };
  }

  async one(id: string): Promise<IncidentView> {
    const row = isUuid(id) ? await this.incidents.one(id) : undefined;
    if (row === undefined) throw new OpsError('not-found', `There is no incident ${id}`);
    const episodes = await this.incidents.episodes(id);
    const rows = await this.decisions.decisionsByIds(await this.incidents.decisionIds(id, row.openedAt));
    const decisions = await this.explain.withRuns(rows);
    const from = [row.openedAt, ...episodes.map(({ event }) => event.time)].sort()[0]!;
    const until = row.open > 0 ? undefined : new Date(Date.parse(row.changedAt) + AFTER_MS).toISOString();
    const changes = await this.decisions.stateChanges(
      [...new Set(episodes.map(({ episode }) => episode.resource))],
      from,
      until,
    );
    const runs = await this.incidents.runs(rows.map((one) => one.id));
    return {
      ...summaryOf(row),
      episodeList: episodes.map(episodeView),
      decisions,
      story: storyOfIncident({ episodes, decisions, runs, changes }),
    };
  }
}
