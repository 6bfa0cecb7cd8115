import { Controller, Headers, HttpCode, Options, Param, Post, Put, Req, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { AnyDocument, ApiRoute, DirectRoutes, Public, RawBody } from '@opsloop/platform';
import { HookService } from './hook.service.js';
import type { HookAnswer, HookRequest } from './hook.service.js';

const OPEN = { body: AnyDocument, open: true } as const;

@ApiTags('events')
@Public()
@Controller('v1/hooks')
export class HookController {
  constructor(
    private readonly hooks: HookService,
    direct: DirectRoutes,
  ) {
    direct.serve('POST', '/v1/hooks/:source', { status: 202, open: true }, (request) =>
      this.receive((request.params as { source: string }).source, request),
    );
  }

  @Post(':source')
  @ApiRoute("Deliver to a source, as its sender does; authenticated by the source's own auth", OPEN)
  @RawBody()
  @HttpCode(202)
  receive(@Param('source') source: string, @Req() request: HookRequest): Promise<HookAnswer> {
    return this.hooks.receive(source, request);
  }

  @Put(':source')
  @ApiRoute('The same, for senders that use PUT (Grafana can)', OPEN)
  @RawBody()
  @HttpCode(202)
  put(@Param('source') source: string, @Req() request: HookRequest): Promise<HookAnswer> {
    return this.hooks.receive(source, request);
  }

  @Options(':source')
  @ApiRoute('The handshake of the CloudEvents webhook binding', { open: true })
  @HttpCode(200)
  async handshake(
    @Param('source') source: string,
    @Headers('webhook-request-origin') origin: string | undefined,
    @Headers('webhook-request-rate') rate: string | undefined,
    @Res({ passthrough: true }) reply: { headers(values: Record<string, string>): unknown },
  ): Promise<void> {
    reply.headers(await this.hooks.handshake(source, origin, rate));
  }
}

@ApiTags('events')
@Public()
@Controller('v2')
export class EnqueueController {
  constructor(private readonly hooks: HookService) {}

  @Post('enqueue')
  @ApiRoute('The PagerDuty Events API v2; the routing_key names a source of type pagerduty-events', OPEN)
  @RawBody()
  @HttpCode(202)
  enqueue(@Req() request: HookRequest): Promise<{ status: string; message: string; dedup_key: string }> {
    return this.hooks.enqueue(request);
  }
}
