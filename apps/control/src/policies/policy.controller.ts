import { Body, Controller, Delete, Get, HttpCode, Param, Put, Query, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import type { DocumentView, Page, PutAnswer } from '@opsloop/contracts';
import { AnyDocument, ApiRoute, CurrentPrincipal, PageQuery, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { PolicyService } from './policy.service.js';

@ApiTags('policies')
@ApiBearerAuth()
@Controller('v1/policies')
export class PolicyController {
  constructor(private readonly policies: PolicyService) {}

  @Get()
  @ApiRoute('List policies', { query: PageQuery })
  list(@Query() query: unknown): Promise<Page<DocumentView>> {
    return this.policies.list(parseQuery(PageQuery, query));
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
    const answer = await this.policies.put(principal.tenant, `${domain}/${name}`, body, principal.name);
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
    return this.policies.remove(principal.tenant, `${domain}/${name}`, principal.name);
  }
}
