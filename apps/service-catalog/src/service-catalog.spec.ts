import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ADMIN, atom, type CatalogApp, flow, SERVICE, startCatalog } from './catalog-app.spec-kit.js';

let app: CatalogApp & { databaseUrl: string };
let serial = 0;
/** A name of its own for every test, so that they can share one app. */
let own: string;

beforeAll(async () => {
  app = await startCatalog();
  await app.call('PUT', '/v1/atoms/fleet.host.restart', atom('fleet.host.restart'));
  await app.call('PUT', '/v1/atoms/fleet.host.look', atom('fleet.host.look', '1.0.0', { effect: 'read' }));
  await app.call('PUT', '/v1/atoms/fleet.host.scrap', atom('fleet.host.scrap', '1.0.0', { effect: 'destroy' }));
});
afterAll(() => app.close());
beforeEach(() => {
  serial += 1;
  own = `spec/thing-${serial}`;
});

const put = (body: { name?: unknown }, address = String(body.name)) => app.call('PUT', `/v1/flows/${address}`, body);
const act = (verb: string, version: string, name = own) => app.call('POST', `/v1/flows/${name}/${verb}`, { version });
const publish = async (body: ReturnType<typeof flow>) => {
  expect((await put(body)).status).toBe(201);
  expect((await act('publish', String(body['version']), String(body['name']))).status).toBe(200);
};
const compile = (ref: string) => app.internal('compile', { ref });

