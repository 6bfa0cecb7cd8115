import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { ApiRoute, CurrentPrincipal, parseQuery, type Principal } from '@opsloop/platform';
import { CatalogQuery, OfferingDetail, OfferingPage } from '../answers.pure.js';
import { BrowseService } from './browse.service.js';

@ApiTags('catalog')
@Controller('v1/catalog')
export class BrowseController {
  constructor(private readonly browse: BrowseService) {}

  @Get()
  @ApiRoute('What can be called: published flows and atoms', { query: CatalogQuery })
  @ApiOkResponse({ standardSchema: OfferingPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.browse.list(who.tenant, parseQuery(CatalogQuery, query));
  }

  @Get(':domain/:name')
  @ApiRoute('How to call it: input schema, examples, effect, versions, owner, curl; an atom is atom/<name>')
  @ApiOkResponse({ standardSchema: OfferingDetail })
  detail(@CurrentPrincipal() who: Principal, @Param('domain') domain: string, @Param('name') name: string) {
    return this.browse.detail(who.tenant, `${domain}/${name}`);
  }
}
