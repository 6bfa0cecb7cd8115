/** Where the input of a call holds secrets. */
import type { Json } from '@opsloop/contracts';

const SECRET = /^\$\{\s*secrets(?:\.[a-z0-9-]+|\["[a-z0-9-]+"\])\s*\}$/;
const INPUT = /^\$\{\s*input((?:\.[A-Za-z0-9_-]+)*)\??\s*\}$/;

/** Templates are constants of the flow, and a loop may render one a thousand times. */
const known = new WeakMap<object, readonly string[]>();

/**
 * JSON pointers of the places where the template itself names a secret. Only there does the worker put one: a value
 * that merely looks like a reference came from an event, a caller or a target, and stays what it is.
 *
 * @param inherited For a compensation over `input`: the places of the undone call's input that hold secrets.
 */
export function secretPlaces(template: Json, inherited: readonly string[] = []): readonly string[] {
  if (template === null || typeof template !== 'object') return placesIn(template, inherited);
  if (inherited.length > 0) return placesIn(template, inherited);
  let places = known.get(template);
  if (places === undefined) known.set(template, (places = placesIn(template, inherited)));
  return places;
}

function placesIn(template: Json, inherited: readonly string[]): string[] {
  if (typeof template === 'string') {
    if (SECRET.test(template)) return [''];
    const path = INPUT.exec(template)?.[1];
    if (path === undefined) return [];
    const from = path.replaceAll('.', '/');
    return inherited
      .filter((place) => place === from || place.startsWith(`${from}/`))
      .map((place) => place.slice(from.length));
  }
  if (template === null || typeof template !== 'object') return [];
  const keys = Object.keys(template);
  // Computed and literal values are data.
  if (keys.length === 1 && (keys[0] === '$logic' || keys[0] === '$literal')) return [];
  return keys.flatMap((key) =>
    placesIn((template as Record<string, Json>)[key]!, inherited).map((place) => `/${escaped(key)}${place}`),
  );
}

function escaped(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}
