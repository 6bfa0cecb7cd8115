import { type IncomingMessage, maxHeaderSize } from 'node:http';
import nodeModule from 'node:module';
import { StandardSchemaValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication, RouteConfig } from '@nestjs/platform-fastify';
import { newId } from '@opsloop/contracts/ids';
import { problem } from '@opsloop/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Socket } from 'node:net';
import { registerBodyParsers } from './body-parsers.js';
import { DirectRoutes } from './direct-routes.service.js';
import { Logger, NestLogger } from './logger.service.js';
import { mountOpenApi } from './openapi.js';
import { checkParameters, fieldErrorsOf, validationError } from './parse.pure.js';
import { PLATFORM_CONFIG, type PlatformConfig } from './platform.config.js';
import { pathOf, PROBLEM_TYPE, sendProblem } from './problem.filter.js';
import { toOpsError } from './problem.pure.js';
import { watchRoutes } from './routes.js';
import { addSecurityHeaders } from './security-headers.js';

/** Largest body: a flow document may have 1 MB; routes with smaller inputs lower it with `@BodyLimit`. */
export const BODY_BYTES_MAX = 1024 * 1024;
/** A whole request must have arrived by then; slow senders must not hold sockets. Long answers are not affected. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Longer than the 60 s of common load balancers, so that they close first and never meet a closing socket. */
const KEEP_ALIVE_MS = 75_000;
/** Route parameters hold resource paths of up to 512 bytes, percent-encoded up to three times as long. */
const PARAM_CHARS_MAX = 2_048;

/** Lowers the body limit of one route, in bytes. */
export const BodyLimit = (bytes: number): MethodDecorator => RouteConfig({ bodyLimit: bytes });

/** A route whose body is a secret: no part of it may come back, not even as the place where its JSON is wrong. */
export const SecretBody = (bytes: number): MethodDecorator => RouteConfig({ bodyLimit: bytes, secretBody: true });

/**
 * A route that takes the bytes as they came, whatever their type, and parses them itself: a signature is checked before
 * anything is read into them.
 */
export const RawBody = (): MethodDecorator => RouteConfig({ rawBody: true });

export interface HttpAppOptions {
  /** Title of the API pages. */
  title: string;
  logger?: Logger;
  /** Close on SIGTERM and SIGINT; default true. Specs that make many apps turn it off. */
  shutdownHooks?: boolean;
}

/**
 * Builds the HTTP application that every app runs in: bodies parsed and bounded, every failure a problem document,
 * OpenAPI and its pages, probes, security headers. The caller connects the bus and listens.
 */
export async function createHttpApp(rootModule: unknown, options: HttpAppOptions): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    routerOptions: { maxParamLength: PARAM_CHARS_MAX },
    genReqId: (req: IncomingMessage) => requestId(req.headers['x-request-id']),
    requestIdHeader: false,
    clientErrorHandler: answerBrokenRequest,
    // The router refuses a malformed URL before any hook or filter exists.
    frameworkErrors: (error: unknown, request: FastifyRequest, reply: FastifyReply) =>
      sendProblem(reply, toOpsError(error).error, pathOf(request.url)),
  });
  // Nest bundles its own copy of Fastify's types; the instance is the same.
  const fastify = adapter.getInstance() as unknown as FastifyInstance;
  const routes = watchRoutes(fastify);
  addSecurityHeaders(fastify);
  registerBodyParsers(fastify);
  fastify.addHook('onListen', (done) => {
    keepCompiledCode();
    done();
  });
  fastify.addHook('preValidation', (request, _reply, done) => {
    try {
      checkParameters(request.query, request.params);
      done();
    } catch (error) {
      done(error as Error);
    }
  });

  // Routes are registered when the app listens; by then it has its providers.
  let app: NestFastifyApplication | undefined = undefined;
  fastify.addHook('onRoute', (route) => app?.get(DirectRoutes).take(route));
  app = await NestFactory.create<NestFastifyApplication>(rootModule as never, adapter, {
    bodyParser: false,
    bufferLogs: true,
    abortOnError: false,
  });
  app.useLogger(new NestLogger(options.logger ?? app.get(Logger)));
  app.useGlobalPipes(
    new StandardSchemaValidationPipe({
      exceptionFactory: (issues) => validationError('The input', fieldErrorsOf(issues)),
    }),
  );
  mountOpenApi(app, options.title, app.get<PlatformConfig>(PLATFORM_CONFIG));
  routes.answerWrongMethods();
  if (options.shutdownHooks !== false) app.enableShutdownHooks(['SIGTERM', 'SIGINT']);
  return app;
}

/**
 * With `NODE_COMPILE_CACHE` the next start finds compiled what this one had to compile. Node writes it at a normal end
 * alone, and ours is a signal.
 */
function keepCompiledCode(): void {
  if (nodeModule.getCompileCacheDir() !== undefined) nodeModule.flushCompileCache();
}

/** A caller's id is kept when it is printable and short, so that it can be followed; otherwise ours. */
function requestId(header: string | string[] | undefined): string {
  return typeof header === 'string' && /^[\x21-\x7e]{1,128}$/.test(header) ? header : newId();
}

/** What Node could not read as HTTP: unknown methods, headers above the limit, garbage. No request object exists yet. */
function answerBrokenRequest(this: FastifyInstance, error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return void socket.destroy();
  const large = error.code === 'HPE_HEADER_OVERFLOW';
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const body = large
    ? problem('payload-too-large', `The headers are larger than ${maxHeaderSize} bytes`, { status: 431 })
    : late
      ? problem('timeout', `The request was not complete within ${REQUEST_TIMEOUT_MS / 1000} s`)
      : problem('validation', 'The request is not valid HTTP/1.1');
  const text = JSON.stringify(body);
  const reason = large ? 'Request Header Fields Too Large' : late ? 'Request Timeout' : 'Bad Request';
  socket.end(
    `HTTP/1.1 ${body.status} ${reason}\r\nconnection: close\r\ncontent-type: ${PROBLEM_TYPE}\r\n` +
      `content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}
