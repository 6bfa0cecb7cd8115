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

type Door = 'public' | 'service' | 'token';

export type AuthenticatedRequest = FastifyRequest & { principal?: Principal };

/** Parameter decorator: the {@link Principal} of the request. Not for `@Public()` routes, which have none. */
export const CurrentPrincipal = createParamDecorator((_data: unknown, context: ExecutionContext): Principal => {
  const { principal } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  if (principal === undefined) throw new OpsError('authentication', 'This route has no authenticated principal');
  return principal;
});

/** Who calls: by the bearer token, of a role that may call the route. */
@Injectable()
export class Authenticator {
  private readonly known: KnownTokens;
  /** Of the last request of each connection: the same header again is the same token, whoever it belongs to by now. */
  private readonly sent = new WeakMap<object, { header: string; token: string; hash: Buffer }>();

  constructor(
    @Inject(PLATFORM_CONFIG) config: PlatformConfig,
    private readonly tokens: TokenDirectory,
  ) {
    this.known = {
      tenant: config.tenant,
      service: hashToken(config.serviceToken),
      ...(config.adminKey === undefined ? {} : { admin: hashToken(config.adminKey) }),
    };
  }

  /** Throws `authentication` or `authorization`. A token that somebody has to be asked about makes it a promise. */
  admit(request: FastifyRequest, serviceOnly: boolean): Principal | Promise<Principal> {
    const { token, hash } = this.tokenOf(request);
    const principal = principalOf(hash, this.known);
    if (principal !== undefined) return admitted(principal, request, serviceOnly);
    return this.tokens.find(token, hash).then((found) => admitted(found, request, serviceOnly));
  }

  private tokenOf({ headers, raw }: FastifyRequest): { token: string; hash: Buffer } {
    const header = headers.authorization;
    const last = this.sent.get(raw.socket);
    if (last !== undefined && last.header === header) return last;
    const token = bearerToken(header);
    if (header === undefined || token === undefined)
      throw new OpsError('authentication', 'Send "Authorization: Bearer <token or API key>"');
    const sent = { header, token, hash: hashToken(token) };
    this.sent.set(raw.socket, sent);
    return sent;
  }
}

function admitted(principal: Principal | undefined, request: FastifyRequest, serviceOnly: boolean): Principal {
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
  return principal;
}

/**
 * Every HTTP route needs a known bearer token, of a role that may call it, unless it says `@Public()`. Bus handlers are
 * not HTTP and pass.
 */
@Injectable()
export class AuthGuard implements CanActivate {
  private readonly doors = new WeakMap<object, Map<unknown, Door>>();

  constructor(
    private readonly reflector: Reflector,
    private readonly authenticator: Authenticator,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    if (context.getType() !== 'http') return true;
    const door = this.doorOf(context);
    if (door === 'public') return true;
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    request.principal = await this.authenticator.admit(request, door === 'service');
    return true;
  }

  /** What the decorators say; read once per handler, since each reading walks their metadata. */
  private doorOf(context: ExecutionContext): Door {
    const [handler, owner] = [context.getHandler(), context.getClass()];
    // By class first: two controllers may inherit one method.
    let doors = this.doors.get(owner);
    if (doors === undefined) this.doors.set(owner, (doors = new Map()));
    let door = doors.get(handler);
    if (door === undefined) {
      const places = [handler, owner];
      const says = (key: string): boolean =>
        this.reflector.getAllAndOverride<boolean | undefined>(key, places) === true;
      door = says(SERVICE_ONLY) ? 'service' : says(PUBLIC) ? 'public' : 'token';
      doors.set(handler, door);
    }
    return door;
  }
}
