import type { BacktestView } from '@opsloop/contracts';
import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { durationMs, isDuration, OpsError } from '@opsloop/contracts';
import { ApiRoute, Clock, CurrentPrincipal, parseBody } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { PathText } from '../resources/resources.service.js';
import { BacktestService } from './backtest.service.js';

/** A change of rules is reviewed by a person; whole sets are compared in parts. */
const RULES_MAX = 100;
const Moment = z
  .string()
  .max(64)
  .refine((text) => isDuration(text) || !Number.isNaN(Date.parse(text)), 'must be a time or a duration such as 7d');
const BacktestBody = z
  .strictObject({
    rules: z.array(z.json()).max(RULES_MAX).default([]),
    remove: z.array(z.string().max(256)).max(RULES_MAX).default([]),
    since: Moment,
    until: Moment.optional(),
    under: PathText.optional(),
  })
  .refine(({ rules, remove }) => rules.length + remove.length > 0, {
    message: 'name at least one rule that changes or goes',
    path: ['rules'],
  });

@ApiTags('rules')
@Controller('v1/rules/backtest')
export class BacktestController {
  constructor(
    private readonly backtests: BacktestService,
    private readonly clock: Clock,
  ) {}

  @Post()
  @ApiRoute('What changed rules would have decided on stored events; nothing starts', { body: BacktestBody })
  @HttpCode(202)
  begin(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<BacktestView> {
    const { since, until, ...rest } = parseBody(BacktestBody, body);
    const now = this.clock.now().getTime();
    const range = { since: momentOf(since, now), until: momentOf(until ?? '0s', now) };
    if (range.since >= range.until)
      throw new OpsError('validation', 'The range is empty: since is not before until', {
        errors: [{ pointer: '/since', message: 'must be before until' }],
      });
    return this.backtests.begin(principal, { ...rest, ...range });
  }

  @Get(':id')
  @ApiRoute('How far a backtest is, and its result')
  get(@Param('id') id: string): Promise<BacktestView> {
    return this.backtests.get(id);
  }
}

function momentOf(text: string, now: number): string {
  return new Date(isDuration(text) ? now - durationMs(text) : Date.parse(text)).toISOString();
}
