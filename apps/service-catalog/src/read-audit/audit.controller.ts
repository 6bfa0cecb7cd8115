import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { ApiRoute, CurrentPrincipal, parseQuery, type Principal } from '@opsloop/platform';
import { AuditPage, AuditQuery } from '../answers.pure.js';
import { AuditRepository } from './audit.repository.js';

@ApiTags('audit')
@Controller('v1/audit')
export class AuditController {
  constructor(private readonly audit: AuditRepository) {}

  @Get()
  @ApiRoute('Who changed which document, secret or token, and when; newest first', { query: AuditQuery })
  @ApiOkResponse({ standardSchema: AuditPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.audit.list(who.tenant, parseQuery(AuditQuery, query));
  }
}
