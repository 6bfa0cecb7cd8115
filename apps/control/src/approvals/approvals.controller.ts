import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBearerAuth, ApiExcludeController, ApiTags } from '@nestjs/swagger';
import { APPROVAL_STATUSES, type ApprovalView, type InternalCalls, type Json, type Page } from '@opsloop/contracts';
import {
  ApiRoute,
  BodyLimit,
  CurrentPrincipal,
  PageQuery,
  parseBody,
  parseQuery,
  ServiceOnly,
} from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { ApprovalsService } from './approvals.service.js';

const ListQuery = z.strictObject({
  ...PageQuery.shape,
  status: z.enum(APPROVAL_STATUSES).optional(),
  run: z.string().max(100).optional(),
  /** Only open ones that I may answer and have not. */
  mine: z.stringbool().optional(),
});
const AnswerBody = z.strictObject({
  answer: z.enum(['approve', 'reject']),
  reason: z.string().min(1).max(500),
  form: z.json().optional(),
});
/** Title, details of up to 512 K characters, and a schema. */
const REPORT_BYTES_MAX = 2 * 1024 * 1024;

@ApiTags('approvals')
@ApiBearerAuth()
@Controller('v1/approvals')
export class ApprovalsController {
  constructor(private readonly approvals: ApprovalsService) {}

  @Get()
  @ApiRoute('What flows ask people, newest first; with mine=true what waits for the caller', { query: ListQuery })
  list(@Query() query: unknown, @CurrentPrincipal() principal: Principal): Promise<Page<ApprovalView>> {
    return this.approvals.list(principal, parseQuery(ListQuery, query));
  }

  @Get(':id')
  @ApiRoute('An approval with the answers so far')
  get(@Param('id') id: string, @CurrentPrincipal() principal: Principal): Promise<ApprovalView> {
    return this.approvals.get(principal.tenant, id);
  }

  @Post(':id/answer')
  @ApiRoute('Approve or reject; each person once', { body: AnswerBody })
  @HttpCode(200)
  answer(
    @Param('id') id: string,
    @Body() body: unknown,
    @CurrentPrincipal() principal: Principal,
  ): Promise<ApprovalView> {
    const { answer, reason, form } = parseBody(AnswerBody, body);
    return this.approvals.answer(principal, id, { answer, reason, form: form as Json | undefined });
  }
}

type Report = InternalCalls['POST /internal/runs/:id/approvals'];

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/runs/:id/approvals')
export class InternalApprovalsController {
  constructor(private readonly approvals: ApprovalsService) {}

  @BodyLimit(REPORT_BYTES_MAX)
  @Post()
  @HttpCode(200)
  report(@Param('id') id: string, @Body() body: Report['body']): Promise<Report['answer']> {
    return this.approvals.report(id, body);
  }
}
