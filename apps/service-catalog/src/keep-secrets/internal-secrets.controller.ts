import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { InternalCalls } from '@opsloop/contracts';
import { CurrentPrincipal, parseBody, type Principal, SecretBody, ServiceOnly } from '@opsloop/platform';
import { ForgetSecret, KeepSecret, ResolveAny, SECRET_BYTES_MAX } from '../secret-shapes.pure.js';
import { SecretService } from './secret.service.js';

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/catalog/secrets')
export class InternalSecretsController {
  constructor(private readonly secrets: SecretService) {}

  @Post('resolve')
  @HttpCode(200)
  async resolve(
    @CurrentPrincipal() who: Principal,
    @Body() body: unknown,
  ): Promise<InternalCalls['POST /internal/catalog/secrets/resolve']['answer']> {
    return { secrets: await this.secrets.resolve(who.tenant, parseBody(ResolveAny, body).names) };
  }

  @Post('keep')
  @HttpCode(200)
  @SecretBody(6 * SECRET_BYTES_MAX + 4_096)
  async keep(
    @CurrentPrincipal() who: Principal,
    @Body() body: unknown,
  ): Promise<InternalCalls['POST /internal/catalog/secrets/keep']['answer']> {
    const { name, value, by } = parseBody(KeepSecret, body);
    const { version } = await this.secrets.put(who.tenant, by, name, value);
    return { name, version };
  }

  @Post('forget')
  @HttpCode(200)
  async forget(
    @CurrentPrincipal() who: Principal,
    @Body() body: unknown,
  ): Promise<InternalCalls['POST /internal/catalog/secrets/forget']['answer']> {
    const { name, by } = parseBody(ForgetSecret, body);
    return { forgotten: await this.secrets.remove(who.tenant, by, name) };
  }
}