describe('versions of a flow', () => {
  it('a new version is 201 and a draft, an equal one 200 unchanged, a draft may change until it is published', async () => {
    expect(await put(flow(own))).toMatchObject({
      status: 201,
      body: { change: 'created', status: 'draft', version: '1.0.0' },
    });
    expect(await put(flow(own))).toMatchObject({ status: 200, body: { change: 'unchanged' } });
    expect(await put(flow(own, '1.0.0', { title: 'Other' }))).toMatchObject({
      status: 200,
      body: { change: 'changed', status: 'draft' },
    });
    expect(await put(flow(own, '1.1.0'))).toMatchObject({ status: 201, body: { change: 'created' } });
    expect((await app.call('GET', `/v1/flows/${own}`)).body).toMatchObject({
      version: '1.1.0',
      status: 'draft',
      live: false,
    });
  });

  it('a draft cannot start, a published version can and never changes', async () => {
    await put(flow(own));
    expect((await compile(`${own}@1`)).status).toBe(404);
    expect(await act('publish', '1.0.0')).toMatchObject({ status: 200, body: { status: 'published', changed: true } });
    expect(await act('publish', '1.0.0')).toMatchObject({ status: 200, body: { changed: false } });
    expect(await compile(`${own}@1`)).toMatchObject({ status: 200, body: { name: own, version: '1.0.0' } });
    const changed = await put(flow(own, '1.0.0', { title: 'Other' }));
    expect(changed).toMatchObject({
      status: 409,
      body: { code: 'version-conflict', errors: [{ pointer: '/version' }] },
    });
    expect(await put(flow(own))).toMatchObject({ status: 200, body: { change: 'unchanged', status: 'published' } });
    expect((await app.call('GET', `/v1/flows/${own}/versions/1.0.0`)).body).toMatchObject({
      body: { title: `Flow ${own}` },
      live: true,
    });
  });

  it('publish refuses a flow with a reference to nothing, and names the place', async () => {
    await put(flow(own, '1.0.0', { do: [{ id: 'act', call: 'no.such.atom@1', with: {} }] }));
    const refused = await act('publish', '1.0.0');
    expect(refused).toMatchObject({ status: 400, body: { code: 'validation' } });
    expect(refused.body.errors.map((e) => e.pointer)).toContain('/do/0/call');
    expect((await compile(own)).status).toBe(404);
    expect((await act('publish', '9.9.9')).status).toBe(404);
    expect((await act('publish', '1.0.0', 'spec/nobody')).status).toBe(404);
  });

  it('a range finds the newest published version in it; deprecated ones only by their exact version', async () => {
    for (const version of ['1.0.0', '1.2.0', '2.0.0-rc.1', '2.1.0']) await publish(flow(own, version));
    await put(flow(own, '3.0.0'));
    const found = async (ref: string) => (await compile(ref)).body['version'];
    expect(await found(own)).toBe('2.1.0');
    expect(await found(`${own}@1`)).toBe('1.2.0');
    expect(await found(`${own}@1.0`)).toBe('1.0.0');
    expect(await found(`${own}@^1.0.0`)).toBe('1.2.0');
    expect(await found(`${own}@2.0.0-rc.1`)).toBe('2.0.0-rc.1');
    expect((await compile(`${own}@3`)).status).toBe(404);
    expect(await act('deprecate', '1.2.0')).toMatchObject({
      status: 200,
      body: { status: 'deprecated', changed: true },
    });
    expect(await found(`${own}@1`)).toBe('1.0.0');
    expect(await found(`${own}@1.2.0`)).toBe('1.2.0');
    expect((await act('deprecate', '3.0.0')).body['code']).toBe('conflict');
  });

  it('rollback makes a version the newest in use, publish brings a later one back', async () => {
    for (const version of ['1.0.0', '1.1.0', '1.2.0']) await publish(flow(own, version));
    const back = await act('rollback', '1.0.0');
    expect(back.status).toBe(200);
    expect([...(back.body['deprecated'] as string[])].sort()).toEqual(['1.1.0', '1.2.0']);
    expect((await compile(`${own}@1`)).body['version']).toBe('1.0.0');
    expect((await app.call('GET', `/v1/flows/${own}`)).body).toMatchObject({ version: '1.0.0', live: true });
    expect((await act('rollback', '1.0.0')).body).toMatchObject({ changed: false });
    await act('publish', '1.1.0');
    expect((await compile(own)).body['version']).toBe('1.1.0');
    await put(flow(own, '4.0.0'));
    expect((await act('rollback', '4.0.0')).body['code']).toBe('conflict');
  });

  it('lists versions newest first, in pages', async () => {
    for (const version of ['1.2.0', '1.10.0', '1.9.0']) await put(flow(own, version));
    const first = await app.call('GET', `/v1/flows/${own}/versions?limit=2`);
    expect(first.body.items.map((v) => v['version'])).toEqual(['1.10.0', '1.9.0']);
    const rest = await app.call('GET', `/v1/flows/${own}/versions?limit=2&cursor=${first.body.nextCursor}`);
    expect(rest.body.items.map((v) => v['version'])).toEqual(['1.2.0']);
    expect(rest.body.nextCursor).toBeUndefined();
    expect((await app.call('GET', '/v1/flows/spec/nobody/versions')).status).toBe(404);
  });

  it('two who publish at the same time publish once, and two drafts of one version end as one of the two', async () => {
    await put(flow(own));
    const both = await Promise.all([act('publish', '1.0.0'), act('publish', '1.0.0')]);
    expect(both.map((r) => r.status)).toEqual([200, 200]);
    expect(both.filter((r) => r.body['changed'] === true)).toHaveLength(1);
    const drafts = await Promise.all(['a', 'b', 'c', 'd'].map((title) => put(flow(own, '2.0.0', { title }))));
    expect(drafts.filter((r) => r.status === 201)).toHaveLength(1);
    const race = await Promise.all([act('publish', '2.0.0'), put(flow(own, '2.0.0', { title: 'late' }))]);
    expect(race[0].status).toBe(200);
    expect([200, 409]).toContain(race[1].status);
    const { body } = (await app.call('GET', `/v1/flows/${own}/versions/2.0.0`)).body as unknown as {
      body: { title: string };
    };
    // Whoever came first: a version that was published does not change any more.
    expect(body.title === 'late').toBe(race[1].status === 200);
  });
});

