import { Body, Controller, Delete, Get, HttpCode, Param, Put, Query, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import type { DocumentView, Page, PutAnswer } from '@opsloop/contracts';
import { AnyDocument, ApiRoute, CurrentPrincipal, PageQuery, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { SourceService } from './source.service.js';

@ApiTags('sources')
@ApiBearerAuth()
@Controller('v1/sources')
export class SourceController {
  constructor(private readonly sources: SourceService) {}

  @Get()
  @ApiRoute('List sources', { query: PageQuery })
  list(@Query() query: unknown, @CurrentPrincipal() principal: Principal): Promise<Page<DocumentView>> {
    return this.sources.list(principal.tenant, parseQuery(PageQuery, query));
  }

  @Get(':name')
  @ApiRoute('A source; its secrets are shown as ***')
  get(@Param('name') name: string, @CurrentPrincipal() principal: Principal): Promise<DocumentView> {
    return this.sources.get(principal.tenant, name);
  }

  @Put(':name')
  @ApiRoute('Create or change a source; a secret of *** keeps the stored one', { body: AnyDocument })
  async put(
    @Param('name') name: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
    @Res({ passthrough: true }) reply: { status(code: number): unknown },
  ): Promise<PutAnswer> {
    const answer = await this.sources.put(principal.tenant, name, body, principal.name);
    reply.status(answer.change === 'created' ? 201 : 200);
    return answer;
  }

  @Delete(':name')
  @ApiRoute('Delete a source; its events stay')
  @HttpCode(204)
  remove(@Param('name') name: string, @CurrentPrincipal() principal: Principal): Promise<void> {
    return this.sources.remove(principal.tenant, name, principal.name);
  }
}
