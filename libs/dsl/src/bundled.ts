import type { AtomDocument, JsonObject } from '@opsloop/contracts';

const text = { type: 'string' };
const url = { type: 'string', minLength: 1, maxLength: 8_192, description: 'http or https URL' };
const object = (required: string[], properties: JsonObject): { schema: JsonObject } => ({
  schema: { type: 'object', required, additionalProperties: false, properties },
});

function bundled(
  atom: Pick<AtomDocument, 'name' | 'title' | 'effect' | 'idempotency' | 'input' | 'output' | 'examples'>,
): AtomDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'atom',
    version: '1.0.0',
    owner: 'opsloop',
    bundled: true,
    timeout: { startToClose: '30s' },
    ...atom,
  };
}

/** Manifests of the atoms that come with opsloop. Their names and shapes are fixed: every flow may rely on them. */
export const bundledAtoms: AtomDocument[] = [
  bundled({
    name: 'http.request',
    title: 'Send an HTTP request',
    effect: 'mutate',
    idempotency: 'native',
    input: object(['method', 'url'], {
      method: { enum: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] },
      url,
      headers: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean', 'object'] } },
      body: true,
      expect: { type: 'array', items: { type: 'integer', minimum: 100, maximum: 599 }, maxItems: 100 },
    }),
    output: object(['status', 'headers', 'body'], {
      status: { type: 'integer' },
      headers: { type: 'object' },
      body: true,
    }),
    examples: [
      { input: { method: 'GET', url: 'https://example.com/' }, output: { status: 200, headers: {}, body: 'ok' } },
    ],
  }),
  bundled({
    name: 'probe.http',
    title: 'Ask an HTTP endpoint whether it is up',
    effect: 'read',
    idempotency: 'native',
    input: object(['url'], { url, timeout: { type: 'string', description: 'duration, default 5s' } }),
    output: object(['state', 'latencyMs'], {
      state: { enum: ['up', 'down'] },
      status: { type: 'integer' },
      latencyMs: { type: 'number' },
      reason: text,
    }),
    examples: [{ input: { url: 'http://web-042/healthz' }, output: { state: 'up', status: 200, latencyMs: 3 } }],
  }),
  bundled({
    name: 'script.run',
    title: 'Run a program in the sandbox',
    effect: 'mutate',
    idempotency: 'none',
    input: object(['argv'], {
      argv: { type: 'array', items: text, minItems: 1, maxItems: 256 },
      cwd: text,
      env: { type: 'object', additionalProperties: { type: ['string', 'object'] } },
      stdin: { type: ['string', 'object'] },
    }),
    output: {
      schema: {
        type: 'object',
        required: ['exitCode'],
        properties: { exitCode: { type: 'integer' }, stdout: text, stderr: text },
      },
    },
    examples: [{ input: { argv: ['true'] }, output: { exitCode: 0, stdout: '', stderr: '' } }],
  }),
  bundled({
    name: 'notify.webhook',
    title: 'Post a message to a webhook',
    effect: 'mutate',
    idempotency: 'native',
    input: object(['url', 'body'], { url: { ...url, type: ['string', 'object'] }, body: true }),
    output: { schema: { type: 'object' } },
    examples: [{ input: { url: 'https://chat.example/hook', body: { text: 'hello' } }, output: { status: 200 } }],
  }),
  bundled({
    name: 'resource.list',
    title: 'Read resources and their observed state',
    effect: 'read',
    idempotency: 'native',
    input: object([], {
      paths: { type: 'array', items: text, maxItems: 1_000 },
      kind: text,
      labels: { type: 'object', additionalProperties: text },
    }),
    output: object(['items'], { items: { type: 'array', items: { type: 'object' } } }),
    examples: [{ input: { kind: 'host' }, output: { items: [] } }],
  }),
];
