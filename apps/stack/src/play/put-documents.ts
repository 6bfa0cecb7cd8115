/** Documents of a scenario through the same doors as everybody's. */
import type { JsonObject } from '@opsloop/contracts';
import type { ScenarioTest } from '@opsloop/flowtest';
import type { PlayStack } from './play-stack.js';

export interface PlayedDocument {
  kind: string;
  name: string;
  version?: string;
  document: JsonObject;
}

/** In this order each finds what it refers to. Sources and schedules would act by themselves and are left out. */
const ORDER = ['config', 'atom', 'flow', 'table', 'resource', 'policy', 'maintenance', 'rule'];
const ROUTES: Readonly<Record<string, string>> = { policy: 'policies', maintenance: 'maintenance' };

export async function putDocuments(
  { call }: Pick<PlayStack, 'call'>,
  documents: readonly PlayedDocument[],
  test: ScenarioTest,
): Promise<string[]> {
  const troubles: string[] = [];
  const put = async (kind: string, name: string, body: JsonObject, version?: string): Promise<void> => {
    const route = `/v1/${ROUTES[kind] ?? `${kind}s`}/${name}`;
    const answers = [await call('PUT', route, body)];
    if (kind === 'flow') answers.push(await call('POST', `${route}/publish`, { version: version ?? body['version'] }));
    for (const { status, body: problem } of answers)
      if (status >= 300) troubles.push(`${kind} ${name}: ${(problem as { detail?: string }).detail ?? status}`);
  };
  const configs = new Map(documents.filter(({ kind }) => kind === 'config').map((one) => [one.name, one.document]));
  for (const [name, values] of Object.entries(test.config ?? {}))
    configs.set(name, { dsl: 'opsloop/v1', kind: 'config', name, values });
  for (const [name, document] of configs) await put('config', name, document);
  const queue = documents
    .filter(({ kind }) => kind !== 'config' && ORDER.includes(kind))
    .sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
  await putFlowsLast(queue, put, troubles);
  for (const resource of test.resources ?? []) await put('resource', String(resource['path']), resource);
  return troubles;
}

/** A flow that calls another must come after it; whoever fails is tried again after the others. */
async function putFlowsLast(
  queue: readonly PlayedDocument[],
  put: (kind: string, name: string, body: JsonObject, version?: string) => Promise<void>,
  troubles: string[],
): Promise<void> {
  for (let rest = [...queue]; rest.length > 0;) {
    const again: PlayedDocument[] = [];
    const said: string[] = [];
    for (const one of rest) {
      const before = troubles.length;
      await put(one.kind, one.name, one.document, one.version);
      if (troubles.length > before) {
        said.push(...troubles.splice(before));
        again.push(one);
      }
    }
    if (again.length === rest.length) {
      troubles.push(...said);
      return;
    }
    rest = again;
  }
}
