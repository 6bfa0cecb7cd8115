/**
 * What the plain keywords of a JSON Schema hold, as the meta-schema of 2020-12 says it. The meta-schema itself takes a
 * tenth of a second to compile, for which the first document of a process would wait.
 */

const isText = (value: unknown): boolean => typeof value === 'string';
const isFlag = (value: unknown): boolean => typeof value === 'boolean';
const isNumber = (value: unknown): boolean => typeof value === 'number';
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isUnique = (list: readonly unknown[]): boolean => new Set(list).size === list.length;
const areTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText) && isUnique(value);
const isMap = (value: unknown): value is object => value !== null && typeof value === 'object' && !Array.isArray(value);

const TYPES = ['null', 'boolean', 'object', 'array', 'number', 'string', 'integer'];
const isType = (value: unknown): boolean => TYPES.includes(value as string);

type Rule = readonly [fits: (value: unknown) => boolean, what: string];
const TEXT: Rule = [isText, 'a text'];
const FLAG: Rule = [isFlag, 'true or false'];
const NUMBER: Rule = [isNumber, 'a number'];
const COUNT: Rule = [isCount, 'a whole number, 0 or more'];
const ANYTHING: Rule = [() => true, 'anything'];

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ...['$schema', '$ref', '$comment', 'title', 'description', 'format', 'pattern'].map((key) => [key, TEXT] as const),
  ...['deprecated', 'readOnly', 'writeOnly', 'uniqueItems'].map((key) => [key, FLAG] as const),
  ...['maximum', 'exclusiveMaximum', 'minimum', 'exclusiveMinimum'].map((key) => [key, NUMBER] as const),
  ...[
    'maxLength',
    'minLength',
    'maxItems',
    'minItems',
    'maxContains',
    'minContains',
    'maxProperties',
    'minProperties',
  ].map((key) => [key, COUNT] as const),
  ['const', ANYTHING],
  ['default', ANYTHING],
  ['enum', [(value) => Array.isArray(value) && value.length > 0, 'a list of values']],
  ['examples', [Array.isArray, 'a list']],
  ['multipleOf', [(value) => isNumber(value) && (value as number) > 0, 'a number above 0']],
  ['required', [areTexts, 'a list of different names']],
  ['dependentRequired', [(value) => isMap(value) && Object.values(value).every(areTexts), 'lists of names by name']],
  [
    'type',
    [
      (value) => isType(value) || (Array.isArray(value) && value.length > 0 && value.every(isType) && isUnique(value)),
      `one of ${TYPES.join(', ')}, or a list of them`,
    ],
  ],
]);

/** Keywords that hold no schemas. */
export const isPlainKeyword = (key: string): boolean => RULES.has(key);

/** What the keyword takes, when this is not it. */
export function misfit(key: string, value: unknown): string | undefined {
  const rule = RULES.get(key);
  return rule === undefined || rule[0](value) ? undefined : rule[1];
}
