import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { InternalCalls } from '@opsloop/contracts';
import { parseBody, ServiceOnly } from '@opsloop/platform';
import { z } from 'zod';
import { TellAgainService } from './tell-again.service.js';

/** As many as one turn of whoever asks. */
const TellBody = z.strictObject({ ids: z.array(z.uuid()).max(256) });

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/control/tell-again')
export class TellAgainController {
  constructor(private readonly service: TellAgainService) {}

  @Post()
  @HttpCode(200)
  async tell(@Body() body: unknown): Promise<InternalCalls['POST /internal/control/tell-again']['answer']> {
    return { messages: await this.service.messages(parseBody(TellBody, body).ids) };
  }
}
