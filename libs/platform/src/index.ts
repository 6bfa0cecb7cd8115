export * from './api-route.js';
export * from './cluster.config.js';
export * from './platform.config.js';
export * from './platform.module.js';
export { Logger, type LogFields } from './logger.service.js';
export * from './clock.service.js';
export { DirectRoutes } from './direct-routes.service.js';
export * from './failpoint.service.js';
export * from './readiness.service.js';
export * from './metrics.service.js';
export { hashToken, type Principal } from './auth.pure.js';
export { ACCESS, accessOf, mayCall, ROLES, TOKEN_ROLES, type TokenRole } from './access.pure.js';
export { type AuthenticatedRequest, CurrentPrincipal, Public, ServiceOnly } from './auth.guard.js';
export * from './internal-client.service.js';
export { BODY_BYTES_MAX, BodyLimit, RawBody, SecretBody, createHttpApp, type HttpAppOptions } from './http-app.js';
export {
  decodeCursor,
  encodeCursor,
  fieldErrorsOf,
  jsonPointer,
  JSON_DEPTH_MAX,
  IsoTime,
  PageQuery,
  parseBody,
  parseJsonBody,
  parseQuery,
  validationError,
} from './parse.pure.js';
export { toOpsError } from './problem.pure.js';
