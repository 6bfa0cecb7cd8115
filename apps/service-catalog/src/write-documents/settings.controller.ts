/** Configs, tables and schedules: the documents of this app that no run starts from. */
import { Body, Controller, Delete, Get, HttpCode, Param, Put, Query, Res } from '@nestjs/common';
import { ApiBody, ApiCreatedResponse, ApiNoContentResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { ApiRoute, CurrentPrincipal, PageQuery, parseQuery, type Principal } from '@opsloop/platform';
import { PutAnswer, StoredPage, StoredVersion, VersionQuery } from '../answers.pure.js';
import { DocumentReader } from './document-reader.service.js';
import { DocumentWriter } from './document-writer.service.js';
import { type Reply, replyPut, VersionedBody } from './reply.js';

@ApiTags('configs')
@Controller('v1/configs')
export class ConfigsController {
  constructor(
    private readonly writer: DocumentWriter,
    private readonly reader: DocumentReader,
  ) {}

  @Get()
  @ApiRoute('The newest of each', { query: PageQuery })
  @ApiOkResponse({ standardSchema: StoredPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.reader.list(who.tenant, 'config', parseQuery(PageQuery, query));
  }

  @Put(':name')
  @ApiRoute('Set the values of a config; runs that are already started keep what they were started with')
  @ApiBody(VersionedBody)
  @ApiCreatedResponse({ standardSchema: PutAnswer })
  @ApiOkResponse({ standardSchema: PutAnswer })
  async put(
    @CurrentPrincipal() who: Principal,
    @Param('name') name: string,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    return replyPut(reply, await this.writer.put(who, 'config', name, body));
  }

  @Get(':name')
  @ApiRoute('The one of this name')
  @ApiOkResponse({ standardSchema: StoredVersion })
  get(@CurrentPrincipal() who: Principal, @Param('name') name: string) {
    return this.reader.get(who.tenant, 'config', name);
  }

  @Delete(':name')
  @ApiRoute('Take it out of use; its history stays')
  @HttpCode(204)
  @ApiNoContentResponse()
  remove(@CurrentPrincipal() who: Principal, @Param('name') name: string) {
    return this.writer.remove(who, 'config', name);
  }
}

@ApiTags('tables')
@Controller('v1/tables')
export class TablesController {
  constructor(
    private readonly writer: DocumentWriter,
    private readonly reader: DocumentReader,
  ) {}

  @Get()
  @ApiRoute('The newest of each', { query: PageQuery })
  @ApiOkResponse({ standardSchema: StoredPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.reader.list(who.tenant, 'table', parseQuery(PageQuery, query));
  }

  @Put(':domain/:name')
  @ApiRoute('Publish a version of a decision table')
  @ApiBody(VersionedBody)
  @ApiCreatedResponse({ standardSchema: PutAnswer })
  @ApiOkResponse({ standardSchema: PutAnswer })
  async put(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    return replyPut(reply, await this.writer.put(who, 'table', `${domain}/${name}`, body));
  }

  @Get(':domain/:name')
  @ApiRoute('The one of this name', { query: VersionQuery })
  @ApiOkResponse({ standardSchema: StoredVersion })
  get(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Query() query: unknown,
  ) {
    return this.reader.get(who.tenant, 'table', `${domain}/${name}`, parseQuery(VersionQuery, query).version);
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
    return this.reader.versions(who.tenant, 'table', `${domain}/${name}`, parseQuery(PageQuery, query));
  }

  @Delete(':domain/:name')
  @ApiRoute('Take it out of use; its history stays')
  @HttpCode(204)
  @ApiNoContentResponse()
  remove(@CurrentPrincipal() who: Principal, @Param('domain') domain: string, @Param('name') name: string) {
    return this.writer.remove(who, 'table', `${domain}/${name}`);
  }
}

@ApiTags('schedules')
@Controller('v1/schedules')
export class SchedulesController {
  constructor(
    private readonly writer: DocumentWriter,
    private readonly reader: DocumentReader,
  ) {}

  @Get()
  @ApiRoute('The newest of each', { query: PageQuery })
  @ApiOkResponse({ standardSchema: StoredPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.reader.list(who.tenant, 'schedule', parseQuery(PageQuery, query));
  }

  @Put(':domain/:name')
  @ApiRoute('Keep a schedule; from now on it fires at its times')
  @ApiBody(VersionedBody)
  @ApiCreatedResponse({ standardSchema: PutAnswer })
  @ApiOkResponse({ standardSchema: PutAnswer })
  async put(
    @CurrentPrincipal() who: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    return replyPut(reply, await this.writer.put(who, 'schedule', `${domain}/${name}`, body));
  }

  @Get(':domain/:name')
  @ApiRoute('The one of this name')
  @ApiOkResponse({ standardSchema: StoredVersion })
  get(@CurrentPrincipal() who: Principal, @Param('domain') domain: string, @Param('name') name: string) {
    return this.reader.get(who.tenant, 'schedule', `${domain}/${name}`);
  }

  @Delete(':domain/:name')
  @ApiRoute('Take it out of use; its history stays')
  @HttpCode(204)
  @ApiNoContentResponse()
  remove(@CurrentPrincipal() who: Principal, @Param('domain') domain: string, @Param('name') name: string) {
    return this.writer.remove(who, 'schedule', `${domain}/${name}`);
  }
}
