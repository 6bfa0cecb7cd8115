import type { FastifyInstance } from 'fastify';

const STRICT = "default-src 'none'; frame-ancestors 'none'";
/** The API pages load their own script and style from this origin; the renderer sets style attributes and data images. */
const PAGES =
  "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

/** Headers of every answer: no sniffing, no framing, no referrer, no caching of what a token made visible. */
export function addSecurityHeaders(fastify: FastifyInstance): void {
  fastify.addHook('onRequest', (request, reply, done) => {
    void reply
      .header('x-request-id', request.id)
      .header('x-content-type-options', 'nosniff')
      .header('referrer-policy', 'no-referrer')
      .header('content-security-policy', request.url.startsWith('/docs') ? PAGES : STRICT)
      .header('cache-control', 'no-store');
    done();
  });
}
