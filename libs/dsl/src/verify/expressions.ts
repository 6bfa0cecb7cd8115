/** Expressions: conditions and templates that can be read, with the operators and sizes of the language. */
import { OpsError, type Json } from '@opsloop/contracts';
import { finding, pointerTo, validateLogic, type Finding } from '@opsloop/rules';
import { checkTemplate } from '../checks.js';
import { isObject } from '../normalise.js';
import { found, upward, type ConditionSlot, type FlowModel, type TemplateSlot } from './model.js';
import { normaliseCondition } from '@opsloop/rules';

/** Names that an item of a list hardly has, and that are null inside an iterator. */
const OUTER: ReadonlySet<string> = new Set(['input', 'vars', 'steps', 'flow', 'config']);

export function expressionFindings(model: FlowModel): Finding[] {
  const items = new Set<string>();
  return [
    ...model.conditions.flatMap((slot) => conditionFindings(slot)),
    ...model.templates.flatMap(({ template, pointer, secrets, node }) =>
      checkTemplate(template, pointer, secrets).map((one) =>
        node.step === undefined ? one : { ...one, step: node.id },
      ),
    ),
    ...model.templates.flatMap(bracesFindings),
    ...model.reads.flatMap((read) => {
      const key = `${read.pointer} ${read.path}`;
      if (!read.inItem || !OUTER.has(read.segments[0]!) || read.segments.length < 2 || items.has(key)) return [];
      items.add(key);
      return [
        found(
          'OPS1413',
          read.pointer,
          `"${read.path}" is read inside an iterator, which sees its item only`,
          `write {"root": "${read.path}"}, as text root('${read.path}')`,
          read.node.id,
        ),
      ];
    }),
  ];
}

/** `{host}` or `{{ input.host }}`: other tools write templates so; here it is handed on as it stands. */
const BRACES = /(?<!\$)\{\{?\s*([A-Za-z][\w-]*)((?:\.[\w-]+|\[[^\]]*\])*)\s*\}/g;

function bracesFindings({ template, pointer, node }: TemplateSlot): Finding[] {
  const names = new Set([...upward(node)].flatMap((one) => one.names));
  const findings: Finding[] = [];
  const visit = (value: Json | undefined, at: string): void => {
    if (typeof value === 'string') {
      for (const [text, name, members] of value.matchAll(BRACES)) {
        if (!names.has(name!) && !(OUTER.has(name!) && members !== '')) continue;
        findings.push(
          found('OPS1416', at, `"${text}" stays as it is written`, `write "\${${name}${members}}"`, node.id),
        );
        return;
      }
    } else if (Array.isArray(value)) value.forEach((item, i) => visit(item, pointerTo(at, i)));
    else if (isObject(value) && !Object.hasOwn(value, '$literal') && !Object.hasOwn(value, '$logic'))
      for (const [name, member] of Object.entries(value)) visit(member, pointerTo(at, name));
  };
  visit(template, pointer);
  return findings;
}

export function conditionFindings({
  written,
  logic,
  pointer,
  node,
}: Pick<ConditionSlot, 'written' | 'logic' | 'pointer'> & { node?: { id: string } }): Finding[] {
  const step = node === undefined || node.id === '' ? {} : { step: node.id };
  if (logic === undefined) {
    try {
      normaliseCondition(written);
      return [];
    } catch (error) {
      if (!(error instanceof OpsError)) throw error;
      return [{ ...finding('OPS1409', pointer, error.detail), ...step }];
    }
  }
  const findings = validateLogic(logic).map((f) => ({
    ...f,
    ...step,
    pointer: typeof written === 'string' ? pointer : pointer + f.pointer,
  }));
  if (logic !== null && typeof logic !== 'boolean' && !isObject(logic))
    findings.push({
      ...finding(
        'OPS1412',
        pointer,
        'a condition must give true or false',
        'compare something: steps.scan.output.total > 3',
      ),
      ...step,
    });
  return findings;
}
