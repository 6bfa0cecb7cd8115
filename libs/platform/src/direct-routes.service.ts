import { Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { Authenticator } from './auth.guard.js';
import type { Principal } from './auth.pure.js';
import { Logger } from './logger.service.js';
import { answerProblem } from './problem.filter.js';

const JSON_TYPE = 'application/json; charset=utf-8';

/** What answers a route: the request with, unless the route is open, who calls. */
type Handle = (request: FastifyRequest, principal: Principal | undefined) => Promise<unknown>;

interface Direct {
  status: number;
  open: boolean;
  handle: Handle;
}

/**
 * Routes that thousands of requests a second take. Their controllers declare them as all others do, for the router and
 * the API pages; the request then goes straight to the handler, past guards, pipes and interceptors: those cost more
 * than accepting an event does. Authentication, access and problems are the same code.
 */
@Injectable()
export class DirectRoutes {
  private readonly routes = new Map<string, Direct>();

  constructor(
    private readonly authenticator: Authenticator,
    private readonly logger: Logger,
  ) {}

  /** For the constructor of a controller. \`open\`: the route is \`@Public()\`. */
  serve(method: string, url: string, options: { status: number; open?: boolean }, handle: Handle): void {
    this.routes.set(`${method} ${url}`, { status: options.status, open: options.open === true, handle });
  }

  /** Called with each route as it is registered. */
  take(route: RouteOptions): void {
    const direct = this.routes.get(`${String(route.method)} ${route.url}`);
    if (direct === undefined) return;
    route.handler = (request, reply): void => {
      this.answer(direct, request).then(
        (text) => send(reply, direct.status, text),
        (error: unknown) => answerProblem(this.logger, error, request, reply),
      );
    };
  }

  private async answer({ open, handle }: Direct, request: FastifyRequest): Promise<string> {
    const admitted = open ? undefined : this.authenticator.admit(request, false);
    const principal = admitted instanceof Promise ? await admitted : admitted;
    return JSON.stringify(await handle(request, principal));
  }
}

/** Straight to the socket: nothing is to be serialised, compressed or hooked in between. */
function send(reply: FastifyReply, status: number, text: string): void {
  const headers = { ...reply.getHeaders(), 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(text) };
  reply.hijack();
  reply.raw.writeHead(status, headers as Record<string, string | number>);
  reply.raw.end(text);
}
