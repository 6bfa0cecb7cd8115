import {
  digestOf,
  OpsError,
  pathProblem,
  type Claim,
  type FlowDocument,
  type Json,
  type JsonObject,
} from '@opsloop/contracts';
import { renderTemplate, toScopeValue, type Scope } from '@opsloop/rules';

type Configs = Readonly<Record<string, JsonObject>>;

function scopeOf(input: Json, config: Configs): Scope {
  return { input: toScopeValue(input), config: toScopeValue(config) };
}

/** The paths that a run of this flow changes, from its input; each once, in the order of the flow. */
export function computeTargets(doc: FlowDocument, input: Json, config: Configs): string[] {
  if (doc.targets === undefined) return [];
  const paths = [renderTemplate(doc.targets, scopeOf(input, config))].flat(2);
  return [...new Set(paths.map((path) => checked(path, '/targets')))];
}

/** The further claims of a flow, granted before its start, all or nothing. */
export function computeLocks(doc: FlowDocument, input: Json, config: Configs): Claim[] {
  const scope = scopeOf(input, config);
  return (doc.locks ?? []).map(({ path, mode }, i) => ({
    path: checked(renderTemplate(path, scope), `/locks/${i}/path`),
    mode,
  }));
}

/** First part of the paths on which runs of one flow keep out of each other's way. */
export const LIMIT_KIND = 'limit';
/** A path has 512 bytes; the flow's name takes at most some 130 of them. Longer keys keep this many characters and a digest. */
const KEY_BYTES_MAX = 200;
const KEY_HEAD = 40;

/** What holds a limit for one key. */
export interface FlowLimit {
  /** Exclusive for one run at a time, else shared by so many. */
  claim: Claim;
  runs: number;
}

/**
 * The claim that holds a flow's limit: whoever has `limit/<flow>/<key>` for itself is its one run of this key. Several
 * runs share it and are counted besides. Refuses a key that is nothing, which would keep unrelated runs apart.
 */
export function computeLimit(doc: FlowDocument, input: Json, config: Configs): FlowLimit | undefined {
  if (doc.limit === undefined) return undefined;
  const { runs } = doc.limit;
  const by = renderTemplate(doc.limit.by, scopeOf(input, config));
  if ((typeof by !== 'string' && typeof by !== 'number' && typeof by !== 'boolean') || by === '')
    throw wrong('/limit/by', `gives ${JSON.stringify(by)?.slice(0, 80)}, where a text or a number is needed`);
  const path = `${LIMIT_KIND}/${doc.name}/${limitKey(String(by))}`;
  return { claim: { path, mode: runs === 1 ? 'exclusive' : 'shared' }, runs };
}

/** One part of a path: what has a meaning in paths is written as %XX. */
function limitKey(by: string): string {
  const text = by.normalize('NFC');
  const safe = /^\.{1,2}$/.test(text)
    ? text.replaceAll('.', '%2E')
    : text.replace(
        /[%/\u0000-\u001f\u007f]/g,
        (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
      );
  if (new TextEncoder().encode(safe).length <= KEY_BYTES_MAX) return safe;
  return `${[...safe].slice(0, KEY_HEAD).join('')}~${digestOf(text).slice(0, 16)}`;
}

/** The key as it was written, for people. */
export function limitKeyOf(path: string): string {
  const key = path.slice(path.lastIndexOf('/') + 1);
  return key.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

function checked(path: Json, pointer: string): string {
  if (typeof path !== 'string')
    throw wrong(pointer, `gives ${JSON.stringify(path)?.slice(0, 80)}, where a resource path is needed`);
  const problem = pathProblem(path);
  if (problem !== undefined) throw wrong(pointer, `gives "${path.slice(0, 80)}", which ${problem}`);
  return path;
}

function wrong(pointer: string, message: string): OpsError {
  return new OpsError('validation', `${pointer} of the flow ${message}`, { errors: [{ pointer, message }] });
}
