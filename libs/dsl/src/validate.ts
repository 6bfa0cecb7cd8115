import type {
  AtomDocument,
  DocumentKind,
  FlowDocument,
  Json,
  JsonObject,
  OpsDocument,
  RuleDocument,
} from '@opsloop/contracts';
import { finding, logicPaths, normaliseCondition, type Finding } from '@opsloop/rules';
import { atomNameFindings } from './check-atom-names.js';
import { atomFindings } from './check-atom.js';
import { mapConditions, normaliseDocument } from './normalise.js';
import { schemaErrors, shapeFindings } from './schema-check.js';
import { conditionFindings } from './verify/expressions.js';
import * as others from './verify/others.js';
import { sourceFindings } from './verify/source.js';
import { ruleFindings } from './verify/rule.js';
import { verbFindings } from './verify/structure.js';
import { distinct, verifyFlow, withUrls } from './verify/verify-flow.js';
import type { World } from './verify/world.js';

/** Domains of names that belong to opsloop: `atom/x` is the catalog name of an atom, `opsloop/x` are built-in flows. */
const RESERVED = new Set(['atom', 'opsloop']);

/**
 * Checks a document: its JSON Schema first (one precise error per mistake), then what no schema can say. `document`
 * is the normalised form and is there only when no finding is an error. What the `world` knows is checked as well.
 */
export function validateDocument<T = OpsDocument>(
  kind: DocumentKind,
  body: unknown,
  world: World = {},
): { findings: Finding[]; document?: T } {
  const shape = shapeFindings(body);
  if (shape.length > 0) return { findings: withUrls(shape) };
  const doc = body as JsonObject;
  const wrongVerbs = kind === 'flow' ? verbFindings(doc) : [];
  const structure = schemaErrors(kind, doc).filter(
    (f) => !wrongVerbs.some((v) => f.pointer === v.pointer || f.pointer.startsWith(`${v.pointer}/`)),
  );
  if (structure.length + wrongVerbs.length > 0) return { findings: withUrls([...wrongVerbs, ...structure]) };
  const findings = withUrls(distinct([...nameFindings(kind, doc), ...semanticFindings(kind, doc, world)]));
  if (findings.some((f) => f.severity === 'error')) return { findings };
  return { findings, document: normaliseDocument(doc) as unknown as T };
}

function nameFindings(kind: DocumentKind, doc: JsonObject): Finding[] {
  const name = doc['name'];
  if (typeof name !== 'string' || kind === 'source' || kind === 'config') return [];
  const domain = name.split('/', 1)[0]!;
  if (name.includes('/') && RESERVED.has(domain))
    return [finding('OPS1007', '/name', `the domain "${domain}" is reserved`, 'choose another domain')];
  return [];
}

/** Conditions of rules, tables and atoms; a flow's stand in its model. */
function conditionsOf(doc: JsonObject): Finding[] {
  const findings: Finding[] = [];
  mapConditions(doc, (written: Json, pointer: string) => {
    let logic: Json | undefined;
    try {
      logic = normaliseCondition(written);
    } catch {
      // Said by the check below, with the place.
      logic = undefined;
    }
    if (logic !== undefined && logicPaths(logic).some((path) => path === 'secrets' || /^secrets[.[]/.test(path)))
      findings.push(
        finding('OPS1701', pointer, 'a condition cannot read secrets', 'compare in the atom that needs the secret'),
      );
    findings.push(...conditionFindings({ written, pointer, ...(logic === undefined ? {} : { logic }) }));
    return written;
  });
  return findings;
}

function semanticFindings(kind: DocumentKind, doc: JsonObject, world: World): Finding[] {
  switch (kind) {
    case 'flow':
      return verifyFlow(doc as unknown as FlowDocument, world);
    case 'atom':
      return [
        ...conditionsOf(doc),
        ...atomFindings(doc as unknown as AtomDocument),
        ...atomNameFindings(doc as unknown as AtomDocument),
      ];
    case 'rule':
      return [...conditionsOf(doc), ...ruleFindings(doc as unknown as RuleDocument, world)];
    case 'source':
      return sourceFindings(doc, world);
    case 'resource':
      return others.resourceFindings(doc);
    case 'schedule':
      return others.scheduleFindings(doc, world);
    case 'table':
      return [...conditionsOf(doc), ...others.tableFindings(doc)];
    case 'maintenance':
      return others.maintenanceFindings(doc);
    case 'policy':
      return others.policyFindings(doc, world);
    case 'config':
      return others.configFindings(doc);
    default:
      return [];
  }
}
