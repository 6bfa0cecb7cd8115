import { OpsError } from '@opsloop/contracts';
import type { FastifyInstance } from 'fastify';
import { pathOf } from './problem.filter.js';

interface Known {
  matches: RegExp;
  methods: Set<string>;
}

/**
 * Remembers every route, so that a known path with another method is 405 with `Allow` (Fastify says 404), and applies
 * the body limits that routes ask for. Must see the instance before any route is registered.
 */
export function watchRoutes(fastify: FastifyInstance): { answerWrongMethods(): void } {
  const known = new Map<string, Known>();
  fastify.addHook('onRoute', (route) => {
    const config = route.config as { bodyLimit?: unknown } | undefined;
    if (typeof config?.bodyLimit === 'number') route.bodyLimit = config.bodyLimit;
    const entry = known.get(route.url) ?? { matches: patternOf(route.url), methods: new Set<string>() };
    for (const method of [route.method].flat()) entry.methods.add(method);
    known.set(route.url, entry);
  });
  return {
    answerWrongMethods: () => {
      fastify.addHook('onRequest', (request, reply, done) => {
        if (!request.is404) return done();
        const path = pathOf(request.url);
        const methods = [...known.values()].filter((k) => k.matches.test(path)).flatMap((k) => [...k.methods]);
        if (methods.length === 0) return done(new OpsError('not-found', `There is no route ${request.method} ${path}`));
        const allow = [...new Set(methods)].sort().join(', ');
        void reply.header('allow', allow);
        done(new OpsError('method-not-allowed', `${path} takes ${allow}, not ${request.method}`));
      });
    },
  };
}

/** `/v1/rules/:domain/:name` and `/v1/resources/*` → an anchored expression without nested repetition. */
function patternOf(url: string): RegExp {
  const source = url
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part === '*' ? '.*' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('/');
  return new RegExp(`^${source}/?$`);
}