describe('what is refused', () => {
  const step = { id: 'act', call: 'fleet.host.restart@1', with: { host: '${input.host}' } };
  it.each<[string, object, string]>([
    ['an unknown member', { surprise: 1 }, '/surprise'],
    ['no version', { version: undefined }, '/version'],
    ['a version that is none', { version: 'one' }, '/version'],
    ['an unknown verb', { do: [{ id: 'act', teleport: 'host' }] }, '/do/0'],
    ['two verbs', { do: [{ ...step, run: 'fleet/other@1' }] }, '/do/0'],
    ['two steps of one id', { do: [step, step] }, '/do/1/id'],
    ['another kind', { kind: 'atom' }, '/kind'],
    ['another dialect', { dsl: 'opsloop/v9' }, '/dsl'],
    ['a name that is not its address', { name: 'spec/other' }, '/name'],
    ['no steps', { do: [] }, '/do'],
  ])('a flow with %s, at %s', async (_what, change, pointer) => {
    const answer = await put({ ...flow(own), ...change }, own);
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation' } });
    expect(answer.body.errors.map((e) => e.pointer).some((p) => p === pointer || p.startsWith(`${pointer}/`))).toBe(
      true,
    );
    expect((await app.call('GET', `/v1/flows/${own}`)).status).toBe(404);
  });

  it('reserved domains and names', async () => {
    for (const name of ['atom/mine', 'opsloop/per-target']) {
      const answer = await put(flow(name));
      expect(answer.status).toBe(400);
      expect(answer.body.errors.map((e) => e.pointer)).toContain('/name');
    }
    const bundled = await app.call('PUT', '/v1/atoms/http.request', atom('http.request', '2.0.0'));
    expect(bundled.status).toBe(400);
    expect(bundled.body.errors.map((e) => e.pointer)).toContain('/name');
  });

  it('prototype keys, malformed JSON, no token and a token of a person on internal routes', async () => {
    const text = JSON.stringify(flow(own)).replace('"title"', '"__proto__":{"polluted":true},"title"');
    expect(await app.call('PUT', `/v1/flows/${own}`, text)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/__proto__' }] },
    });
    expect((await app.call('PUT', `/v1/flows/${own}`, '{"dsl":')).body['code']).toBe('malformed-json');
    expect((await app.call('GET', '/v1/catalog', undefined, 'nobody')).status).toBe(401);
    expect((await app.call('POST', '/internal/catalog/compile', { ref: own }, ADMIN)).status).toBe(403);
  });

  it.each([
    '',
    'x',
    'a/b/c',
    'spec/thing@',
    'spec/thing@not a range',
    '__proto__',
    'SPEC/thing',
    `spec/${'x'.repeat(400)}`,
  ])('the reference "%s"', async (ref) => {
    expect((await compile(ref)).status).toBe(400);
  });
});

describe('atoms', () => {
  it('of all three forms are published by PUT', async () => {
    const { http: _http, ...plain } = atom('x.y');
    const script = { script: { source: 'echo hello', interpreter: ['bash', '-eu'] } };
    const worker = { worker: { queue: 'fleet-java', activity: 'fleet.thing' } };
    for (const [name, form] of Object.entries({
      'spec.form.http': atom('x.y'),
      'spec.form.script': { ...plain, ...script },
      'spec.form.worker': { ...plain, ...worker },
    })) {
      expect(await app.call('PUT', `/v1/atoms/${name}`, { ...form, name })).toMatchObject({
        status: 201,
        body: { status: 'published' },
      });
      expect((await app.internal('atom', { ref: `${name}@1` })).body).toMatchObject({ name, version: '1.0.0' });
    }
    expect((await app.call('PUT', '/v1/atoms/spec.form.both', { ...atom('spec.form.both'), ...script })).status).toBe(
      400,
    );
    expect((await app.call('PUT', '/v1/atoms/spec.form.none', { ...plain, name: 'spec.form.none' })).status).toBe(400);
  });

  it('of a foreign worker cannot be local, and local ones must bear a repeat', async () => {
    const { http: _http, ...plain } = atom('spec.local.worker');
    const foreign = await app.call('PUT', '/v1/atoms/spec.local.worker', {
      ...plain,
      worker: { queue: 'q', activity: 'a' },
      execution: 'local',
    });
    expect(foreign.status).toBe(400);
    expect(foreign.body.errors.map((e) => e.pointer)).toContain('/execution');
    expect(
      (
        await app.call(
          'PUT',
          '/v1/atoms/spec.local.none',
          atom('spec.local.none', '1.0.0', { execution: 'local', idempotency: 'none' }),
        )
      ).status,
    ).toBe(400);
    expect(
      (await app.call('PUT', '/v1/atoms/spec.local.fine', atom('spec.local.fine', '1.0.0', { execution: 'local' })))
        .status,
    ).toBe(201);
  });

  it('keep their versions; those of opsloop are listed as built in', async () => {
    expect((await app.call('PUT', '/v1/atoms/fleet.host.restart', atom('fleet.host.restart'))).body).toMatchObject({
      change: 'unchanged',
    });
    expect(
      (await app.call('PUT', '/v1/atoms/fleet.host.restart', atom('fleet.host.restart', '1.0.0', { title: 'Other' })))
        .status,
    ).toBe(409);
    const list = await app.call('GET', '/v1/atoms?limit=500');
    const builtIn = list.body.items.filter((a) => a['builtIn'] === true).map((a) => a.name);
    expect(builtIn).toEqual(['http.request', 'notify.webhook', 'probe.http', 'resource.list', 'script.run']);
    expect((await app.call('GET', '/v1/atoms/probe.http')).body).toMatchObject({ builtIn: true, live: true });
  });
});

