import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { DecisionView, EpisodeView, Page } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, IsoTime, PageQuery, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { PathText } from '../resources/resources.service.js';
import type { EpisodeStory } from './episode-story.service.js';
import { EpisodeStoryService } from './episode-story.service.js';
import type { EventExplanation, ResourceExplanation } from './explain.service.js';
import { ExplainService } from './explain.service.js';

const ResourceQuery = z.strictObject({ resource: PathText });
const DecisionsQuery = z.strictObject({
  ...PageQuery.shape,
  rule: z.string().max(200).optional(),
  event: z.uuid().optional(),
  target: PathText.optional(),
  since: IsoTime.optional(),
});
const EpisodesQuery = z.strictObject({
  ...PageQuery.shape,
  rule: z.string().max(200).optional(),
  resource: PathText.optional(),
  state: z.enum(['pending', 'acting', 'verifying', 'steady', 'converged', 'exhausted', 'withdrawn']).optional(),
  live: z.stringbool().optional(),
});
const ReasonBody = z.strictObject({ reason: z.string().min(1).max(1_000) });

@ApiTags('explain')
@Controller('v1')
export class ExplainController {
  constructor(
    private readonly service: ExplainService,
    private readonly stories: EpisodeStoryService,
  ) {}

  @Get('events/:eventId/explain')
  @ApiRoute('What each rule made of an event: why, or why not')
  event(@Param('eventId') eventId: string): Promise<EventExplanation> {
    return this.service.event(eventId);
  }

  @Get('explain')
  @ApiRoute('A resource: state, episode, who holds it, what waits, what comes next', { query: ResourceQuery })
  resource(@Query() query: unknown): Promise<ResourceExplanation> {
    return this.service.resource(parseQuery(ResourceQuery, query).resource);
  }

  @Get('decisions')
  @ApiRoute('Decisions, newest first', { query: DecisionsQuery })
  decisions(@Query() query: unknown): Promise<Page<DecisionView>> {
    const { limit, cursor, ...filter } = parseQuery(DecisionsQuery, query);
    return this.service.decisions(filter, { limit, cursor });
  }

  @Get('decisions/:id')
  @ApiRoute('One decision with its trace')
  decision(@Param('id') id: string): Promise<DecisionView> {
    return this.service.decision(id);
  }

  @Get('episodes')
  @ApiRoute('Episodes, newest first', { query: EpisodesQuery })
  episodes(@Query() query: unknown): Promise<Page<EpisodeView>> {
    const { limit, cursor, ...filter } = parseQuery(EpisodesQuery, query);
    return this.service.episodes(filter, { limit, cursor });
  }

  @Get('episodes/:id')
  @ApiRoute('One episode')
  episode(@Param('id') id: string): Promise<EpisodeView> {
    return this.service.episode(id);
  }

  @Get('episodes/:id/story')
  @ApiRoute('All that is stored of one episode: events and what rules said of them, changes of state, decisions')
  story(@Param('id') id: string): Promise<EpisodeStory> {
    return this.stories.story(id);
  }

  @Post('episodes/:id/reset')
  @ApiRoute('Let an exhausted episode begin again, with a reason', { body: ReasonBody })
  @HttpCode(200)
  reset(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Body() body: unknown,
  ): Promise<EpisodeView> {
    return this.service.reset(principal, id, parseBody(ReasonBody, body).reason);
  }
}
