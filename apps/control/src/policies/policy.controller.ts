import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { type DocumentView, type Page, type PutAnswer, type Tier, TIERS } from '@opsloop/contracts';
import { AnyDocument, ApiRoute, CurrentPrincipal, IsoTime, PageQuery, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import type { PolicyFinding } from './lint.pure.js';
import { type PolicyTest, type PolicyTestAnswer, PolicyTestService } from './policy-test.service.js';
import { PolicyService } from './policy.service.js';

/** As many as a team writes together; the rest is in force already. */
const DOCUMENTS_MAX = 50;
const TestBody = z.strictObject({
  flow: z.string().min(1).max(200),
  version: z.string().max(100).optional(),
  input: z.json().default({}),
  tier: z.enum(TIERS as [Tier, ...Tier[]]).default('P3'),
  /** Who would ask; default the caller. */
  initiator: z
    .strictObject({
      kind: z.enum(['rule', 'user', 'token', 'schedule', 'service']),
      name: z.string().max(200),
      team: z.string().max(200).optional(),
    })
    .optional(),
  rule: z.string().max(200).optional(),
  at: IsoTime.optional(),
  /** Documents that are not in force yet; they take the place of those with the same name. */
  policies: z.array(z.record(z.string(), z.json())).max(DOCUMENTS_MAX).default([]),
});

@ApiTags('policies')
@ApiBearerAuth()
@Controller('v1/policies')
export class PolicyController {
  constructor(
    private readonly policies: PolicyService,
    private readonly tests: PolicyTestService,
  ) {}

  @Get()
  @ApiRoute('List policies', { query: PageQuery })
  list(@Query() query: unknown): Promise<Page<DocumentView>> {
    return this.policies.list(parseQuery(PageQuery, query));
  }

  @Get('lint')
  @ApiRoute('Where the policies in force contradict each other, or can never be satisfied')
  lint(): Promise<{ items: PolicyFinding[] }> {
    return this.policies.lint();
  }

  @Post('test')
  @ApiRoute('What the policies would say to a start, now or at another time; also policies that are not in force yet', {
    body: TestBody,
  })
  @HttpCode(200)
  test(@Body() body: unknown, @CurrentPrincipal() principal: Principal): Promise<PolicyTestAnswer> {
    return this.tests.test(principal, parseBody(TestBody, body) as PolicyTest);
  }

  @Get(':domain/:name/versions')
  @ApiRoute('What a policy said before, newest first')
  versions(@Param('domain') domain: string, @Param('name') name: string): Promise<Page<DocumentView>> {
    return this.policies.versions(`${domain}/${name}`);
  }

  @Get(':domain/:name')
  @ApiRoute('A policy')
  get(@Param('domain') domain: string, @Param('name') name: string): Promise<DocumentView> {
    return this.policies.get(`${domain}/${name}`);
  }

  @Put(':domain/:name')
  @ApiRoute('Create or change a policy; what would not be evaluated is refused', { body: AnyDocument })
  async put(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Res({ passthrough: true }) reply: { status(code: number): unknown },
  ): Promise<PutAnswer> {
    const answer = await this.policies.put(principal, `${domain}/${name}`, body);
    reply.status(answer.change === 'created' ? 201 : 200);
    return answer;
  }

  @Delete(':domain/:name')
  @ApiRoute('Take a policy out of force')
  @HttpCode(204)
  remove(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @CurrentPrincipal() principal: Principal,
  ): Promise<void> {
    return this.policies.remove(principal, `${domain}/${name}`);
  }
}
