/** Evolution: what changed since the published version, and whether its version number says so. */
import { digestOf, type Effect, type FlowDocument, type Json, type JsonObject } from '@opsloop/contracts';
import { pointerTo, type Finding } from '@opsloop/rules';
import semver from 'semver';
import { isObject, normaliseDocument } from '../normalise.js';
import { analyseFlow, found, type FlowModel } from './model.js';
import { strongest } from './safety.js';

export function evolutionFindings(model: FlowModel): Finding[] {
  const { published } = model.world;
  if (published === undefined) return [];
  const { flow } = model;
  if (flow.version === published.version)
    return digestOf(normaliseDocument(flow)) === digestOf(normaliseDocument(published))
      ? []
      : [found('OPS1941', '/version', `${flow.version} is published and differs from this`, 'raise the version')];
  if (semver.lt(flow.version, published.version)) return [];
  const major = semver.major(flow.version) > semver.major(published.version);
  return [
    ...(major
      ? []
      : [
          ...narrowed(published.input?.schema, flow.input?.schema),
          ...effects(model, published),
          ...outputs(published, flow),
        ]),
    ...lostIds(model, published),
  ];
}

/** Inputs that the published version takes and this one refuses. */
function narrowed(before: JsonObject | undefined, after: JsonObject | undefined): Finding[] {
  if (after === undefined) return [];
  const findings: Finding[] = [];
  const add = (at: string, message: string): void =>
    void findings.push(found('OPS1942', `/input/schema${at}`, message));
  compare(before ?? {}, after, '', add);
  return findings;
}

/** Bounds by keyword: whether the new value lets less pass. */
const BOUNDS: Readonly<Record<string, (before: number, after: number) => boolean>> = {
  maximum: (a, b) => b < a,
  exclusiveMaximum: (a, b) => b < a,
  maxItems: (a, b) => b < a,
  maxLength: (a, b) => b < a,
  maxProperties: (a, b) => b < a,
  minimum: (a, b) => b > a,
  exclusiveMinimum: (a, b) => b > a,
  minItems: (a, b) => b > a,
  minLength: (a, b) => b > a,
  minProperties: (a, b) => b > a,
};

function compare(before: JsonObject, after: JsonObject, at: string, add: (at: string, message: string) => void): void {
  const names = (value: Json | undefined): string[] => (Array.isArray(value) ? (value as string[]) : []);
  const old = isObject(before['properties']) ? before['properties'] : {};
  const now = isObject(after['properties']) ? after['properties'] : {};
  for (const name of names(after['required']))
    if (!names(before['required']).includes(name)) add(`${at}/required`, `"${name}" has become required`);
  const closed = after['additionalProperties'] === false;
  for (const name of Object.keys(old))
    if (closed && !Object.hasOwn(now, name)) add(`${at}/properties`, `"${name}" is no longer accepted`);
  if (closed && before['additionalProperties'] !== false && Object.keys(before).length > 0)
    add(`${at}/additionalProperties`, 'further members are no longer accepted');
  const types = (schema: JsonObject): string[] => [schema['type'] ?? []].flat() as string[];
  const lost =
    types(after).length === 0
      ? []
      : types(before).filter(
          (type) => !types(after).includes(type) && !(type === 'integer' && types(after).includes('number')),
        );
  if (lost.length > 0 || (types(before).length === 0 && types(after).length > 0 && Object.keys(before).length > 0))
    add(
      `${at}/type`,
      lost.length > 0
        ? `${lost.join(' and ')} is no longer accepted`
        : `only ${types(after).join(' or ')} is accepted now`,
    );
  if (Array.isArray(after['enum'])) {
    const allowed = after['enum'].map((value) => JSON.stringify(value));
    const gone = Array.isArray(before['enum'])
      ? before['enum'].filter((value) => !allowed.includes(JSON.stringify(value)))
      : undefined;
    if (gone === undefined ? Object.keys(before).length > 0 : gone.length > 0)
      add(
        `${at}/enum`,
        gone === undefined
          ? 'only listed values are accepted now'
          : `${gone.map((one) => JSON.stringify(one)).join(', ')} is no longer accepted`,
      );
  }
  for (const [key, less] of Object.entries(BOUNDS)) {
    const [a, b] = [before[key], after[key]];
    if (typeof b === 'number' && Object.keys(before).length > 0 && (typeof a !== 'number' || less(a, b)))
      add(`${at}/${key}`, `${key} ${b} accepts less than ${typeof a === 'number' ? `${key} ${a}` : 'before'}`);
  }
  for (const name of Object.keys(now))
    if (isObject(now[name]) && isObject(old[name]))
      compare(old[name], now[name], pointerTo(`${at}/properties`, name), add);
  if (isObject(before['items']) && isObject(after['items']))
    compare(before['items'], after['items'], `${at}/items`, add);
}

const STRENGTH: Readonly<Record<Effect, number>> = { read: 0, mutate: 1, destroy: 2 };

function effects(model: FlowModel, published: FlowDocument): Finding[] {
  const before = analyseFlow(published, { ...model.world, published: undefined } as typeof model.world);
  // A reference that is not known here could be anything; then nothing is certain.
  if (before.nodes.some((node) => node.verb === 'call' && node.atom === undefined)) return [];
  const [was, is] = [strongest(before.nodes), strongest(model.nodes)];
  if (STRENGTH[is] <= STRENGTH[was]) return [];
  const first = model.nodes.find((node) => node.atom?.effect === is)!;
  return [
    found(
      'OPS1943',
      `${first.pointer}/call`,
      `version ${published.version} is "${was}", and this step makes it "${is}"`,
      undefined,
      first.id,
    ),
  ];
}

function outputs(before: FlowDocument, after: FlowDocument): Finding[] {
  if (!isObject(before.output) || Object.hasOwn(before.output, '$logic')) return [];
  const now = after.output;
  if (now === undefined || (isObject(now) && !Object.hasOwn(now, '$logic'))) {
    const lost = Object.keys(before.output).filter((name) => !Object.hasOwn((now ?? {}) as object, name));
    if (lost.length > 0)
      return [
        found('OPS1945', '/output', `${lost.map((one) => `"${one}"`).join(', ')} was there in ${before.version}`),
      ];
  }
  return [];
}

function lostIds(model: FlowModel, published: FlowDocument): Finding[] {
  const { runsInFlight = 0 } = model.world;
  if (runsInFlight === 0) return [];
  const lost = analyseFlow(published, {}).nodes.filter(({ id }) => !model.byId.has(id));
  return lost.length === 0
    ? []
    : [
        found(
          'OPS1944',
          '/do',
          `${runsInFlight} runs are under way, and ${lost
            .slice(0, 5)
            .map(({ id }) => `"${id}"`)
            .join(', ')} is gone`,
        ),
      ];
}
