import type {
  AtomDocument,
  DocumentKind,
  FlowDocument,
  Json,
  JsonObject,
  OpsDocument,
  RuleDocument,
} from '@opsloop/contracts';
import { OpsError, pathProblem } from '@opsloop/contracts';
import { finding, logicPaths, normaliseCondition, validateLogic, type Finding } from '@opsloop/rules';
import { atomFindings } from './check-atom.js';
import { flowFindings, verbFindings } from './check-flow.js';
import { ruleFindings } from './check-rule.js';
import { checkRef, checkTemplate } from './checks.js';
import { isObject, mapConditions, normaliseDocument } from './normalise.js';
import { schemaErrors, shapeFindings } from './schema-check.js';

/** Domains of names that belong to opsloop: `atom/x` is the catalog name of an atom, `opsloop/x` are built-in flows. */
const RESERVED = new Set(['atom', 'opsloop']);

/**
 * Checks a document: its JSON Schema first (one precise error per mistake), then what no schema can say. `document`
 * is the normalised form and is there only when no finding is an error.
 */
export function validateDocument<T = OpsDocument>(
  kind: DocumentKind,
  body: unknown,
): { findings: Finding[]; document?: T } {
  const shape = shapeFindings(body);
  if (shape.length > 0) return { findings: shape };
  const doc = body as JsonObject;
  const wrongVerbs = kind === 'flow' ? verbFindings(doc) : [];
  const structure = schemaErrors(kind, doc).filter(
    (f) => !wrongVerbs.some((v) => f.pointer === v.pointer || f.pointer.startsWith(`${v.pointer}/`)),
  );
  if (structure.length + wrongVerbs.length > 0) return { findings: [...wrongVerbs, ...structure] };
  const findings = [...nameFindings(kind, doc), ...conditionFindings(doc), ...semanticFindings(kind, doc)];
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

/** Conditions of every kind: readable, known operators, right arity. */
function conditionFindings(doc: JsonObject): Finding[] {
  const findings: Finding[] = [];
  mapConditions(doc, (condition: Json, pointer: string) => {
    try {
      const logic = normaliseCondition(condition);
      const isText = typeof condition === 'string';
      if (logicPaths(logic).some((path) => path === 'secrets' || /^secrets[.[]/.test(path)))
        findings.push(
          finding('OPS1701', pointer, 'a condition cannot read secrets', 'compare in the atom that needs the secret'),
        );
      findings.push(...validateLogic(logic).map((f) => ({ ...f, pointer: isText ? pointer : pointer + f.pointer })));
      if (logic !== null && typeof logic !== 'boolean' && !isObject(logic))
        findings.push(
          finding(
            'OPS1412',
            pointer,
            'a condition must give true or false',
            'compare something: steps.scan.output.total > 3',
          ),
        );
    } catch (error) {
      if (!(error instanceof OpsError)) throw error;
      findings.push(finding('OPS1409', pointer, error.detail));
    }
    return condition;
  });
  return findings;
}

function semanticFindings(kind: DocumentKind, doc: JsonObject): Finding[] {
  switch (kind) {
    case 'flow':
      return flowFindings(doc as unknown as FlowDocument);
    case 'atom':
      return atomFindings(doc as unknown as AtomDocument);
    case 'rule':
      return ruleFindings(doc as unknown as RuleDocument);
    case 'source':
      return sourceFindings(doc);
    case 'resource':
      return resourceFindings(doc);
    case 'schedule':
      return scheduleFindings(doc);
    case 'table':
      return tableFindings(doc);
    case 'policy':
      return policyFindings(doc);
    default:
      return [];
  }
}

const POLL = ['every', 'for', 'call', 'with', 'event'];

function sourceFindings(doc: JsonObject): Finding[] {
  const findings = [...checkTemplate(doc['mapping'], '/mapping'), ...checkTemplate(doc['with'], '/with')];
  if (isObject(doc['event'])) findings.push(...checkTemplate(doc['event']['data'], '/event/data'));
  if (typeof doc['call'] === 'string') findings.push(...checkRef(doc['call'], 'atom', '/call'));
  if (doc['type'] === 'poll') {
    for (const member of ['every', 'for', 'call', 'event'])
      if (doc[member] === undefined)
        findings.push(finding('OPS1001', `/${member}`, 'is required of a poll source', `add "${member}"`));
  } else {
    for (const member of POLL)
      if (doc[member] !== undefined)
        findings.push(
          finding('OPS1001', `/${member}`, 'belongs to sources of type poll', 'remove it, or set "type": "poll"'),
        );
  }
  return findings;
}

function resourceFindings(doc: JsonObject): Finding[] {
  const places: [string, Json | undefined][] = [['/path', doc['path']]];
  for (const member of ['memberOf', 'dependsOn'])
    (doc[member] as Json[] | undefined)?.forEach((path, i) => places.push([`/${member}/${i}`, path]));
  return places.flatMap(([pointer, path]) => {
    const problem = pathProblem(path as string);
    return problem === undefined ? [] : [finding('OPS1008', pointer, `"${String(path).slice(0, 80)}" ${problem}`)];
  });
}

function scheduleFindings(doc: JsonObject): Finding[] {
  const findings: Finding[] = [...checkTemplate(doc['with'], '/with')];
  const times = ['cron', 'rrule', 'every'].filter((key) => doc[key] !== undefined);
  if (times.length !== 1)
    findings.push(
      finding(
        'OPS1009',
        times.length === 0 ? '/cron' : `/${times[1]}`,
        'a schedule has exactly one of cron, rrule, every',
      ),
    );
  const work = ['run', 'call'].filter((key) => doc[key] !== undefined);
  if (work.length !== 1)
    findings.push(finding('OPS1009', work.length === 0 ? '/run' : '/call', 'a schedule has exactly one of run, call'));
  if (typeof doc['run'] === 'string') findings.push(...checkRef(doc['run'], 'flow', '/run'));
  if (typeof doc['call'] === 'string') findings.push(...checkRef(doc['call'], 'atom', '/call'));
  return findings;
}

function tableFindings(doc: JsonObject): Finding[] {
  const rows = doc['rows'] as JsonObject[];
  const early = rows.findIndex((row, i) => row['when'] === undefined && i < rows.length - 1);
  return early < 0 || doc['hit'] === 'collect'
    ? []
    : [
        finding(
          'OPS1103',
          `/rows/${early}`,
          'a row without "when" matches always; the rows after it are never reached',
          'make it the last row',
        ),
      ];
}

function policyFindings(doc: JsonObject): Finding[] {
  const findings = checkTemplate(doc['by'], '/by');
  ((doc['locks'] as JsonObject[] | undefined) ?? []).forEach((lock, i) =>
    findings.push(...checkTemplate(lock['path'], `/locks/${i}/path`)),
  );
  return findings;
}
