import { describe, expect, it } from 'vitest';
import { accessOf, mayCall } from './access.pure.js';
import type { Principal } from './auth.pure.js';

const who = (...roles: string[]): Principal => ({ tenant: 'default', kind: 'token', name: 'x', roles, groups: [] });

describe('who may call what', () => {
  it.each<[string, string, string[]]>([
    ['GET', '/v1/runs', ['viewer', 'operator', 'expert', 'admin']],
    ['HEAD', '/v1/runs', ['viewer', 'operator', 'expert', 'admin']],
    ['POST', '/v1/flows/validate', ['viewer', 'operator', 'expert', 'admin']],
    ['POST', '/v1/halts', ['operator', 'expert', 'admin']],
    ['POST', '/v1/runs/:id/cancel', ['operator', 'expert', 'admin']],
    ['POST', '/v1/runs/:id/allow', ['expert', 'admin']],
    ['POST', '/v1/approvals/:id/answer', ['operator', 'expert', 'admin']],
    ['PATCH', '/v1/rules/:domain/:name', ['operator', 'expert', 'admin']],
    ['PUT', '/v1/rules/:domain/:name', ['expert', 'admin']],
    ['DELETE', '/v1/rules/:domain/:name', ['expert', 'admin']],
    ['POST', '/v1/flows/:domain/:name/publish', ['expert', 'admin']],
    ['GET', '/v1/secrets', ['expert', 'admin']],
    ['PUT', '/v1/secrets/:name', ['admin']],
    ['POST', '/v1/tokens', ['admin']],
    ['POST', '/v1/secret-keys/rotate', ['admin']],
    ['POST', '/v1/secrets/resolve', ['worker']],
    ['POST', '/v1/events', ['operator', 'expert', 'admin', 'worker']],
    // Nobody wrote a row for these: closed.
    ['POST', '/v1/brand-new', ['admin']],
    ['PUT', '', ['admin']],
  ])('%s %s', (method, route, allowed) => {
    for (const role of ['viewer', 'operator', 'expert', 'admin', 'worker', 'service', '', 'Admin'])
      expect(mayCall(who(role), method, route), role).toBe(allowed.includes(role));
    expect(mayCall(who(), method, route)).toBe(false);
  });

  it('the strongest of several roles counts, and the apps may do everything', () => {
    expect(mayCall(who('viewer', 'operator'), 'POST', '/v1/halts')).toBe(true);
    expect(mayCall({ ...who(), kind: 'service' }, 'POST', '/v1/brand-new')).toBe(true);
    expect(accessOf('POST', '/v1/brand-new')).toBeUndefined();
  });
});