describe('compile', () => {
  it('pins everything a flow refers to, sub-flows included, and gives the strongest effect of all', async () => {
    const sub = `${own}-sub`;
    await publish(
      flow(sub, '1.0.0', { do: [{ id: 'scrap', call: 'fleet.host.scrap@1', with: { host: '${input.host}' } }] }),
    );
    await publish(
      flow(own, '1.0.0', {
        do: [
          { id: 'look', call: 'fleet.host.look@1', with: { host: '${input.host}' } },
          { id: 'sub', run: `${sub}@1`, with: { host: '${input.host}' } },
        ],
      }),
    );
    const { status, body } = await compile(`${own}@1`);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      kind: 'flow',
      name: own,
      version: '1.0.0',
      effect: 'destroy',
      inputSchema: { required: ['host'] },
      compiled: {
        ir: 1,
        atoms: { 'fleet.host.look@1': { version: '1.0.0', effect: 'read' } },
        flows: {
          [`${sub}@1`]: {
            flow: { name: sub, version: '1.0.0' },
            atoms: { 'fleet.host.scrap@1': { effect: 'destroy' } },
          },
        },
      },
    });
  });

  it('wraps an atom in a flow of one step', async () => {
    for (const ref of ['fleet.host.restart@1', 'fleet.host.restart', 'atom/fleet.host.restart@1']) {
      expect((await compile(ref)).body).toMatchObject({
        kind: 'atom',
        name: 'atom/fleet.host.restart',
        version: '1.0.0',
        effect: 'mutate',
        document: { name: 'atom/fleet.host.restart', do: [{ id: 'call' }] },
      });
    }
    expect((await compile('probe.http@1')).body).toMatchObject({ kind: 'atom', effect: 'read' });
    expect((await compile('no.such@1')).status).toBe(404);
  });

  it('sees a newer version of what it refers to as soon as that is published, in every process', async () => {
    const other = await startCatalog(app.databaseUrl);
    try {
      const sub = `${own}-sub`;
      await publish(flow(sub));
      await publish(flow(own, '1.0.0', { do: [{ id: 'sub', run: `${sub}@1`, with: { host: '${input.host}' } }] }));
      const pinned = async (from: CatalogApp) => {
        const { body } = await from.internal('compile', { ref: own });
        return (body['compiled'] as { flows: Record<string, { flow: { version: string } }> }).flows[`${sub}@1`]?.flow
          .version;
      };
      expect([await pinned(app), await pinned(other)]).toEqual(['1.0.0', '1.0.0']);
      await publish(flow(sub, '1.1.0'));
      expect([await pinned(app), await pinned(other)]).toEqual(['1.1.0', '1.1.0']);
      await act('rollback', '1.0.0', sub);
      expect([await pinned(app), await pinned(other)]).toEqual(['1.0.0', '1.0.0']);
    } finally {
      await other.close();
    }
  });

  it('refuses a flow that would run itself', async () => {
    const other = `${own}-other`;
    await publish(flow(own));
    await publish(flow(other, '1.0.0', { do: [{ id: 'sub', run: `${own}@1`, with: { host: '${input.host}' } }] }));
    await put(flow(own, '1.1.0', { do: [{ id: 'sub', run: `${other}@1`, with: { host: '${input.host}' } }] }));
    expect(await act('publish', '1.1.0')).toMatchObject({ status: 400, body: { code: 'validation' } });
  });
});

