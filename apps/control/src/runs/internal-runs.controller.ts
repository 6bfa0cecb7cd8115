import { Body, Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { InternalCalls } from '@opsloop/contracts';
import { BodyLimit, ServiceOnly } from '@opsloop/platform';
import { InternalRunsService } from './internal-runs.service.js';

type Calls = InternalCalls;

const OUTCOME_BYTES_MAX = 8 * 1024 * 1024;

/** What the interpreter asks of control while a run is open. The bodies come from our own code alone. */
@ApiExcludeController()
@ServiceOnly()
@Controller('internal/runs/:id')
export class InternalRunsController {
  constructor(private readonly runs: InternalRunsService) {}

  // 2,000 steps with their titles and problems and an output of up to 512 K characters: refused, it would be lost.
  @BodyLimit(OUTCOME_BYTES_MAX)
  @Post('outcome')
  @HttpCode(200)
  outcome(
    @Param('id') id: string,
    @Body() body: Calls['POST /internal/runs/:id/outcome']['body'],
  ): Promise<Calls['POST /internal/runs/:id/outcome']['answer']> {
    return this.runs.outcome(id, body);
  }

  @Post('claims')
  @HttpCode(200)
  claims(
    @Param('id') id: string,
    @Body() body: Calls['POST /internal/runs/:id/claims']['body'],
  ): Promise<Calls['POST /internal/runs/:id/claims']['answer']> {
    return this.runs.claim(id, body);
  }

  @Post('release')
  @HttpCode(200)
  release(
    @Param('id') id: string,
    @Body() body: Calls['POST /internal/runs/:id/release']['body'],
  ): Promise<Calls['POST /internal/runs/:id/release']['answer']> {
    return this.runs.release(id, body);
  }

  @Post('ir')
  @HttpCode(200)
  ir(
    @Body() body: Calls['POST /internal/runs/:id/ir']['body'],
  ): Promise<Calls['POST /internal/runs/:id/ir']['answer']> {
    return this.runs.ir(body.digest);
  }
}
