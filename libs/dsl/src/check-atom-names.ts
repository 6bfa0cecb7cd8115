import type { AtomDocument, Json } from '@opsloop/contracts';
import { finding, templateReads, type Finding } from '@opsloop/rules';

/** What the templates of a manifest see: it knows nothing of the flow that calls it. Secrets have a check of their own. */
const REQUEST = ['input', 'config'];
const ANSWER = ['input', 'config', 'response'];
const JOB = ['input', 'config', 'job'];
const UNDO = ['input', 'result'];

/** Names that are not there when the template is rendered: the call would fail, and an undo only when it is needed. */
export function atomNameFindings(atom: AtomDocument): Finding[] {
  const { http, script, job, compensate } = atom;
  return [
    ...unknownNames(atom.targets, '/targets', REQUEST),
    ...unknownNames(http?.url, '/http/url', REQUEST),
    ...unknownNames(http?.headers, '/http/headers', REQUEST),
    ...unknownNames(http?.body, '/http/body', REQUEST),
    ...unknownNames(http?.output, '/http/output', ANSWER),
    ...unknownNames(script?.env, '/script/env', REQUEST),
    ...unknownNames(script?.stdin, '/script/stdin', REQUEST),
    ...unknownNames(job?.start?.url, '/job/start/url', REQUEST),
    ...unknownNames(job?.start?.body, '/job/start/body', REQUEST),
    ...unknownNames(job?.start?.id, '/job/start/id', ANSWER),
    ...unknownNames(job?.poll.url, '/job/poll/url', JOB),
    ...unknownNames(job?.poll.output, '/job/poll/output', [...ANSWER, 'job']),
    ...unknownNames(job?.cancel?.url, '/job/cancel/url', JOB),
    ...unknownNames(compensate?.with, '/compensate/with', UNDO),
  ];
}

function unknownNames(template: Json | undefined, pointer: string, names: readonly string[]): Finding[] {
  if (template === undefined) return [];
  return templateReads(template).flatMap(({ segments, path, inItem, pointer: at }) =>
    inItem || [...names, 'secrets'].includes(segments[0]!)
      ? []
      : [
          finding(
            'OPS1501',
            pointer + at,
            `"${path}" begins with "${segments[0]}", which is not there`,
            hintFor(segments[0]!, names),
          ),
        ],
  );
}

function hintFor(name: string, names: readonly string[]): string {
  if (name === 'output' && names.includes('result')) return 'what the call has answered is "result"';
  return `names here: ${names.join(', ')}`;
}