describe('validate and plan', () => {
  it('gives findings with code, severity and pointer, and resolves references among the documents given', async () => {
    const sub = flow(`${own}-sub`);
    const main = flow(own, '1.0.0', { do: [{ id: 'sub', run: `${own}-sub@1`, with: { host: '${input.host}' } }] });
    const alone = await app.call('POST', '/v1/flows/validate', main);
    expect(alone).toMatchObject({ status: 200, body: { valid: false } });
    expect(alone.body.findings).toEqual(
      expect.arrayContaining([expect.objectContaining({ severity: 'error', pointer: '/do/0/run' })]),
    );
    expect(alone.body.findings[0]?.code).toMatch(/^OPS\d{4}$/);
    const together = await app.call('POST', '/v1/flows/validate', { documents: [main, sub] });
    expect(together.body).toMatchObject({
      valid: true,
      documents: [{ kind: 'flow', name: own, valid: true }, { valid: true }],
    });
    const wrong = await app.call('POST', '/v1/flows/validate', {
      documents: [sub, { kind: 'wish' }, { ...main, surprise: 1 }],
    });
    expect(wrong.body['valid']).toBe(false);
    expect(wrong.body.findings.map((f) => f.pointer)).toEqual(
      expect.arrayContaining(['/documents/1/kind', '/documents/2/surprise']),
    );
    expect((await app.call('GET', `/v1/flows/${own}`)).status).toBe(404);
  });

  it('finds what only the whole catalog shows, and refuses to publish it', async () => {
    const wrong = flow(own, '1.0.0', {
      do: [{ id: 'act', call: 'fleet.host.restart@1', with: { hst: '${input.host}' } }],
    });
    const found = await app.call('POST', '/v1/flows/validate', wrong);
    expect(found.body).toMatchObject({
      valid: false,
      findings: [
        {
          ...{ code: 'OPS1604', pointer: '/do/0/with/host', step: 'act', hint: 'add "host"' },
          url: 'https://opsloop.dev/docs/findings/OPS1604',
        },
      ],
    });
    expect((await put(wrong)).status).toBe(201);
    const refused = await app.call('POST', `/v1/flows/${own}/publish`, { version: '1.0.0' });
    expect(refused).toMatchObject({ status: 400, body: { errors: [{ pointer: '/do/0/with/host' }] } });
  });

  it('holds a new version against the published one', async () => {
    await publish(flow(own, '1.0.0'));
    const narrower = flow(own, '1.1.0', {
      input: {
        schema: {
          type: 'object',
          required: ['host', 'why'],
          properties: { host: { type: 'string' }, why: { type: 'string' } },
        },
      },
    });
    const found = await app.call('POST', '/v1/flows/validate', narrower);
    expect(found.body.findings).toMatchObject([{ code: 'OPS1942', pointer: '/input/schema/required' }]);
    expect((await app.call('POST', '/v1/flows/validate', { ...narrower, version: '2.0.0' })).body['valid']).toBe(true);
  });

  it('plans with documents that are not stored yet, and says what a retry would repeat', async () => {
    const sub = flow(`${own}-sub`);
    const main = flow(own, '1.0.0', { do: [{ id: 'sub', run: `${own}-sub@1`, with: { host: '${input.host}' } }] });
    const request = { flow: main, documents: [sub], input: { host: 'host/a' } };
    const steps = [{ id: 'sub', path: 'sub', verb: 'run', status: 'failed', attempts: 1, startedAt: '' }];
    expect((await app.call('POST', '/v1/flows/plan', { ...request, against: { steps } })).body).toMatchObject({
      pinned: expect.arrayContaining([{ kind: 'flow', ref: `${own}-sub@1`, version: `${own}-sub@1.0.0` }]) as object[],
      retry: { kept: [], again: [{ path: 'sub', why: 'it failed' }] },
    });
    expect(
      await app.call('POST', '/v1/flows/plan', { ...request, documents: [{ ...sub, surprise: 1 }] }),
    ).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/surprise' }] },
    });
  });

  it('plans targets, batches, effects and pinned versions for a given input, the same bytes each time', async () => {
    const many = {
      input: {
        schema: {
          type: 'object',
          required: ['hosts'],
          properties: { hosts: { type: 'array', items: { type: 'string' } } },
        },
      },
      targets: '${input.hosts}',
      do: [
        {
          id: 'each',
          forEach: { in: '${input.hosts}', as: 'host', key: '${host}', batch: { canary: 1, size: 2 } },
          do: [{ id: 'act', call: 'fleet.host.restart@1', with: { host: '${host}' } }],
        },
      ],
    };
    const request = { flow: flow(own, '1.0.0', many), input: { hosts: ['host/a', 'host/b', 'host/c', 'host/d'] } };
    const plan = await app.call('POST', '/v1/flows/plan', request);
    expect(plan).toMatchObject({
      status: 200,
      body: {
        name: own,
        effect: 'mutate',
        inputErrors: [],
        targets: ['host/a', 'host/b', 'host/c', 'host/d'],
        locks: ['host/a', 'host/b', 'host/c', 'host/d'].map((path) => ({ path, mode: 'exclusive' })),
        effects: { read: 0, mutate: 1, destroy: 0 },
        steps: [
          {
            id: 'each',
            verb: 'forEach',
            items: 4,
            batches: [['host/a'], ['host/b', 'host/c'], ['host/d']],
            steps: [{ path: 'each/act', pinned: 'fleet.host.restart@1.0.0' }],
          },
        ],
      },
    });
    expect(JSON.stringify((await app.call('POST', '/v1/flows/plan', request)).body)).toBe(JSON.stringify(plan.body));
    const wrong = await app.call('POST', '/v1/flows/plan', { ...request, input: {} });
    expect(wrong.body).toMatchObject({
      targets: 'known at run time',
      inputErrors: [{ pointer: expect.stringContaining('hosts') as string }],
    });
    expect((await app.call('POST', '/v1/flows/plan', { input: {} })).status).toBe(400);
    expect((await app.call('POST', '/v1/flows/plan', { name: 'spec/nobody' })).status).toBe(404);
  });
});

