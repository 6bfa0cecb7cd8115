import type { AgreementView } from '@opsloop/contracts';
import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { durationMs, isDuration } from '@opsloop/contracts';
import { ApiRoute, Clock, parseQuery } from '@opsloop/platform';
import { z } from 'zod';
import { AgreementService } from './agreement.service.js';

const Moment = z
  .string()
  .max(64)
  .refine((text) => isDuration(text) || !Number.isNaN(Date.parse(text)), 'must be a time or a duration such as 7d');
const AgreementQuery = z.strictObject({
  since: Moment.optional(),
  until: Moment.optional(),
  version: z.string().max(64).optional(),
  against: z.string().max(200).optional(),
  outcome: z.enum(['agreed', 'differently', 'more', 'less']).optional(),
  limit: z.coerce.number().int().min(0).max(500).optional(),
});

/** Rules that only watch, and versions that are tried on a part. */
@ApiTags('rules')
@Controller('v1/rules')
export class TrialsController {
  constructor(
    private readonly agreement: AgreementService,
    private readonly clock: Clock,
  ) {}

  @Get('trials')
  @ApiRoute('Rules that only watch or try a version, with how far they agree with what was done')
  trials(): Promise<{ items: AgreementView[] }> {
    return this.agreement.trials();
  }

  @Get(':domain/:name/agreement')
  @ApiRoute('What a rule or a version in shadow would have done beside what the live version and people did', {
    query: AgreementQuery,
  })
  of(@Param('domain') domain: string, @Param('name') name: string, @Query() query: unknown): Promise<AgreementView> {
    const { since, until, ...rest } = parseQuery(AgreementQuery, query);
    return this.agreement.agreement(`${domain}/${name}`, { ...rest, since: this.at(since), until: this.at(until) });
  }

  private at(text: string | undefined): string | undefined {
    if (text === undefined) return undefined;
    const ms = isDuration(text) ? this.clock.now().getTime() - durationMs(text) : Date.parse(text);
    return new Date(ms).toISOString();
  }
}
