import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiBody, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { ApiRoute, CurrentPrincipal, parseBody, type Principal } from '@opsloop/platform';
import { PlanAnswer, PlanRequest, ValidateAnswer } from '../answers.pure.js';
import { PlanService } from '../plan-runs/plan.service.js';
import { ValidateService } from './validate.service.js';

@ApiTags('flows')
@Controller('v1/flows')
export class ValidateController {
  constructor(
    private readonly validation: ValidateService,
    private readonly planning: PlanService,
  ) {}

  @Post('validate')
  @ApiRoute('Check a flow document, or { documents: [...] } together, without writing anything')
  @HttpCode(200)
  @ApiBody({ schema: { type: 'object', additionalProperties: true } })
  @ApiOkResponse({ standardSchema: ValidateAnswer })
  validate(@CurrentPrincipal() who: Principal, @Body() body: unknown) {
    return this.validation.validate(who.tenant, body);
  }

  @Post('plan')
  @ApiRoute('What a run would do with this input: tree, pinned versions, targets, locks, batches, effects')
  @HttpCode(200)
  @ApiBody({
    schema: { type: 'object', properties: { flow: { type: 'object' }, name: { type: 'string' }, input: {} } },
  })
  @ApiOkResponse({ standardSchema: PlanAnswer })
  plan(@CurrentPrincipal() who: Principal, @Body() body: unknown) {
    return this.planning.plan(who.tenant, parseBody(PlanRequest, body));
  }
}
