import { OpsError } from '@opsloop/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parseJsonBody } from './parse.pure.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes as sent: signatures of webhooks are made over these. */
    rawBody?: Buffer;
  }
}

const EMPTY = /^\s*$/;
const UNSUPPORTED = 'Send application/json, another +json type, or text/*';

/** JSON in all its media types and text, nothing else; everything parsed by us, so that all bodies have the same bounds. */
export function registerBodyParsers(fastify: FastifyInstance): void {
  fastify.removeAllContentTypeParsers();
  const keep = (request: FastifyRequest, body: Buffer): string => {
    request.rawBody = body;
    return body.toString('utf8');
  };
  const wantsBytes = (request: FastifyRequest): boolean =>
    (request.routeOptions.config as { rawBody?: boolean }).rawBody === true;
  const json = (request: FastifyRequest, body: Buffer, done: (error: Error | null, value?: unknown) => void): void => {
    try {
      const text = keep(request, body);
      if (wantsBytes(request)) return done(null);
      // An empty body is an absent one: DELETE and operator acts without arguments send the header all the same.
      done(null, EMPTY.test(text) ? undefined : parseJsonBody(text, request.routeOptions.bodyLimit));
    } catch (error) {
      const secret = (request.routeOptions.config as { secretBody?: boolean }).secretBody === true;
      done(secret ? new OpsError('malformed-json', 'The body is not valid JSON') : (error as Error));
    }
  };
  const text = (request: FastifyRequest, body: Buffer, done: (error: Error | null, value?: unknown) => void): void =>
    done(null, keep(request, body));
  fastify.addContentTypeParser(/^application\/(?:[\w.!#$&^-]+\+)?json(?:\s*;|$)/i, { parseAs: 'buffer' }, json);
  fastify.addContentTypeParser(/^text\/[\w.+-]+(?:\s*;|$)/i, { parseAs: 'buffer' }, text);
  // Everything else, and no type at all: only for routes that look at the bytes themselves.
  fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    if (!wantsBytes(request)) return done(new OpsError('unsupported-media-type', UNSUPPORTED));
    request.rawBody = body;
    done(null);
  });
}
