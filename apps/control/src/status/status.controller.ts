import { Controller, Get } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import type { StatusView } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { StatusService } from './status.service.js';

@ApiTags('status')
@ApiBearerAuth()
@Controller('v1/status')
export class StatusController {
  constructor(private readonly statuses: StatusService) {}

  @Get()
  @ApiRoute('How things stand, worst first')
  status(@CurrentPrincipal() principal: Principal): Promise<StatusView> {
    return this.statuses.status(principal.tenant);
  }
}
