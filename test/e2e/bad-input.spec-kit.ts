/** Everything that a caller may get wrong, with the status, the code and the field that the answer has to name. */
import { plainRule } from './documents.spec-kit.js';
import { CLOUDEVENT } from './stack.spec-kit.js';

const EVENT = { specversion: '1.0', id: 'x', source: 'e2e', type: 'e2e.bad' };
const json = { 'content-type': 'application/json' };
const FLOW = '/v1/flows/e2e/bad';
const RUN = '/v1/catalog/e2e/note/runs';
// A literal would set the prototype instead of a member.
const POLLUTED = '{"input":{"host":"a","__proto__":{"admin":true}}}';

/** What is wrong, the request (method, path, body, headers), and the answer (status, code, pointer). */
export type BadInput = [string, string, string, unknown, Record<string, string>, number, string, string | undefined];

export const badInputs: BadInput[] = [
  ['malformed JSON', 'POST', '/v1/events', '{"a":', json, 400, 'malformed-json', undefined],
  ['malformed JSON of a run', 'POST', RUN, '{"input":', json, 400, 'malformed-json', undefined],
  [
    'an event without a type',
    'POST',
    '/v1/events',
    { ...EVENT, type: undefined },
    CLOUDEVENT,
    400,
    'validation',
    '/type',
  ],
  [
    'a batch with one bad event',
    'POST',
    '/v1/events',
    [EVENT, { ...EVENT, id: 7 }],
    { 'content-type': 'application/cloudevents-batch+json' },
    400,
    'validation',
    '/1/id',
  ],
  ['an unknown flow', 'POST', '/v1/catalog/e2e/nothing/runs', { input: {} }, {}, 404, 'not-found', undefined],
  ['an input against the schema', 'POST', RUN, { input: { host: 7 } }, {}, 400, 'validation', '/input/host'],
  ['an unknown member', 'POST', RUN, { inputs: {} }, {}, 400, 'validation', '/inputs'],
  ['a prototype key', 'POST', RUN, POLLUTED, {}, 400, 'validation', '/input/__proto__'],
  ['a wait that is too long', 'POST', RUN, { input: { host: 'a' }, wait: '2h' }, {}, 400, 'validation', '/wait'],
  ['a body of 2 MB', 'POST', RUN, { input: { host: 'x'.repeat(2 << 20) } }, {}, 413, 'payload-too-large', undefined],
  [
    'another content type',
    'POST',
    RUN,
    'a=b',
    { 'content-type': 'application/x-www-form-urlencoded' },
    415,
    'unsupported-media-type',
    undefined,
  ],
  [
    'a flow with two verbs in a step',
    'PUT',
    FLOW,
    {
      dsl: 'opsloop/v1',
      kind: 'flow',
      name: 'e2e/bad',
      version: '1.0.0',
      do: [{ id: 'a', set: {}, wait: { for: '1s' } }],
    },
    {},
    400,
    'validation',
    '/do/0',
  ],
  [
    'a rule without branches',
    'PUT',
    '/v1/rules/e2e/bad',
    { dsl: 'opsloop/v1', kind: 'rule', name: 'e2e/bad', version: '1.0.0', on: [{ type: 'x' }] },
    {},
    400,
    'validation',
    '/branches',
  ],
  [
    'a rule with an unknown member',
    'PUT',
    '/v1/rules/e2e/bad',
    { ...plainRule('e2e/bad', 'x', 'e2e/note'), dsl: 'opsloop/v1', version: '1.0.0', fro: '1s' },
    {},
    400,
    'validation',
    '/fro',
  ],
  [
    'a policy that is not evaluated',
    'PUT',
    '/v1/policies/e2e/bad',
    { dsl: 'opsloop/v1', kind: 'policy', name: 'e2e/bad', type: 'quota', runs: 1 },
    {},
    400,
    'validation',
    '/type',
  ],
  [
    'a lock on a bad path',
    'POST',
    '/v1/locks',
    { claims: [{ path: 'a//b', mode: 'shared' }], owner: 'e2e' },
    {},
    400,
    'validation',
    '/claims/0/path',
  ],
  ['a halt without a reason', 'POST', '/v1/halts', { scope: {} }, {}, 400, 'validation', '/reason'],
  [
    'a resource with a bad path',
    'PUT',
    '/v1/resources',
    { items: [{ path: '/a' }] },
    {},
    400,
    'validation',
    '/items/0/path',
  ],
  ['a bad cursor', 'GET', '/v1/runs?cursor=zzz', undefined, {}, 400, 'validation', '/cursor'],
  ['a bad cursor of events', 'GET', '/v1/events?cursor=zzz', undefined, {}, 400, 'validation', '/cursor'],
  ['a limit that is too large', 'GET', '/v1/runs?limit=501', undefined, {}, 400, 'validation', '/limit'],
  ['an unknown filter', 'GET', '/v1/runs?state=x', undefined, {}, 400, 'validation', '/state'],
  ['an id that is none', 'GET', '/v1/runs/42', undefined, {}, 404, 'not-found', undefined],
  ['an unknown path', 'GET', '/v1/nothing', undefined, {}, 404, 'not-found', undefined],
  ['a method that is not there', 'DELETE', '/v1/runs', undefined, {}, 405, 'method-not-allowed', undefined],
  ['a wrong token', 'GET', '/v1/runs', undefined, { authorization: 'Bearer wrong' }, 401, 'authentication', undefined],
  ['an internal route with the admin key', 'POST', '/internal/halts', {}, {}, 403, 'authorization', undefined],
];