describe('the catalog', () => {
  it('offers published flows and atoms, filtered and in pages', async () => {
    await publish(flow(own, '1.0.0', { owner: `team-${serial}`, title: 'Wash the Dishes' }));
    await publish(
      flow(`${own}-read`, '1.0.0', {
        owner: `team-${serial}`,
        do: [{ id: 'look', call: 'fleet.host.look@1', with: { host: '${input.host}' } }],
      }),
    );
    await put(flow(`${own}-draft`, '1.0.0', { owner: `team-${serial}` }));
    const names = async (query: string) =>
      (await app.call('GET', `/v1/catalog?${query}`)).body.items.map((o) => o.name);
    expect(await names(`owner=team-${serial}`)).toEqual([own, `${own}-read`]);
    expect(await names(`owner=team-${serial}&effect=mutate`)).toEqual([own]);
    expect(await names(`owner=team-${serial}&q=dishes`)).toEqual([own]);
    expect(await names(`owner=team-${serial}&kind=atom`)).toEqual([]);
    expect(await names('kind=atom&q=probe')).toEqual(['atom/probe.http']);
    const all: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await app.call('GET', `/v1/catalog?limit=3${cursor === undefined ? '' : `&cursor=${cursor}`}`);
      expect(page.body.items.length).toBeLessThanOrEqual(3);
      all.push(...page.body.items.map((o) => o.name));
      cursor = page.body.nextCursor;
    } while (cursor !== undefined);
    expect(all).toEqual(await names('limit=500'));
    expect((await app.call('GET', '/v1/catalog?kind=pony')).status).toBe(400);
    expect((await app.call('GET', '/v1/catalog?cursor=zzz')).status).toBe(400);
  });

  it('says how to call an offering', async () => {
    await publish(flow(own));
    await put(flow(own, '1.1.0'));
    const { body } = await app.call('GET', `/v1/catalog/${own}`);
    expect(body).toMatchObject({
      kind: 'flow',
      version: '1.0.0',
      effect: 'mutate',
      owner: 'team-fleet',
      startable: true,
      input: { required: ['host'] },
      examples: [{ input: { host: 'text' } }],
      calls: { 'fleet.host.restart@1': 'fleet.host.restart@1.0.0' },
      versions: [
        { version: '1.1.0', status: 'draft' },
        { version: '1.0.0', status: 'published' },
      ],
    });
    expect(body['curl']).toContain(`${app.url}/v1/catalog/${own}/runs`);
    expect((await app.call('GET', '/v1/catalog/atom/probe.http')).body).toMatchObject({
      kind: 'atom',
      name: 'atom/probe.http',
      effect: 'read',
      builtIn: true,
    });
    expect((await app.call('GET', '/v1/catalog/spec/nobody')).status).toBe(404);
  });
});

