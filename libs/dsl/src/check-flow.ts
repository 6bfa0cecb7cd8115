import { VERBS, type FlowDocument, type JsonObject, type Step } from '@opsloop/contracts';
import { finding, pointerTo, type Finding } from '@opsloop/rules';
import { defaultLast } from './check-rule.js';
import { checkRef, checkTemplate, looseSecrets, secretsOf } from './checks.js';
import { flowReferences } from './references.js';
import { isObject } from './normalise.js';
import { checkUserSchema } from './user-schema.js';
import { stepsOf, type PlacedStep } from './walk.js';

const BODIES = ['parallel', 'forEach', 'loop', 'reconcile'];
const LISTS = ['do', 'try', 'finally'];

/** Steps without exactly one verb, found before the schema is asked: it could only answer with all verbs at once. */
export function verbFindings(doc: JsonObject): Finding[] {
  const findings: Finding[] = [];
  const steps = (list: unknown, pointer: string): void => {
    if (Array.isArray(list)) list.forEach((step, i) => visit(step, pointerTo(pointer, i)));
  };
  const catches = (list: unknown, pointer: string): void => {
    if (Array.isArray(list)) list.forEach((clause, i) => isObject(clause) && steps(clause['do'], `${pointer}/${i}/do`));
  };
  const visit = (step: unknown, pointer: string): void => {
    if (!isObject(step)) return;
    const verbs: string[] = VERBS.filter(
      (verb) => Object.hasOwn(step, verb) && (verb !== 'do' || !BODIES.some((body) => Object.hasOwn(step, body))),
    );
    if (verbs.length !== 1) {
      const id = typeof step['id'] === 'string' ? { step: step['id'] } : {};
      const said = verbs.length === 0 ? 'has none' : `has ${verbs.join(' and ')}`;
      findings.push({
        ...finding(
          'OPS1002',
          pointer,
          `a step has exactly one verb; this one ${said}`,
          verbs.length === 0 ? `add one of ${VERBS.join(', ')}` : 'split it into two steps',
        ),
        ...id,
      });
      return;
    }
    for (const list of LISTS) steps(step[list], `${pointer}/${list}`);
    catches(step['catch'], `${pointer}/catch`);
    if (Array.isArray(step['switch']))
      step['switch'].forEach((branch, i) => isObject(branch) && steps(branch['do'], `${pointer}/switch/${i}/do`));
  };
  for (const list of ['do', 'finally']) steps(doc[list], `/${list}`);
  catches(doc['catch'], '/catch');
  return findings;
}

export function flowFindings(flow: FlowDocument): Finding[] {
  const placed = [...stepsOf(flow)];
  return [
    ...(flow.input === undefined ? [] : checkUserSchema(flow.input.schema, '/input/schema')),
    ...checkTemplate(flow.targets, '/targets'),
    ...checkTemplate(flow.vars, '/vars'),
    ...checkTemplate(flow.output, '/output'),
    ...(flow.locks ?? []).flatMap((lock, i) => checkTemplate(lock.path, `/locks/${i}/path`)),
    ...retryFindings(flow, flow.defaults?.retry, '/defaults/retry'),
    ...idFindings(placed),
    ...placed.flatMap((one) => stepFindings(flow, one).map((f) => ({ ...f, step: one.step.id }))),
    ...needsFindings(placed),
    ...flowReferences(flow),
  ];
}

function idFindings(placed: readonly PlacedStep[]): Finding[] {
  const seen = new Map<string, string>();
  return placed.flatMap(({ step, pointer }) => {
    const first = seen.get(step.id);
    if (first === undefined) return (seen.set(step.id, pointer), []);
    return [
      {
        ...finding(
          'OPS1003',
          `${pointer}/id`,
          `the id "${step.id}" is used at ${first} already`,
          'ids are unique in a flow',
        ),
        step: step.id,
      },
    ];
  });
}

function stepFindings(flow: FlowDocument, { step, pointer, parent }: PlacedStep): Finding[] {
  const findings = [
    ...checkTemplate(step.title, `${pointer}/title`),
    ...checkTemplate(step.output, `${pointer}/output`),
    ...retryFindings(flow, step.retry, `${pointer}/retry`),
    ...verbTemplates(flow, step, pointer),
  ];
  if (step.needs !== undefined && parent !== 'parallel')
    findings.push(
      finding(
        'OPS1101',
        `${pointer}/needs`,
        '"needs" orders the children of a parallel step only',
        'steps of a list run in their order',
      ),
    );
  if (step.compensate)
    findings.push(
      ...checkRef(step.compensate.call, 'atom', `${pointer}/compensate/call`),
      ...checkTemplate(step.compensate.with, `${pointer}/compensate/with`),
    );
  if ('switch' in step) {
    findings.push(...defaultLast(step.switch, `${pointer}/switch`));
    if (step.switch.every((branch) => branch.when !== undefined))
      findings.push({
        ...finding(
          'OPS1104',
          `${pointer}/switch`,
          'no branch is taken when no condition is true',
          'add a last branch without "when"',
        ),
        severity: 'warning',
      });
  }
  if ('parallel' in step && typeof step.parallel.join === 'object' && step.parallel.join.count > step.do.length) {
    findings.push(
      finding(
        'OPS1105',
        `${pointer}/parallel/join/count`,
        `waits for ${step.parallel.join.count} of ${step.do.length} branches`,
      ),
    );
  }
  if ('loop' in step && (step.loop.until === undefined) === (step.loop.while === undefined)) {
    findings.push(finding('OPS1106', `${pointer}/loop`, 'a loop has exactly one of until, while'));
  }
  return findings;
}

