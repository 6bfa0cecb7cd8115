import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { Page, PutAnswer } from '@opsloop/contracts';
import { AnyDocument, ApiRoute, CurrentPrincipal, PageQuery, parseBody, parseQuery } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import type { Reply } from '../reply.js';
import type { MaintenanceView } from './maintenance.service.js';
import { MaintenanceService } from './maintenance.service.js';

const ReasonBody = z.strictObject({ reason: z.string().min(1).max(1_000) });

@ApiTags('maintenance')
@Controller('v1/maintenance')
export class MaintenanceController {
  constructor(private readonly service: MaintenanceService) {}

  @Get()
  @ApiRoute('Maintenance windows, with the stretch that is open and the next one', { query: PageQuery })
  list(@Query() query: unknown): Promise<Page<MaintenanceView>> {
    return this.service.list(parseQuery(PageQuery, query));
  }

  @Get(':domain/:name')
  @ApiRoute('One maintenance window')
  get(@Param('domain') domain: string, @Param('name') name: string): Promise<MaintenanceView> {
    return this.service.get(`${domain}/${name}`);
  }

  @Put(':domain/:name')
  @ApiRoute('Create or change a maintenance window', { body: AnyDocument })
  async put(
    @CurrentPrincipal() principal: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<PutAnswer> {
    const answer = await this.service.put(principal, `${domain}/${name}`, body);
    void reply.status(answer.change === 'created' ? 201 : 200);
    return answer;
  }

  @Post(':domain/:name/end')
  @ApiRoute('End the stretch that is open now; what is still wrong is looked at once', { body: ReasonBody })
  @HttpCode(200)
  end(
    @CurrentPrincipal() principal: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
  ): Promise<MaintenanceView> {
    return this.service.end(principal, `${domain}/${name}`, parseBody(ReasonBody, body).reason);
  }

  @Delete(':domain/:name')
  @ApiRoute('Take a maintenance window out of force; what is still wrong is looked at once')
  @HttpCode(204)
  remove(
    @CurrentPrincipal() principal: Principal,
    @Param('domain') domain: string,
    @Param('name') name: string,
  ): Promise<void> {
    return this.service.remove(principal, `${domain}/${name}`);
  }
}
