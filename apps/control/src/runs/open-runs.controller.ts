import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { InternalCalls } from '@opsloop/contracts';
import { parseBody, ServiceOnly } from '@opsloop/platform';
import { z } from 'zod';
import { OpenRunsService } from './open-runs.service.js';

/** As many documents as the catalog checks together. */
const OpenRunsBody = z.strictObject({ flows: z.array(z.string().max(200)).max(500) });

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/control/open-runs')
export class OpenRunsController {
  constructor(private readonly service: OpenRunsService) {}

  @Post()
  @HttpCode(200)
  async open(@Body() body: unknown): Promise<InternalCalls['POST /internal/control/open-runs']['answer']> {
    return { open: await this.service.count(parseBody(OpenRunsBody, body).flows) };
  }
}
