import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonObject } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { atomsOf } from './import-openapi.pure.js';
import { readOpenapi } from './read-openapi.js';

const PETS: JsonObject = {
  openapi: '3.0.3',
  info: { title: 'Pet Store', version: '1' },
  servers: [{ url: 'https://{stage}.pets.example/v1/', variables: { stage: { default: 'test' } } }],
  security: [{ token: [] }],
  paths: {
    '/pets/{petId}': {
      parameters: [{ name: 'petId', in: 'path', required: true, schema: { type: 'integer' } }],
      get: {
        operationId: 'getPetById',
        summary: 'One pet',
        parameters: [{ name: 'fields', in: 'query', schema: { type: 'array', items: { type: 'string' } } }],
        responses: {
          200: { description: 'ok', content: { 'application/json': { schema: { $ref: '#/components/schemas/Pet' } } } },
        },
      },
      delete: { security: [{ key: [] }], responses: { 204: { description: 'gone' } } },
    },
    '/pets': {
      post: {
        operationId: 'addPet',
        requestBody: {
          required: true,
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Pet' } } },
        },
        responses: { 201: { description: 'made' }, 202: { description: 'later' } },
      },
    },
  },
  components: {
    securitySchemes: {
      token: { type: 'http', scheme: 'bearer' },
      key: { type: 'apiKey', in: 'header', name: 'X-Key' },
    },
    schemas: {
      Pet: {
        type: 'object',
        required: ['name'],
        properties: {
          name: { type: 'string', nullable: true, example: 'Rex', pattern: '(a+)+' },
          friends: { type: 'array', items: { $ref: '#/components/schemas/Pet' } },
        },
      },
    },
  },
};

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'opsloop-openapi-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function imported(api: JsonObject, options = {}): Promise<ReturnType<typeof atomsOf>> {
  const file = join(folder, 'api.json');
  writeFileSync(file, JSON.stringify(api));
  return atomsOf(await readOpenapi(file, 'api.json'), options);
}

describe('atoms from an OpenAPI description', () => {
  it('are valid, one per operation, with their effect from the method', async () => {
    const { atoms, notes } = await imported(PETS);
    for (const atom of atoms)
      expect(
        validateDocument('atom', atom).findings.filter((f) => f.severity === 'error'),
        atom.name,
      ).toEqual([]);
    expect(atoms.map((a) => [a.name, a.effect, a.http!.method, a.http!.url])).toEqual([
      ['pet-store.get-pet-by-id', 'read', 'GET', 'https://test.pets.example/v1/pets/${input.petId|string}'],
      ['pet-store.pets.delete', 'destroy', 'DELETE', 'https://test.pets.example/v1/pets/${input.petId|string}'],
      ['pet-store.add-pet', 'mutate', 'POST', 'https://test.pets.example/v1/pets'],
    ]);
    expect(notes.join('\n')).toContain('opsloop secrets put pet-store-token');
  });

  it('take parameters and body as input, secrets as references, answers as output', async () => {
    const [get, remove, add] = (await imported(PETS)).atoms;
    expect(get!.http).toMatchObject({
      query: { fields: '${input.fields?}' },
      headers: { authorization: 'Bearer ${secrets.pet-store-token}' },
      expect: [200],
    });
    expect(get!.input!.schema).toMatchObject({ required: ['petId'], additionalProperties: false });
    expect(get!.output!.schema).toMatchObject({ properties: { name: { type: ['string', 'null'] } } });
    // What its pattern costs is not known, and a schema that holds itself ends somewhere.
    expect(JSON.stringify(get)).not.toContain('(a+)+');
    expect(remove!.http!.headers).toEqual({ 'x-key': '${secrets.pet-store-key}' });
    expect(add!.http).toMatchObject({ body: '${input.body}', expect: [201, 202] });
    expect(add!.input!.schema).toMatchObject({ required: ['body'] });
    expect(add!.idempotency).toBe('none');
  });

  it('read Swagger 2.0, and an address from a config where none is named', async () => {
    const { atoms, notes } = await imported(
      {
        swagger: '2.0',
        info: { title: '1 Old API', version: '1' },
        basePath: '/v0',
        paths: {
          '/things': {
            post: {
              parameters: [{ name: 'b', in: 'body', schema: { type: 'object' } }],
              responses: { 200: { description: 'ok' } },
            },
          },
        },
      },
      { prefix: 'old' },
    );
    expect(atoms[0]).toMatchObject({ name: 'old.things.post', http: { body: '${input.body?}' } });
    expect(atoms[0]!.http!.url).toBe('${config.old.url}/things');
    expect(notes.join('\n')).toContain('config named "old"');
    expect(validateDocument('atom', atoms[0]).findings.filter((f) => f.severity === 'error')).toEqual([]);
  });

  it('names stay apart', async () => {
    const get = { operationId: 'same', responses: { 200: { description: 'ok' } } };
    const { atoms } = await imported({
      openapi: '3.1.0',
      info: { title: 'x', version: '1' },
      paths: { '/a': { get }, '/b': { get: { ...get, operationId: 'Same' } } },
    });
    expect(atoms.map((a) => a.name)).toEqual(['x.same', 'x.same-2']);
  });

  it.each([
    ['no description', { hello: 1 }],
    ['one that is wrong', { openapi: '3.0.0', info: {}, paths: {} }],
  ])('refuse %s', async (_what, api) => {
    await expect(imported(api as JsonObject)).rejects.toThrow(/no valid OpenAPI/);
  });
});
