import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { AtomDocument, CompiledOffering, InternalCalls } from '@opsloop/contracts';
import { CurrentPrincipal, parseBody, type Principal, ServiceOnly } from '@opsloop/platform';
import { z } from 'zod';
import { RefBody } from '../answers.pure.js';
import { Offerings } from './offerings.service.js';

type TablesAnswer = InternalCalls['POST /internal/catalog/tables']['answer'];
/** Tables of all rules of one batch; more of them are no set of rules that people wrote. */
const TablesBody = z.strictObject({ refs: z.array(z.string().max(300)).max(1_000) });
type ConfigsAnswer = InternalCalls['POST /internal/catalog/configs']['answer'];

type SchedulesAnswer = InternalCalls['POST /internal/catalog/schedules']['answer'];

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/catalog')
export class InternalCatalogController {
  constructor(private readonly offerings: Offerings) {}

  @Post('compile')
  @HttpCode(200)
  compile(@CurrentPrincipal() who: Principal, @Body() body: unknown): Promise<CompiledOffering> {
    return this.offerings.compile(who.tenant, parseBody(RefBody, body).ref);
  }

  @Post('atom')
  @HttpCode(200)
  atom(@CurrentPrincipal() who: Principal, @Body() body: unknown): Promise<AtomDocument> {
    return this.offerings.atom(who.tenant, parseBody(RefBody, body).ref);
  }

  @Post('tables')
  @HttpCode(200)
  tables(@CurrentPrincipal() who: Principal, @Body() body: unknown): Promise<TablesAnswer> {
    return this.offerings.tables(who.tenant, parseBody(TablesBody, body).refs);
  }

  @Post('schedules')
  @HttpCode(200)
  schedules(@CurrentPrincipal() who: Principal): Promise<SchedulesAnswer> {
    return this.offerings.schedules(who.tenant);
  }

  @Post('configs')
  @HttpCode(200)
  configs(@CurrentPrincipal() who: Principal): Promise<ConfigsAnswer> {
    return this.offerings.configs(who.tenant);
  }
}
