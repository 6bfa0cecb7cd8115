/** What a config called `environment` says of the place where flows run: how much one run may touch, and what is sent there. */
import { matchesPattern, type FlowDocument, type Json, type JsonObject } from '@opsloop/contracts';
import { pointerTo, type Finding } from '@opsloop/rules';
import { isObject } from '../normalise.js';
import { stepsOf } from '../walk.js';
import { found } from './model.js';
import type { Environment, World } from './world.js';

export const ENVIRONMENT_CONFIG = 'environment';

const LIMITS = ['maxInFlight', 'maxTargets'] as const;

/** The limits and, when they are declared, the types of all events that come from outside. */
export function environmentOf(
  configs: Readonly<Record<string, JsonObject>> | undefined,
): Pick<World, 'environment' | 'eventTypes'> {
  const values = configs?.[ENVIRONMENT_CONFIG];
  if (values === undefined) return {};
  const environment: Environment = {};
  for (const name of LIMITS) {
    const limit = values[name];
    if (isLimit(limit)) environment[name] = limit;
  }
  const types = values['eventTypes'];
  return {
    ...(Object.keys(environment).length === 0 ? {} : { environment }),
    ...(isTypes(types) ? { eventTypes: new Set(types) } : {}),
  };
}

/** A limit that is none would silently limit nothing. */
export function environmentFindings(values: JsonObject): Finding[] {
  const wrong = (name: string, wants: string): Finding =>
    found('OPS1074', pointerTo('/values', name), `"${name}" takes ${wants}`);
  return [
    ...LIMITS.filter((name) => values[name] !== undefined && !isLimit(values[name])).map((name) =>
      wrong(name, 'a whole number of at least 1'),
    ),
    ...(values['eventTypes'] === undefined || isTypes(values['eventTypes'])
      ? []
      : [wrong('eventTypes', 'a list of event types; "*" stands for any ending')]),
  ];
}

const isLimit = (value: Json | undefined): value is number => Number.isInteger(value) && (value as number) >= 1;
const isTypes = (value: Json | undefined): value is string[] =>
  Array.isArray(value) && value.every((type) => typeof type === 'string' && type !== '');

/** Types that this document sends: a flow by its `emit`, a source by what it makes of a delivery or of a look. */
export function sentBy(document: JsonObject): string[] {
  if (document['kind'] === 'flow')
    return [...stepsOf(document as unknown as FlowDocument)].flatMap(({ step }) =>
      'emit' in step ? [step.emit.type] : [],
    );
  if (document['kind'] !== 'source') return [];
  return [document['mapping'], document['event']].flatMap((part) => {
    const type = isObject(part) ? part['type'] : undefined;
    return typeof type === 'string' && !type.includes('${') ? [type] : [];
  });
}

/** Of every source that falls silent. */
const STALE = 'source.stale';

/** False only where all types are known and this is none of them; what opsloop itself says need not be declared. */
export function isSent(type: string, { eventTypes, sentTypes }: World): boolean {
  if (eventTypes === undefined || /\*|\$\{/.test(type) || type.startsWith('opsloop.') || type === STALE) return true;
  if (eventTypes.has(type) || sentTypes?.has(type) === true) return true;
  return [...eventTypes].some((pattern) => pattern.includes('*') && matchesPattern(pattern, type));
}
