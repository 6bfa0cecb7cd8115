import { Readable } from 'node:stream';
import { Body, Controller, Get, HttpCode, Param, Post, Query, StreamableFile } from '@nestjs/common';
import { ApiBearerAuth, ApiExcludeController, ApiProduces, ApiTags } from '@nestjs/swagger';
import { LOG_BATCH_MAX, LOG_LINE_CHARS_MAX, LOG_STREAMS, type LogEntry, type Page } from '@opsloop/contracts';
import type { InternalCalls } from '@opsloop/contracts';
import {
  ApiRoute,
  BodyLimit,
  CurrentPrincipal,
  IsoTime,
  PageQuery,
  parseBody,
  parseQuery,
  ServiceOnly,
} from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { LogsService } from './logs.service.js';

type Call = InternalCalls['POST /internal/runs/:id/logs'];

const TENANT = 'default';
/** 500 lines of 2,000 characters, each up to four bytes and escaped. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024;

const LogsQuery = z.strictObject({
  ...PageQuery.shape,
  step: z.string().max(2_000).optional().describe('instance path of one step'),
  follow: z
    .enum(['true', 'false'])
    .optional()
    .describe('true: lines as they come, as application/x-ndjson, until the run has ended'),
});

const Batch = z.strictObject({
  step: z.string().min(1).max(2_000),
  attempt: z.int().min(1),
  lines: z
    .array(z.strictObject({ at: IsoTime, stream: z.enum(LOG_STREAMS), text: z.string().max(LOG_LINE_CHARS_MAX) }))
    .max(LOG_BATCH_MAX),
});

@ApiTags('runs')
@ApiBearerAuth()
@Controller('v1/runs/:id/logs')
export class LogsController {
  constructor(private readonly logs: LogsService) {}

  @Get()
  @ApiRoute('Lines that its steps said: a page, or with follow=true all of them as they come', { query: LogsQuery })
  @ApiProduces('application/json', 'application/x-ndjson')
  async read(
    @Param('id') id: string,
    @Query() query: unknown,
    @CurrentPrincipal() { tenant }: Principal,
  ): Promise<Page<LogEntry> | StreamableFile> {
    const { follow, ...filter } = parseQuery(LogsQuery, query);
    if (follow !== 'true') return this.logs.page(tenant, id, filter);
    const lines = await this.logs.follow(tenant, id, filter);
    return new StreamableFile(Readable.from(lines, { objectMode: false }), {
      type: 'application/x-ndjson; charset=utf-8',
    });
  }

  @BodyLimit(BATCH_BYTES_MAX)
  @Post()
  @ApiRoute('Adds lines of a step: for workers of atoms outside of the platform', { body: Batch })
  @HttpCode(200)
  add(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() { tenant }: Principal,
  ): Promise<{ kept: number }> {
    return this.logs.append(tenant, id, parseBody(Batch, body));
  }
}

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/runs/:id/logs')
export class InternalLogsController {
  constructor(private readonly logs: LogsService) {}

  @BodyLimit(BATCH_BYTES_MAX)
  @Post()
  @HttpCode(200)
  add(@Param('id') id: string, @Body() body: Call['body']): Promise<Call['answer']> {
    return this.logs.append(TENANT, id, body);
  }
}
