import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { IncidentSummary, IncidentView, Page } from '@opsloop/contracts';
import { TIERS } from '@opsloop/contracts';
import { ApiRoute, PageQuery, parseQuery } from '@opsloop/platform';
import { z } from 'zod';
import { PathText } from '../resources/resources.service.js';
import { IncidentsService } from './incidents.service.js';

const IncidentsQuery = z.strictObject({
  ...PageQuery.shape,
  state: z.enum(['open', 'closed']).optional(),
  rule: z.string().max(200).optional(),
  under: PathText.optional(),
  tier: z.enum(TIERS as [string, ...string[]]).optional(),
  since: z.iso.datetime({ offset: true }).optional(),
});

@ApiTags('incidents')
@Controller('v1/incidents')
export class IncidentsController {
  constructor(private readonly service: IncidentsService) {}

  @Get()
  @ApiRoute('Incidents, newest first: episodes that belong together', { query: IncidentsQuery })
  list(@Query() query: unknown): Promise<Page<IncidentSummary>> {
    const { limit, cursor, ...filter } = parseQuery(IncidentsQuery, query);
    return this.service.list(filter as Parameters<IncidentsService['list']>[0], { limit, cursor });
  }

  @Get(':id')
  @ApiRoute('One incident with its episodes, its decisions and its story')
  one(@Param('id') id: string): Promise<IncidentView> {
    return this.service.one(id);
  }
}
