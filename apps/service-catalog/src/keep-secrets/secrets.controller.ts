import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiCreatedResponse, ApiNoContentResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { OpsError } from '@opsloop/contracts';
import {
  ApiRoute,
  CurrentPrincipal,
  PageQuery,
  parseBody,
  parseQuery,
  type Principal,
  SecretBody,
} from '@opsloop/platform';
import * as shape from '../secret-shapes.pure.js';
import { type Reply, replyPut } from '../write-documents/reply.js';
import { SecretService } from './secret.service.js';

/** JSON may write a byte as six characters (\u0041). */
const BODY_BYTES = 6 * shape.SECRET_BYTES_MAX + 4_096;

@ApiTags('secrets')
@Controller('v1')
export class SecretsController {
  constructor(private readonly secrets: SecretService) {}

  @Get('secrets')
  @ApiRoute('Names of secrets, their versions and who uses them; values are never shown', { query: PageQuery })
  @ApiOkResponse({ standardSchema: shape.SecretPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    return this.secrets.list(who.tenant, parseQuery(PageQuery, query));
  }

  @Put('secrets/:name')
  @SecretBody(BODY_BYTES)
  @ApiRoute('Keep a secret, or replace its value; calls use the new one within 30 s', { body: shape.PutSecret })
  @ApiCreatedResponse({ standardSchema: shape.SecretPut })
  @ApiOkResponse({ standardSchema: shape.SecretPut })
  async put(
    @CurrentPrincipal() who: Principal,
    @Param('name') name: string,
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    const { value, reason } = parseBody(shape.PutSecret, body);
    return replyPut(reply, await this.secrets.put(who.tenant, who.name, nameOf(name), value, reason));
  }

  @Delete('secrets/:name')
  @ApiRoute('Destroy the value; steps that need it fail and say so')
  @HttpCode(204)
  @ApiNoContentResponse()
  async remove(@CurrentPrincipal() who: Principal, @Param('name') name: string) {
    if (!(await this.secrets.remove(who.tenant, who.name, nameOf(name))))
      throw new OpsError('not-found', `There is no secret ${name}`);
  }

  @Post('secrets/resolve')
  @HttpCode(200)
  @ApiRoute('Values for a worker of atoms: only with a token of the role worker, only secrets that it names', {
    body: shape.ResolveSecrets,
  })
  @ApiOkResponse({ standardSchema: shape.ResolvedSecrets })
  async resolve(@CurrentPrincipal() who: Principal, @Body() body: unknown) {
    return { secrets: await this.secrets.resolveFor(who, parseBody(shape.ResolveSecrets, body).names) };
  }

  @Post('secret-keys/rotate')
  @HttpCode(200)
  @ApiRoute('Take a new key-encryption key into use and wrap the key of every secret with it', {
    body: shape.RotateKey,
  })
  @ApiOkResponse({ standardSchema: shape.KeyRotation })
  rotate(@CurrentPrincipal() who: Principal, @Body() body: unknown) {
    return this.secrets.rotate(who, parseBody(shape.RotateKey, body ?? {}).reason);
  }
}

function nameOf(name: string): string {
  const parsed = shape.SecretName.safeParse(name);
  if (parsed.success) return parsed.data;
  throw new OpsError('validation', `"${name.slice(0, 100)}" is no name of a secret`, {
    errors: [{ pointer: '/name', message: parsed.error.issues[0]!.message }],
  });
}
