/** Who may call what: one table for all routes of all apps. */
import type { Principal } from './auth.pure.js';

/** Roles of persons and services, each with everything that the one before may do. */
export const ROLES = ['viewer', 'operator', 'expert', 'admin'] as const;
/** `worker` stands aside: a process that serves atoms may fetch its secrets, send events and lines, and take locks for a run; nothing else. */
export const TOKEN_ROLES = [...ROLES, 'worker'] as const;
export type TokenRole = (typeof TOKEN_ROLES)[number];

interface Row {
  /** Methods, or `*`. */
  method: string;
  /** The route as the router knows it (`/v1/rules/:domain/:name`); a final `*` takes everything below. */
  route: string;
  /** Least role; a list is closed: exactly these roles, whatever their rank. */
  needs: TokenRole | readonly TokenRole[];
}

const row = (methods: string, route: string, needs: Row['needs']): Row[] =>
  methods.split('|').map((method) => ({ method, route, needs }));

/**
 * The first row that fits counts, so exceptions stand above the wide rows. What no row names only an admin may do: a
 * route that somebody forgot here is closed, not open.
 */
export const ACCESS: readonly Row[] = [
  // Values of secrets go to workers alone: not even an admin reads them back.
  ...row('POST', '/v1/secrets/resolve', ['worker']),
  ...row('GET', '/v1/secrets', 'expert'),
  ...row('*', '/v1/secrets*', 'admin'),
  ...row('*', '/v1/secret-keys*', 'admin'),
  ...row('*', '/v1/tokens*', 'admin'),
  // Judging a document or an event changes nothing.
  ...row('POST', '/v1/flows/validate', 'viewer'),
  ...row('POST', '/v1/flows/plan', 'viewer'),
  ...row('POST', '/v1/flows/test', 'viewer'),
  ...row('POST', '/v1/rules/test', 'viewer'),
  ...row('POST', '/v1/rules/backtest', 'viewer'),
  ...row('POST', '/v1/policies/test', 'viewer'),
  ...row('POST', '/v1/sources/:name/test', 'viewer'),
  ...row('POST', '/v1/admissions/forecast', 'viewer'),
  ...row('GET', '/v1/*', 'viewer'),
  // Operators on call steer what runs.
  ...row('POST', '/v1/events', ['operator', 'expert', 'admin', 'worker']),
  ...row('POST', '/v1/events/:eventId/replay', 'operator'),
  ...row('POST', '/v1/events/replay', 'operator'),
  ...row('POST|DELETE', '/v1/dead-letters*', 'operator'),
  ...row('PATCH', '/v1/rules/:domain/:name', 'operator'),
  ...row('POST', '/v1/episodes/*', 'operator'),
  ...row('PUT|DELETE', '/v1/resources*', 'operator'),
  ...row('PUT|POST|DELETE', '/v1/maintenance/*', 'operator'),
  // It acts: on the input that the manifest calls safe, but under nobody's lock.
  ...row('POST', '/v1/catalog/atom/:name/verify', 'expert'),
  ...row('POST', '/v1/catalog/:domain/:name/runs', 'operator'),
  ...row('POST', '/v1/runs/:id/logs', ['operator', 'expert', 'admin', 'worker']),
  // Locks of atoms, under the admission of a run that is open; another's cannot be renewed or given back.
  ...row('POST', '/v1/runs/:id/locks', ['operator', 'expert', 'admin', 'worker']),
  ...row('DELETE', '/v1/runs/:id/locks/:fence', ['operator', 'expert', 'admin', 'worker']),
  ...row('POST', '/v1/locks/:fence/renew', ['operator', 'expert', 'admin', 'worker']),
  // What passes a halt works where everything else must stand.
  ...row('POST', '/v1/runs/:id/allow', 'expert'),
  ...row('POST', '/v1/runs/*', 'operator'),
  ...row('POST', '/v1/halts*', 'operator'),
  // Break-glass: tokens of scripts that only take locks must not be able to take them from others.
  ...row('POST', '/v1/locks/:fence/break', 'expert'),
  ...row('POST|DELETE', '/v1/locks*', 'operator'),
  ...row('POST|DELETE', '/v1/admissions*', 'operator'),
  ...row('POST', '/v1/approvals/*', 'operator'),
  // Who takes a rule's autonomy back decides what it may do alone.
  ...row('POST', '/v1/autonomy/reset', 'expert'),
  ...['pause', 'resume', 'run'].flatMap((act) => row('POST', `/v1/schedules/:domain/:name/${act}`, 'operator')),
  // Experts write documents.
  ...['flows', 'atoms', 'rules', 'policies', 'sources', 'configs', 'tables', 'schedules', 'flowtests'].flatMap((kind) =>
    row('PUT|DELETE', `/v1/${kind}/*`, 'expert'),
  ),
  ...row('PUT', '/v1/rules', 'expert'),
  ...['publish', 'rollback', 'deprecate'].flatMap((act) => row('POST', `/v1/flows/:domain/:name/${act}`, 'expert')),
];

function fits(one: Row, method: string, route: string): boolean {
  if (one.method !== '*' && one.method !== method) return false;
  return one.route.endsWith('*') ? route.startsWith(one.route.slice(0, -1)) : route === one.route;
}

/** Found once per route: the router knows some hundred, and each request asks. */
const found = new Map<string, Row['needs'] | undefined>();

/** What a route asks for; `undefined` when no row names it. Routes as the router knows them, so there are not many. */
export function accessOf(method: string, route: string): Row['needs'] | undefined {
  const key = `${method} ${route}`;
  if (!found.has(key))
    found.set(key, ACCESS.find((one) => fits(one, method === 'HEAD' ? 'GET' : method, route))?.needs);
  return found.get(key);
}

/** Whether a caller may use a route, given as the router knows it. The apps themselves may use all of them. */
export function mayCall(principal: Principal, method: string, route: string): boolean {
  if (principal.kind === 'service') return true;
  const needs = accessOf(method, route) ?? 'admin';
  if (typeof needs !== 'string') return principal.roles.some((role) => (needs as readonly string[]).includes(role));
  const least = ROLES.indexOf(needs as (typeof ROLES)[number]);
  return principal.roles.some((role) => ROLES.indexOf(role as (typeof ROLES)[number]) >= Math.max(least, 0));
}
