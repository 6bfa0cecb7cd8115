import {
  type CanActivate,
  createParamDecorator,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { OpsError } from '@opsloop/contracts';
import type { FastifyRequest } from 'fastify';
import { mayCall } from './access.pure.js';
import { bearerToken, hashToken, type KnownTokens, type Principal, principalOf } from './auth.pure.js';
import { PLATFORM_CONFIG, type PlatformConfig } from './platform.config.js';
import { TokenDirectory } from './token-directory.service.js';

const PUBLIC = 'opsloop:public';
const SERVICE_ONLY = 'opsloop:service-only';

/** No token needed: health probes, and hooks, which their source's own `auth` protects. */
export const Public = (): MethodDecorator & ClassDecorator => SetMetadata(PUBLIC, true);

/** Only the apps themselves may call: everything under `/internal`. */
export const ServiceOnly = (): MethodDecorator & ClassDecorator => SetMetadata(SERVICE_ONLY, true);

export type AuthenticatedRequest = FastifyRequest & { principal?: Principal };

/** Parameter decorator: the {@link Principal} of the request. Not for `@Public()` routes, which have none. */
export const CurrentPrincipal = createParamDecorator((_data: unknown, context: ExecutionContext): Principal => {
  const { principal } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  if (principal === undefined) throw new OpsError('authentication', 'This route has no authenticated principal');
  return principal;
});

/**
 * Every HTTP route needs a known bearer token, of a role that may call it, unless it says `@Public()`. Bus handlers are
 * not HTTP and pass.
 */
@Injectable()
export class AuthGuard implements CanActivate {
  private readonly known: KnownTokens;

  constructor(
    @Inject(PLATFORM_CONFIG) config: PlatformConfig,
    private readonly reflector: Reflector,
    private readonly tokens: TokenDirectory,
  ) {
    this.known = {
      tenant: config.tenant,
      service: hashToken(config.serviceToken),
      ...(config.adminKey === undefined ? {} : { admin: hashToken(config.adminKey) }),
    };
  }

  async canActivate(context: ExecutionContext): Promise<boolean> {
    if (context.getType() !== 'http') return true;
    const places = [context.getHandler(), context.getClass()];
    const serviceOnly = this.reflector.getAllAndOverride<boolean | undefined>(SERVICE_ONLY, places) === true;
    if (!serviceOnly && this.reflector.getAllAndOverride<boolean | undefined>(PUBLIC, places) === true) return true;

    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    const token = bearerToken(request.headers.authorization);
    if (token === undefined) throw new OpsError('authentication', 'Send "Authorization: Bearer <token or API key>"');
    const principal = principalOf(token, this.known) ?? (await this.tokens.find(token));
    if (principal === undefined) throw new OpsError('authentication', 'The token is not known here');
    if (serviceOnly && principal.kind !== 'service') {
      throw new OpsError('authorization', 'Only the apps themselves may call this route');
    }
    // The route as the router matched it: no spelling of an address can mean one thing here and another there.
    const route = request.routeOptions.url ?? '';
    if (!serviceOnly && !mayCall(principal, request.method, route)) {
      throw new OpsError(
        'authorization',
        `${principal.name} (${principal.roles.join(', ')}) may not ${request.method} ${route}; an admin can give a token with another role`,
      );
    }
    request.principal = principal;
    return true;
  }
}
