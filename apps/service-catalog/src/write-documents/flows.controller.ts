import { Body, Controller, Get, HttpCode, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiBody, ApiCreatedResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { ApiRoute, CurrentPrincipal, PageQuery, parseBody, parseQuery, type Principal } from '@opsloop/platform';
import { PutAnswer, StoredPage, StoredVersion, VersionAct, VersionActAnswer } from '../answers.pure.js';
import { type Reply, replyPut, VersionedBody } from './reply.js';
import { DocumentWriter } from './document-writer.service.js';
import { FlowLifecycle } from './flow-lifecycle.service.js';
import { DocumentReader } from './document-reader.service.js';

@ApiTags('flows')
@Controller('v1/flows')
export class FlowsController {
  constructor(
    private readonly writer: DocumentWriter,
    private readonly reader: DocumentReader,
    private readonly lifecycle: FlowLifecycle,
  ) {}

  @Get()
  @ApiRoute('Flows, the newest version of each', { query: PageQuery })
  @ApiOkResponse({ standardSchema: StoredPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.reader.list(who.tenant, 'flow', parseQuery(PageQuery, query));
  }

  @Put(':domain/:name')
  @ApiRoute('Keep a version of a flow as a draft; a draft may be overwritten until it is published')
  @ApiBody(VersionedBody)
  @ApiCreatedResponse({ standardSchema: PutAnswer, description: 'a new version' })
  @ApiOkResponse({ standardSchema: PutAnswer, description: 'an equal version, or a draft that was overwritten' })
  async put(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    return replyPut(reply, await this.writer.put(who, 'flow', `${domain}/${name}`, body));
  }

  @Get(':domain/:name')
  @ApiRoute('The newest published version, or the newest draft while none is published')
  @ApiOkResponse({ standardSchema: StoredVersion })
  get(@CurrentPrincipal() who: Principal, @Param('domain') domain: string, @Param('name') name: string) {
    return this.reader.get(who.tenant, 'flow', `${domain}/${name}`);
  }

  @Get(':domain/:name/versions')
  @ApiRoute('All versions, newest first', { query: PageQuery })
  @ApiOkResponse({ standardSchema: StoredPage })
  versions(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Query() query: unknown,
  ) {
    return this.reader.versions(who.tenant, 'flow', `${domain}/${name}`, parseQuery(PageQuery, query));
  }

  @Get(':domain/:name/versions/:version')
  @ApiRoute('One version')
  @ApiOkResponse({ standardSchema: StoredVersion })
  version(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Param('version') version: string,
  ) {
    return this.reader.get(who.tenant, 'flow', `${domain}/${name}`, version);
  }

  @Post(':domain/:name/publish')
  @ApiRoute('Publish a version: from now on it can start and never changes; every reference must resolve', {
    body: VersionAct,
  })
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: VersionActAnswer })
  publish(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
  ) {
    return this.lifecycle.publish(who, `${domain}/${name}`, parseBody(VersionAct, body));
  }

  @Post(':domain/:name/rollback')
  @ApiRoute('Make a version the newest one in use: published versions above it become deprecated', { body: VersionAct })
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: VersionActAnswer })
  rollback(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
  ) {
    return this.lifecycle.rollback(who, `${domain}/${name}`, parseBody(VersionAct, body));
  }

  @Post(':domain/:name/deprecate')
  @ApiRoute('Take a version out of use: only exact references still find it', { body: VersionAct })
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: VersionActAnswer })
  deprecate(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
  ) {
    return this.lifecycle.deprecate(who, `${domain}/${name}`, parseBody(VersionAct, body));
  }
}
