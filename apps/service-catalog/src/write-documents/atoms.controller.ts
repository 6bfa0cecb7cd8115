import { Body, Controller, Get, Param, Put, Query, Res } from '@nestjs/common';
import { ApiBody, ApiCreatedResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { ApiRoute, CurrentPrincipal, PageQuery, parseQuery, type Principal } from '@opsloop/platform';
import { PutAnswer, StoredPage, StoredVersion, VersionQuery } from '../answers.pure.js';
import { DocumentReader } from './document-reader.service.js';
import { DocumentWriter } from './document-writer.service.js';
import { type Reply, replyPut, VersionedBody } from './reply.js';

@ApiTags('atoms')
@Controller('v1/atoms')
export class AtomsController {
  constructor(
    private readonly writer: DocumentWriter,
    private readonly reader: DocumentReader,
  ) {}

  @Get()
  @ApiRoute('Atoms, the newest version of each; those that come with opsloop are marked builtIn', { query: PageQuery })
  @ApiOkResponse({ standardSchema: StoredPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.reader.list(who.tenant, 'atom', parseQuery(PageQuery, query));
  }

  @Put(':name')
  @ApiRoute('Publish a version of an atom')
  @ApiBody(VersionedBody)
  @ApiCreatedResponse({ standardSchema: PutAnswer, description: 'a new version' })
  @ApiOkResponse({ standardSchema: PutAnswer, description: 'an equal version' })
  async put(
    @CurrentPrincipal() who: Principal,
    @Param('name') name: string,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    return replyPut(reply, await this.writer.put(who, 'atom', name, body));
  }

  @Get(':name')
  @ApiRoute('One version of an atom, the newest by default', { query: VersionQuery })
  @ApiOkResponse({ standardSchema: StoredVersion })
  get(@CurrentPrincipal() who: Principal, @Param('name') name: string, @Query() query: unknown) {
    return this.reader.get(who.tenant, 'atom', name, parseQuery(VersionQuery, query).version);
  }

  @Get(':name/versions')
  @ApiRoute('All versions, newest first', { query: PageQuery })
  @ApiOkResponse({ standardSchema: StoredPage })
  versions(@CurrentPrincipal() who: Principal, @Param('name') name: string, @Query() query: unknown) {
    return this.reader.versions(who.tenant, 'atom', name, parseQuery(PageQuery, query));
  }
}
