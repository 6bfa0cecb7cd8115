import type { AtomDocument } from '@opsloop/contracts';
import { finding, type Finding } from '@opsloop/rules';
import { checkRef, checkTemplate } from './checks.js';
import { cacheFindings, jobFindings, verifyFindings } from './check-job.js';
import { checkUserSchema, validateInput } from './user-schema.js';

export function atomFindings(atom: AtomDocument): Finding[] {
  const declared = (['worker', 'http', 'script'] as const).filter((form) => atom[form] !== undefined);
  // A job is a form of its own, unless a worker does it.
  const forms = atom.job === undefined || atom.worker !== undefined ? declared : [...declared, 'job' as const];
  const findings: Finding[] = [];
  if (forms.length !== 1) {
    findings.push(
      finding(
        'OPS1020',
        forms.length === 0 ? '' : `/${forms[1]}`,
        `an atom has exactly one of worker, http, script, job; this one has ${forms.length === 0 ? 'none' : forms.join(' and ')}`,
      ),
    );
  }
  findings.push(...localFindings(atom), ...templateFindings(atom), ...schemaFindings(atom));
  findings.push(...jobFindings(atom), ...cacheFindings(atom), ...verifyFindings(atom));
  if (atom.idempotency === 'none' && atom.retry?.maximumAttempts !== undefined && atom.retry.maximumAttempts !== 1) {
    findings.push(
      finding(
        'OPS1022',
        '/retry/maximumAttempts',
        'an atom with idempotency "none" gets one attempt: a repeat could act twice',
        'remove it, or declare how a repeat is recognised (native, probe)',
      ),
    );
  }
  if (atom.compensate !== undefined)
    findings.push(
      ...checkRef(atom.compensate.call, 'atom', '/compensate/call'),
      ...checkTemplate(atom.compensate.with, '/compensate/with'),
    );
  const script = atom.script;
  if (script !== undefined && (script.source === undefined) === (script.file === undefined))
    findings.push(finding('OPS1023', '/script', 'a script has exactly one of source, file'));
  return findings;
}

function localFindings(atom: AtomDocument): Finding[] {
  if (atom.execution !== 'local') return [];
  if (atom.worker !== undefined)
    return [
      finding(
        'OPS1021',
        '/execution',
        'local execution runs inside our own worker, so an atom of a foreign worker cannot have it',
        'remove "execution"',
      ),
    ];
  if (atom.idempotency === 'none' || (atom.effect !== 'read' && atom.idempotency !== 'native')) {
    return [
      finding(
        'OPS1021',
        '/execution',
        'a crash repeats local steps, so only atoms that read or are natively idempotent may be local',
        'remove "execution"',
      ),
    ];
  }
  return [];
}

function templateFindings(atom: AtomDocument): Finding[] {
  const { http, script } = atom;
  return [
    ...checkTemplate(atom.targets, '/targets'),
    ...checkTemplate(atom.worker?.queue, '/worker/queue'),
    ...checkTemplate(http?.url, '/http/url', 'allowed'),
    ...checkTemplate(http?.query, '/http/query', 'allowed'),
    ...checkTemplate(http?.headers, '/http/headers', 'allowed'),
    ...checkTemplate(http?.body, '/http/body', 'allowed'),
    ...checkTemplate(http?.output, '/http/output'),
    ...checkTemplate(script?.env, '/script/env', 'allowed'),
    ...checkTemplate(script?.stdin, '/script/stdin', 'allowed'),
  ];
}

function schemaFindings(atom: AtomDocument): Finding[] {
  const findings: Finding[] = [];
  if (atom.input !== undefined) findings.push(...checkUserSchema(atom.input.schema, '/input/schema'));
  if (atom.output !== undefined) findings.push(...checkUserSchema(atom.output.schema, '/output/schema'));
  if (findings.length > 0 || atom.input === undefined) return findings;
  for (const [i, example] of (atom.examples ?? []).entries()) {
    for (const error of validateInput(atom.input.schema, example.input).errors)
      findings.push(
        finding(
          'OPS1303',
          `/examples/${i}/input${error.pointer}`,
          `the example does not match the input schema: ${error.message}`,
        ),
      );
  }
  return findings;
}
