import type { AtomDocument, Effect, Idempotency, JsonObject } from '@opsloop/contracts';

const text = { type: 'string', minLength: 1 };
const headers = { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } };

function bundled(
  name: string,
  title: string,
  effect: Effect,
  idempotency: Idempotency,
  required: string[],
  properties: JsonObject,
  output: JsonObject,
  example: JsonObject,
): AtomDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'atom',
    name,
    version: '1.0.0',
    title,
    owner: 'opsloop',
    effect,
    idempotency,
    bundled: true,
    input: { schema: { type: 'object', required, properties, additionalProperties: false } },
    output: { schema: { type: 'object', properties: output } },
    timeout: { startToClose: '30s' },
    examples: [{ input: example }],
  };
}

/** The atoms that come with opsloop; their names are reserved. */
export const bundledAtoms: readonly AtomDocument[] = Object.freeze([
  bundled('http.request', 'Send an HTTP request', 'mutate', 'native', ['method', 'url'],
    { method: text, url: text, headers, body: true, expect: { type: 'array', items: { type: 'integer', minimum: 100, maximum: 599 } } },
    { status: { type: 'integer' }, headers: { type: 'object' }, body: true },
    { method: 'GET', url: 'https://example.com/' }),
  bundled('probe.http', 'Look whether a URL answers', 'read', 'native', ['url'],
    { url: text, timeout: text },
    { state: { enum: ['up', 'down'] }, status: { type: 'integer' }, latencyMs: { type: 'number' }, reason: { type: 'string' } },
    { url: 'https://example.com/healthz' }),
  bundled('script.run', 'Run a program', 'mutate', 'none', ['argv'],
    { argv: { type: 'array', items: { type: 'string' }, minItems: 1 }, cwd: text, env: headers, stdin: { type: 'string' } },
    { exitCode: { type: 'integer' }, stdout: { type: 'string' }, stderr: { type: 'string' } },
    { argv: ['true'] }),
  bundled('notify.webhook', 'Post a notification', 'mutate', 'native', ['url'],
    { url: text, body: true },
    { status: { type: 'integer' } },
    { url: 'https://chat.example/hook', body: { text: 'hello' } }),
  bundled('resource.list', 'Read resources from the inventory', 'read', 'native', [],
    { paths: { type: 'array', items: { type: 'string' }, maxItems: 1_000 }, kind: text, labels: { type: 'object', additionalProperties: { type: 'string' } } },
    { items: { type: 'array', items: { type: 'object' } } },
    { kind: 'host' }),
]);