/** Value slots by verb. Secrets may stand in the `with` of a call, as a whole value, and must be declared. */
function verbTemplates(flow: FlowDocument, step: Step, pointer: string): Finding[] {
  const check = (template: unknown, at: string): Finding[] => checkTemplate(template, `${pointer}/${at}`);
  if ('call' in step) {
    return [
      ...checkRef(step.call, 'atom', `${pointer}/call`),
      ...checkTemplate(step.with, `${pointer}/with`, 'allowed'),
      ...check(step.queue, 'queue'),
      ...secretFindings(flow, step.with, `${pointer}/with`),
    ];
  }
  if ('run' in step) return [...checkRef(step.run, 'flow', `${pointer}/run`), ...check(step.with, 'with')];
  if ('forEach' in step) {
    const { in: list, key, batch, concurrency, collect } = step.forEach;
    return [
      ...check(list, 'forEach/in'),
      ...check(key, 'forEach/key'),
      ...check(batch?.plan, 'forEach/batch/plan'),
      ...check(concurrency, 'forEach/concurrency'),
      ...check(collect, 'forEach/collect'),
    ];
  }
  if ('set' in step) return check(step.set, 'set');
  if ('emit' in step) return check(step.emit, 'emit');
  if ('raise' in step) return check(step.raise, 'raise');
  if ('return' in step) return check(step.return, 'return');
  if ('wait' in step) return check(step.wait.until, 'wait/until');
  if ('approval' in step)
    return [...check(step.approval.title, 'approval/title'), ...check(step.approval.details, 'approval/details')];
  if ('lock' in step && step.lock !== undefined)
    return step.lock.claims.flatMap((claim, i) => check(claim.path, `lock/claims/${i}/path`));
  return [];
}

function secretFindings(flow: FlowDocument, template: unknown, pointer: string): Finding[] {
  const declared = flow.use?.secrets ?? [];
  const loose = looseSecrets(template).map((at) =>
    finding(
      'OPS1704',
      pointer + at,
      'a secret stands alone as a whole value: "${secrets.<name>}"; inside a text or $logic it would be read here, where it is only a reference',
      'store the whole value as the secret ("Bearer …"), or put the text around it into an http atom',
    ),
  );
  if (loose.length > 0) return loose;
  return secretsOf(template).flatMap((name) => {
    if (name === '*') return [finding('OPS1702', pointer, 'a secret is named in full: ${secrets.<name>}')];
    return declared.includes(name)
      ? []
      : [finding('OPS1703', pointer, `the secret "${name}" is not declared`, `add it to use.secrets`)];
  });
}

function retryFindings(flow: FlowDocument, retry: unknown, pointer: string): Finding[] {
  if (typeof retry !== 'string' || Object.hasOwn(flow.use?.retries ?? {}, retry)) return [];
  return [
    finding('OPS1040', pointer, `"${retry}" is not one of use.retries`, 'declare it there, or write the policy here'),
  ];
}

/** `needs` names siblings and never leads back to where it began. */
function needsFindings(placed: readonly PlacedStep[]): Finding[] {
  const findings: Finding[] = [];
  for (const { step, pointer } of placed) {
    if (!('parallel' in step)) continue;
    const needs = new Map(step.do.map((child) => [child.id, child.needs ?? []]));
    step.do.forEach((child, i) => {
      (child.needs ?? []).forEach((id, n) => {
        const at = `${pointer}/do/${i}/needs/${n}`;
        if (!needs.has(id))
          findings.push({
            ...finding('OPS1101', at, `"${id}" is no sibling of "${child.id}"`, 'name ids of the same parallel step'),
            step: child.id,
          });
      });
    });
    const cycle = cycleOf(needs);
    if (cycle !== undefined)
      findings.push({
        ...finding('OPS1102', `${pointer}/do`, `steps need each other: ${cycle.join(' → ')}`),
        step: step.id,
      });
  }
  return findings;
}

function cycleOf(needs: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (id: string, trail: string[]): string[] | undefined => {
    if (trail.includes(id)) return [...trail.slice(trail.indexOf(id)), id];
    if (done.has(id)) return undefined;
    for (const next of needs.get(id) ?? []) {
      const found = visit(next, [...trail, id]);
      if (found !== undefined) return found;
    }
    done.add(id);
    return undefined;
  };
  for (const id of needs.keys()) {
    const found = visit(id, []);
    if (found !== undefined) return found;
  }
  return undefined;
}
