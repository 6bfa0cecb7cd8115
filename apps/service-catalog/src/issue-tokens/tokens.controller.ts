import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import {
  ApiCreatedResponse,
  ApiExcludeController,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiTags,
} from '@nestjs/swagger';
import type { TokenAnswer } from '@opsloop/contracts';
import { ApiRoute, CurrentPrincipal, parseBody, parseQuery, type Principal, ServiceOnly } from '@opsloop/platform';
import { CreatedToken, CreateToken, FindToken, TokenPage, TokenQuery } from '../secret-shapes.pure.js';
import { TokenService } from './token.service.js';

@ApiTags('tokens')
@Controller('v1/tokens')
export class TokensController {
  constructor(private readonly tokens: TokenService) {}

  @Post()
  @ApiRoute('Make an API token with roles and groups; the answer shows it once', { body: CreateToken })
  @ApiCreatedResponse({ standardSchema: CreatedToken })
  create(@CurrentPrincipal() who: Principal, @Body() body: unknown) {
    return this.tokens.create(who, parseBody(CreateToken, body));
  }

  @Get()
  @ApiRoute('Tokens, by id; never the tokens themselves', { query: TokenQuery })
  @ApiOkResponse({ standardSchema: TokenPage })
  list(@CurrentPrincipal() who: Principal, @Query() query: unknown) {
    const { revoked, ...page } = parseQuery(TokenQuery, query);
    return this.tokens.list(who.tenant, page, revoked === 'true');
  }

  @Delete(':id')
  @ApiRoute('Revoke a token; it stops working within 5 s')
  @HttpCode(204)
  @ApiNoContentResponse()
  revoke(@CurrentPrincipal() who: Principal, @Param('id') id: string) {
    return this.tokens.revoke(who, id);
  }
}

@ApiExcludeController()
@ServiceOnly()
@Controller('internal/catalog/tokens')
export class InternalTokensController {
  constructor(private readonly tokens: TokenService) {}

  @Post('find')
  @HttpCode(200)
  find(@CurrentPrincipal() who: Principal, @Body() body: unknown): Promise<TokenAnswer> {
    const { id, hash } = parseBody(FindToken, body);
    return this.tokens.find(who.tenant, id, hash);
  }
}
