import { startHttpTarget, type HttpTarget } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { atom, type CatalogApp, flow, startCatalog } from '../catalog-app.spec-kit.js';

let control: HttpTarget;
let app: CatalogApp;
let open: Record<string, number> | undefined;

beforeAll(async () => {
  control = await startHttpTarget(() => (open === undefined ? { status: 503, body: 'away' } : { body: { open } }));
  app = await startCatalog(undefined, {}, control.url);
  await app.call('PUT', '/v1/atoms/fleet.host.restart', atom('fleet.host.restart'));
});
afterAll(async () => {
  await app?.close();
  await control?.close();
});

const environment = (values: object) =>
  app.call('PUT', '/v1/configs/environment', { dsl: 'opsloop/v1', kind: 'config', name: 'environment', values });
const put = (body: ReturnType<typeof flow>) => app.call('PUT', `/v1/flows/${String(body['name'])}`, body);
const publish = (name: string, version = '1.0.0') => app.call('POST', `/v1/flows/${name}/publish`, { version });

/** Restarts up to ten hosts, five at a time. */
const wide = (name: string) =>
  flow(name, '1.0.0', {
    input: {
      schema: {
        type: 'object',
        required: ['hosts'],
        properties: { hosts: { type: 'array', items: { type: 'string' }, maxItems: 10 } },
      },
    },
    targets: '${input.hosts}',
    do: [
      {
        id: 'each',
        forEach: { in: '${input.hosts}', as: 'host', key: '${host}', concurrency: 5 },
        do: [{ id: 'act', call: 'fleet.host.restart@1', with: { host: '${host}' } }],
      },
    ],
  });

describe('the environment', () => {
  it('refuses a limit that is none', async () => {
    expect(await environment({ maxInFlight: 'many' })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/values/maxInFlight' }] },
    });
  });

  it('limits what is validated, published and planned', async () => {
    const body = wide('spec/wide');
    await put(body);
    await environment({ maxInFlight: 4, maxTargets: 6 });
    const { findings } = (await app.call('POST', '/v1/flows/validate', body)).body;
    const limited = findings.filter(({ code }) => code === 'OPS1807').map(({ pointer }) => pointer);
    expect(limited).toEqual(['/do/0/forEach/concurrency', '/do/0/forEach/in']);
    expect(await publish('spec/wide')).toMatchObject({
      status: 400,
      body: {
        errors: [
          {
            pointer: '/do/0/forEach/concurrency',
            message: expect.stringMatching(/^5 targets in flight; the environment allows 4; lower /) as string,
          },
          { pointer: '/do/0/forEach/in' },
        ],
      },
    });
    const plan = async (hosts: number) => {
      const input = { hosts: Array.from({ length: hosts }, (_, i) => `host/${i}`) };
      const answer = await app.call('POST', '/v1/flows/plan', { flow: body, input });
      return answer.body.findings.filter(({ code, pointer }) => code === 'OPS1807' && !pointer.includes('forEach'));
    };
    expect((await plan(4)).map(({ pointer }) => pointer)).toEqual([]);
    expect((await plan(7)).map(({ pointer }) => pointer)).toEqual(['/do', '/targets']);
    await environment({ maxInFlight: 5, maxTargets: 10 });
    expect((await publish('spec/wide')).status).toBe(200);
  });

  it('tells who publishes of runs under way whose steps would be gone, and keeps nobody from it', async () => {
    const name = 'spec/busy';
    await put(flow(name));
    open = { [name]: 3 };
    expect((await publish(name)).body['warnings']).toBeUndefined();
    const next = (version: string) =>
      flow(name, version, { do: [{ id: 'other', call: 'fleet.host.restart@1', with: { host: '${input.host}' } }] });
    await put(next('1.1.0'));
    const { findings } = (await app.call('POST', '/v1/flows/validate', next('1.1.0'))).body;
    expect(findings).toMatchObject([{ code: 'OPS1944', message: '3 runs are under way, and "act" is gone' }]);
    expect(await publish(name, '1.1.0')).toMatchObject({ status: 200, body: { warnings: [{ code: 'OPS1944' }] } });
    // Where control does not answer nothing is said of runs.
    open = undefined;
    await put(flow(name, '1.2.0'));
    const away = await publish(name, '1.2.0');
    expect([away.status, away.body['warnings']]).toEqual([200, undefined]);
  });
});
