import { Body, Controller, Headers, Param, Post, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { type Json, OpsError } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, parseBody } from '@opsloop/platform';
import type { Principal } from '@opsloop/platform';
import { z } from 'zod';
import { boundedMs } from '../lock/lock.service.js';
import { CatalogRunsService, type HttpAnswer } from './catalog-runs.service.js';

/** A caller that waits longer should follow the run instead: proxies cut off at a minute. */
const WAIT_MAX_MS = 60_000;
const KEY = /^[\x20-\x7e]{1,200}$/;

const RunBody = z.strictObject({
  input: z.json().default({}),
  version: z.string().min(1).max(100).optional(),
  wait: z.string().default('0s'),
  dryRun: z.boolean().default(false),
  /** What the timers of a dry run are multiplied with. */
  timeScale: z.number().positive().max(1).optional(),
  coalesce: z.boolean().default(false),
});

interface Reply {
  status(code: number): unknown;
  header(name: string, value: string): unknown;
}

@ApiTags('runs')
@ApiBearerAuth()
@Controller('v1/catalog')
export class CatalogRunsController {
  constructor(private readonly runs: CatalogRunsService) {}

  @Post(':domain/:name/runs')
  @ApiRoute('Start a flow, or an atom as atom/<name>', { body: RunBody })
  async start(
    @Param('domain') domain: string,
    @Param('name') name: string,
    @Body() body: unknown,
    @Headers('idempotency-key') key: string | undefined,
    @CurrentPrincipal() principal: Principal,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<HttpAnswer['body']> {
    const { input, version, wait, dryRun, timeScale, coalesce } = parseBody(RunBody, body ?? {});
    const request = {
      input: input as Json,
      version,
      waitMs: boundedMs(wait, '/wait', 0, WAIT_MAX_MS),
      dryRun,
      timeScale,
      coalesce,
    };
    return send(reply, await this.runs.start(principal, `${domain}/${name}`, request, checkedKey(key)));
  }
}

function checkedKey(key: string | undefined): string | undefined {
  if (key === undefined || KEY.test(key)) return key;
  throw new OpsError('validation', 'The Idempotency-Key must be 1 to 200 printable characters', {
    errors: [{ pointer: '/headers/idempotency-key', message: 'must be 1 to 200 printable characters' }],
  });
}

function send(reply: Reply, answer: HttpAnswer): HttpAnswer['body'] {
  reply.status(answer.status);
  if (answer.location !== undefined) reply.header('location', answer.location);
  if (answer.replayed === true) reply.header('idempotency-replayed', 'true');
  if (answer.status === 409) reply.header('content-type', 'application/problem+json');
  return answer.body;
}
