/** Documents checked as one: references between them lead to each other first, then to what is known around them. */
import {
  DOCUMENT_KINDS,
  type AtomDocument,
  type DocumentKind,
  type FlowDocument,
  type JsonObject,
  type RuleDocument,
  type TableDocument,
} from '@opsloop/contracts';
import type { Finding } from '@opsloop/rules';
import semver from 'semver';
import { compileFlow, type Resolve } from '../compile.js';
import { isObject } from '../normalise.js';
import { parseRef, refProblem } from '../refs.js';
import { schemaErrors, shapeFindings } from '../schema-check.js';
import { validateDocument } from '../validate.js';
import { environmentOf, sentBy } from './environment.js';
import { atomOf, flowOf, found } from './model.js';
import { flowtestFindings } from './others.js';
import { distinct, withUrls } from './verify-flow.js';
import type { World } from './world.js';

export interface DocumentFindings {
  kind: string;
  name: string;
  valid: boolean;
  findings: Finding[];
}

interface Checked {
  kind: string;
  name: string;
  body: unknown;
  findings: Finding[];
  /** Present when it is well formed on its own. */
  document?: unknown;
}

/** Findings of each document, in the order given. `base` is the world around them, such as a catalog. */
export function validateTogether(bodies: readonly unknown[], base: World = {}): DocumentFindings[] {
  const checked = bodies.map((body) => alone(body));
  const world = worldOf(
    checked.flatMap(({ document }) => (document === undefined ? [] : [document])),
    base,
  );
  const broken = new Set(checked.flatMap((one) => (one.document === undefined ? [`${one.kind} ${one.name}`] : [])));
  world.broken = broken;
  return checked.map((one) => {
    const findings = one.document === undefined ? one.findings : inWorld(one, world);
    return { kind: one.kind, name: one.name, valid: !findings.some((f) => f.severity === 'error'), findings };
  });
}

const isKind = (kind: unknown): kind is DocumentKind => typeof kind === 'string' && Object.hasOwn(DOCUMENT_KINDS, kind);

function alone(body: unknown): Checked {
  const { kind, name, path, flow } = (body ?? {}) as Record<string, unknown>;
  const label = [name, path, flow].find((one) => typeof one === 'string') ?? '';
  const checked = { kind: typeof kind === 'string' ? kind : '', name: label as string, body };
  if (kind === 'flowtest') {
    const shape = shapeFindings(body);
    const findings = shape.length > 0 ? shape : schemaErrors('flowtest', body as JsonObject);
    return findings.length > 0
      ? { ...checked, findings: withUrls(findings) }
      : { ...checked, findings, document: body };
  }
  if (!isKind(kind)) {
    const said = `${JSON.stringify(kind) ?? 'nothing'} is no kind of document`;
    const hint = `one of ${Object.keys(DOCUMENT_KINDS).join(', ')}`;
    return { ...checked, findings: withUrls([found('OPS1001', '/kind', said, hint)]) };
  }
  const { findings, document } = validateDocument<unknown>(kind, body);
  return { ...checked, findings, ...(document === undefined ? {} : { document }) };
}

function inWorld({ kind, name, body, document }: Checked, world: World): Finding[] {
  if (kind === 'flowtest') {
    const ref = (body as JsonObject)['flow'];
    const flow = typeof ref === 'string' ? flowOf(world, ref) : undefined;
    return withUrls(flowtestFindings(body as JsonObject, flow, world));
  }
  const published = kind === 'flow' ? world.publishedOf?.(name) : undefined;
  const runsInFlight = world.runsInFlightOf?.(name);
  const around =
    published === undefined ? world : { ...world, published, ...(runsInFlight === undefined ? {} : { runsInFlight }) };
  const { findings } = validateDocument(kind as DocumentKind, body, around);
  if (kind !== 'flow' || findings.some((f) => f.severity === 'error')) return findings;
  // Only following every reference to its end shows a circle.
  const { findings: compiled } = compileFlow(document as FlowDocument, resolverIn(world));
  // What resolves to nothing has been said by the checks, where it is to be said.
  const circles = compiled.filter(({ code }) => !['OPS1010', 'OPS1011'].includes(code));
  return distinct([...findings, ...withUrls(circles)]);
}

/** Resolves references of a flow in a world, for the compiler. */
export function resolverIn(world: World): Resolve {
  return (ref, kind) => (kind === 'atom' ? atomOf(world, ref) : flowOf(world, ref));
}

/** A world in which the documents are published on top of `base`. */
export function worldOf(documents: readonly unknown[], base: World = {}): World {
  const byName = new Map<string, { version: string }[]>();
  const configs: Record<string, JsonObject> = { ...base.configs };
  const rules = [...(base.rules ?? [])];
  const sentTypes = new Set(base.sentTypes);
  for (const document of documents) {
    if (!isObject(document)) continue;
    for (const type of sentBy(document)) sentTypes.add(type);
    const { kind, name } = document as { kind?: unknown; name?: unknown };
    if (kind === 'config') configs[String(name)] = (document['values'] ?? {}) as JsonObject;
    if (kind === 'rule') rules.push(startsOf(document as unknown as RuleDocument));
    if (typeof name !== 'string' || typeof document['version'] !== 'string') continue;
    const key = `${String(kind)} ${name}`;
    byName.set(key, [...(byName.get(key) ?? []), document as unknown as { version: string }]);
  }
  const pick = <T>(kind: string, ref: string): T | undefined => {
    if (refProblem(ref) !== undefined) return undefined;
    const { name, range } = parseRef(ref);
    const all = byName.get(`${kind} ${name}`) ?? [];
    const best = semver.maxSatisfying(
      all.map(({ version }) => version),
      range,
    );
    return all.find(({ version }) => version === best) as T | undefined;
  };
  return {
    ...base,
    // Over what lies around: the documents are looked at as if they were there already.
    ...environmentOf(configs),
    sentTypes,
    rules,
    ...(base.configs === undefined && Object.keys(configs).length === 0 ? {} : { configs }),
    versionsOf: (kind, name) => {
      const own = (byName.get(`${kind} ${name}`) ?? []).map(({ version }) => version);
      return own.length > 0 ? own.sort(semver.compare) : (base.versionsOf?.(kind, name) ?? []);
    },
    atom: (ref) => pick<AtomDocument>('atom', ref) ?? base.atom?.(ref),
    flow: (ref) => pick<FlowDocument>('flow', ref) ?? base.flow?.(ref),
    table: (ref) => pick<TableDocument>('table', ref) ?? base.table?.(ref),
  };
}

function startsOf(rule: RuleDocument): NonNullable<World['rules']>[number] {
  const starts = rule.branches.flatMap((branch) => branch.ladder.flatMap((rung) => rung.run ?? []));
  return { name: rule.name, on: rule.on, starts };
}
