import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { DocumentView, Page, PutAnswer } from '@opsloop/contracts';
import {
  AnyDocument,
  ApiRoute,
  BodyLimit,
  CurrentPrincipal,
  PageQuery,
  parseBody,
  parseQuery,
} from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import type { Reply } from '../reply.js';
import { z } from 'zod';
import { RulesService } from './rules.service.js';
import { RuleTestService } from './rule-test.service.js';
import type { RuleTestAnswer } from './rule-test.service.js';

/** Verified runs that are looked back at; more would take days to see that a version is bad. */
const TRIAL_RUNS_MAX = 100;
const PutQuery = z.strictObject({ live: z.stringbool().default(true) });
const PatchBody = z.strictObject({
  mode: z.enum(['active', 'shadow', 'disabled']).optional(),
  rollout: z
    .strictObject({
      percent: z.number().min(0).max(100).optional(),
      by: z.json().optional(),
      version: z.string().max(64).optional(),
      failures: z.number().int().min(1).max(TRIAL_RUNS_MAX).optional(),
      of: z.number().int().min(1).max(TRIAL_RUNS_MAX).optional(),
    })
    .nullable()
    .optional(),
  live: z.string().max(64).optional(),
  reason: z.string().min(1).max(1_000),
});
/** The largest set that one team runs, with room: judging looks rules up, so their number is bounded by memory. */
const MANY_MAX = 10_000;
/** 10,000 rules of 1.6 KB; a long rule has 2. */
const MANY_BYTES_MAX = 16 * 1024 * 1024;
const ManyBody = z.strictObject({ items: z.array(z.unknown()).min(1).max(MANY_MAX) });
const TestBody = z.strictObject({ rule: z.json(), event: z.json(), resource: z.json().optional() });

@ApiTags('rules')
@Controller('v1/rules')
export class RulesController {
  constructor(
    private readonly rules: RulesService,
    private readonly tests: RuleTestService,
  ) {}

  @Get()
  @ApiRoute('Rules, the live version of each', { query: PageQuery })
  list(@Query() query: unknown): Promise<Page<DocumentView>> {
    return this.rules.list(parseQuery(PageQuery, query));
  }

  @Put()
  @ApiRoute('Publish a whole set of rules: all of them judge from one moment on, or none', { body: ManyBody })
  @BodyLimit(MANY_BYTES_MAX)
  putMany(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<{ items: PutAnswer[] }> {
    return this.rules.putMany(principal, parseBody(ManyBody, body).items);
  }

  @Post('test')
  @ApiRoute('What a rule would decide on an event: the trace and the decision; nothing starts', { body: TestBody })
  @HttpCode(200)
  test(@Body() body: unknown): Promise<RuleTestAnswer> {
    return this.tests.test(parseBody(TestBody, body));
  }

  @Put(':domain/:name')
  @ApiRoute('Publish a version of a rule; with live=false only store it beside the live one, to be tried', {
    body: AnyDocument,
    query: PutQuery,
  })
  async put(
    @CurrentPrincipal() principal: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @Query() query: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<PutAnswer> {
    const answer = await this.rules.put(principal, `${domain}/${name}`, body, parseQuery(PutQuery, query).live);
    // A new version is a new thing, also of a known name.
    void reply.status(answer.change === 'unchanged' ? 200 : 201);
    return answer;
  }

  @Patch(':domain/:name')
  @ApiRoute('Change the mode or the rollout of a rule, or which version is live, with a reason', { body: PatchBody })
  patch(
    @CurrentPrincipal() principal: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
  ): Promise<DocumentView> {
    return this.rules.patch(principal, `${domain}/${name}`, parseBody(PatchBody, body));
  }

  @Get(':domain/:name')
  @ApiRoute('The live version of a rule')
  get(@Param('domain') domain: string, @Param('name') name: string): Promise<DocumentView> {
    return this.rules.get(`${domain}/${name}`);
  }

  @Get(':domain/:name/versions')
  @ApiRoute('All versions, newest first')
  versions(@Param('domain') domain: string, @Param('name') name: string): Promise<Page<DocumentView>> {
    return this.rules.versions(`${domain}/${name}`);
  }

  @Get(':domain/:name/versions/:version')
  @ApiRoute('One version')
  version(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Param('version') version: string,
  ): Promise<DocumentView> {
    return this.rules.get(`${domain}/${name}`, version);
  }

  @Delete(':domain/:name')
  @ApiRoute('Take a rule out of use; its history stays')
  @HttpCode(204)
  remove(
    @CurrentPrincipal() principal: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
  ): Promise<void> {
    return this.rules.remove(principal, `${domain}/${name}`);
  }
}