describe('settings', () => {
  it('configs are put, read, handed to the other apps and deleted', async () => {
    const config = { dsl: 'opsloop/v1', kind: 'config', name: `spec${serial}`, values: { url: 'http://x' } };
    expect((await app.call('PUT', `/v1/configs/${config.name}`, config)).status).toBe(201);
    expect((await app.call('PUT', `/v1/configs/${config.name}`, config)).body).toMatchObject({ change: 'unchanged' });
    expect(
      await app.call('PUT', `/v1/configs/${config.name}`, { ...config, values: { url: 'http://y' } }),
    ).toMatchObject({ status: 200, body: { change: 'changed' } });
    const configs = async () =>
      ((await app.internal('configs', {})).body['configs'] as Record<string, unknown>)[config.name];
    expect(await configs()).toEqual({ url: 'http://y' });
    expect((await app.call('GET', `/v1/configs/${config.name}`)).body).toMatchObject({
      body: { values: { url: 'http://y' } },
    });
    expect((await app.call('DELETE', `/v1/configs/${config.name}`)).status).toBe(204);
    expect((await app.call('GET', `/v1/configs/${config.name}`)).status).toBe(404);
    expect(await configs()).toBeUndefined();
  });

  it('tables have versions; a schedule is kept, and told to control', async () => {
    const table = {
      dsl: 'opsloop/v1',
      kind: 'table',
      name: own,
      version: '1.0.0',
      hit: 'first',
      rows: [{ when: "resource.labels.service == 'pay'", tier: 'P0' }, { tier: 'P4' }],
    };
    expect((await app.call('PUT', `/v1/tables/${own}`, table)).status).toBe(201);
    expect((await app.call('PUT', `/v1/tables/${own}`, { ...table, rows: [{ tier: 'P3' }] })).status).toBe(409);
    expect((await app.call('GET', `/v1/tables/${own}?version=1.0.0`)).body).toMatchObject({ live: true });
    const schedule = {
      dsl: 'opsloop/v1',
      kind: 'schedule',
      name: own,
      cron: '0 3 * * *',
      zone: 'Asia/Shanghai',
      call: 'fleet.host.look@1',
      with: { host: 'host/a' },
      overlap: 'skip',
      catchUp: 'last',
    };
    const stored = await app.call('PUT', `/v1/schedules/${own}`, schedule);
    expect(stored.status).toBe(201);
    const told = await app.internal('schedules', {});
    expect(told.body['schedules']).toContainEqual(expect.objectContaining({ name: own, body: schedule }));
    expect((await app.call('GET', '/v1/schedules')).body.items.map((s) => s.name)).toContain(own);
    expect(
      (await app.call('PUT', `/v1/schedules/${own}`, { ...schedule, surprise: 1 })).body.errors.map((e) => e.pointer),
    ).toContain('/surprise');
  });
});

describe('audit and pages', () => {
  it('keeps a row per act, newest first, and nobody can change it', async () => {
    await publish(flow(own));
    await app.call('POST', `/v1/flows/${own}/deprecate`, { version: '1.0.0', reason: 'replaced' });
    await put(flow(own, '1.0.0'));
    const { body } = await app.call('GET', `/v1/audit?kind=flow&name=${encodeURIComponent(own)}`);
    expect(body.items.map((e) => e['act'])).toEqual(['deprecate', 'publish', 'put']);
    expect(body.items[0]).toMatchObject({ by: 'admin', version: '1.0.0', reason: 'replaced' });
    await expect(app.database.query('DELETE FROM catalog.audit')).rejects.toThrow(/insert-only/);
    await expect(app.database.query("UPDATE catalog.audit SET by = 'nobody'")).rejects.toThrow(/insert-only/);
  });

  it('documents its routes, without the internal ones', async () => {
    const { body } = await app.call('GET', '/openapi.json');
    const paths = Object.keys(body['paths'] as object);
    expect(paths).toEqual(
      expect.arrayContaining([
        '/v1/flows/{domain}/{name}',
        '/v1/flows/{domain}/{name}/publish',
        '/v1/flows/validate',
        '/v1/catalog/{domain}/{name}',
        '/v1/audit',
      ]),
    );
    expect(paths.filter((p) => p.startsWith('/internal'))).toEqual([]);
    expect((await app.call('GET', '/v1/flows', undefined, SERVICE)).status).toBe(200);
  });
});
