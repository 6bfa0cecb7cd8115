/** Types: conditions, lists, inputs of atoms and flows, and comparisons, held against the schemas that are known. */
import { isDuration, pathProblem, type Json, type JsonObject } from '@opsloop/contracts';
import { operationOf, pointerTo, templateReads, type Finding } from '@opsloop/rules';
import { isObject } from '../normalise.js';
import { validateInput } from '../user-schema.js';
import { found, type ConditionSlot, type FlowModel, type Node, type Read, type TemplateSlot } from './model.js';
import { near } from '../near.js';
import * as shapes from './shapes.js';
import type { Shape } from './shapes.js';

export function typeFindings(model: FlowModel): Finding[] {
  return [
    ...model.conditions.flatMap((slot) => conditionTypes(model, slot)),
    ...model.templates.flatMap((slot) => [
      ...logicsIn(slot).flatMap((one) => comparisons(model, slot.node, one.logic, one.pointer)),
    ]),
    ...model.reads.flatMap((read) => readTypes(model, read)),
    ...model.nodes.flatMap((node) => stepTypes(model, node)),
    ...pathFindings(model),
  ];
}

function conditionTypes(model: FlowModel, { logic, pointer, node }: ConditionSlot): Finding[] {
  if (logic === undefined || !isObject(logic)) return [];
  const shape = shapes.shapeOfLogic(model, node, logic);
  if (shape !== undefined && !shape.kinds.has('boolean')) {
    return [
      found(
        'OPS1602',
        pointer,
        `the condition gives ${shapes.said(shape)}, and only true and false decide`,
        'compare it, for example "… > 0", or write {"!!": …}',
        node.id,
      ),
    ];
  }
  return comparisons(model, node, logic, pointer);
}

const EQUAL: ReadonlySet<string> = new Set(['==', '!=', '===', '!==']);
const ORDER: ReadonlySet<string> = new Set(['<', '<=', '>', '>=']);

/** Comparisons that can never hold: of different kinds, or with a value that the schema does not list. */
function comparisons(model: FlowModel, node: Node, logic: Json, pointer: string, inItem = false): Finding[] {
  if (Array.isArray(logic)) return logic.flatMap((one) => comparisons(model, node, one, pointer, inItem));
  const operation = operationOf(logic);
  if (operation === undefined) return [];
  const { op } = operation;
  const args = operation.args as readonly Json[];
  const shapeOf = (value: Json): Shape | undefined => shapes.shapeOfLogic(model, node, value, inItem);
  if (EQUAL.has(op) || ORDER.has(op)) {
    for (let i = 1; i < args.length; i += 1) {
      const [a, b] = [shapeOf(args[i - 1]!), shapeOf(args[i]!)];
      if (shapes.disjoint(a, b))
        return [
          found('OPS1606', pointer, `"${op}" compares ${shapes.said(a!)} with ${shapes.said(b!)}`, undefined, node.id),
        ];
      const odd = EQUAL.has(op) ? (outside(a, args[i]!) ?? outside(b, args[i - 1]!)) : undefined;
      if (odd !== undefined) return [neverValue(pointer, odd, node)];
    }
  }
  if (op === 'in' && Array.isArray(args[1])) {
    const shape = shapeOf(args[0]!);
    for (const value of args[1]) {
      const odd = outside(shape, value);
      if (odd !== undefined) return [neverValue(pointer, odd, node)];
    }
  }
  const iterates = ['filter', 'map', 'reduce', 'all', 'none', 'some'].includes(op);
  return args.flatMap((arg, i) => comparisons(model, node, arg, pointer, inItem || (iterates && i === 1)));
}

interface Odd {
  value: Json;
  values: readonly Json[];
}

function outside(shape: Shape | undefined, value: Json): Odd | undefined {
  if (shape?.values === undefined || shape.values.length < 2 || value === null || typeof value === 'object')
    return undefined;
  return shape.values.includes(value) ? undefined : { value, values: shape.values };
}

function neverValue(pointer: string, { value, values }: Odd, node: Node): Finding {
  const close =
    typeof value === 'string' ? near(value, new Set(values.filter((one) => typeof one === 'string'))) : undefined;
  return found(
    'OPS1605',
    pointer,
    `${JSON.stringify(value)} is none of the values that can occur: ${values
      .map((one) => JSON.stringify(one))
      .join(', ')
      .slice(0, 200)}`,
    close,
    node.id,
  );
}

/** Expressions inside a template, with their places. */
function logicsIn({ template, pointer }: TemplateSlot): { logic: Json; pointer: string }[] {
  const visit = (value: Json, at: string): { logic: Json; pointer: string }[] => {
    if (Array.isArray(value)) return value.flatMap((item, i) => visit(item, pointerTo(at, i)));
    if (!isObject(value)) return [];
    if (Object.hasOwn(value, '$logic')) return [{ logic: value['$logic']!, pointer: `${at}/$logic` }];
    if (Object.hasOwn(value, '$literal')) return [];
    return Object.entries(value).flatMap(([key, member]) => visit(member, pointerTo(at, key)));
  };
  return visit(template, pointer);
}

/** Members that a closed schema does not have, and values that cannot become text. */
function readTypes(model: FlowModel, read: Read): Finding[] {
  if (read.inItem) return [];
  const { node, segments, pointer, path } = read;
  const place = shapes.schemaOfRead(model, node, segments);
  // The first member of the input has a finding of its own.
  if (place !== undefined && place.rest.length > 0 && !(segments[0] === 'input' && segments.length === 2)) {
    const at = shapes.walkSchema(place.schema, place.rest);
    if (typeof at === 'object' && 'absent' in at && !(segments[0] === 'input' && segments[1] === at.absent))
      return [
        found(
          'OPS1601',
          pointer,
          at.of === undefined
            ? `"${path}": its schema has no member "${at.absent}"`
            : `"${path}": there is no "${at.absent}" in ${at.of === 'array' ? 'a list' : `a ${at.of}`}`,
          absentHint(path, at),
          node.id,
        ),
      ];
  }
  if (read.computed || read.alone || read.asText || read.harmless) return [];
  const shape = shapes.shapeOfPath(model, node, segments);
  const kinds = [...(shape?.kinds ?? [])].filter((kind) => kind !== 'null');
  return kinds.length > 0 && kinds.every((kind) => kind === 'object' || kind === 'array')
    ? [
        found(
          'OPS1607',
          pointer,
          `\${${path}} is ${shapes.said(shape!)} inside a text`,
          `write \${${path}|string} to force it, or let it stand alone`,
          node.id,
        ),
      ]
    : [];
}

function absentHint(path: string, { absent, known, of }: { absent: string; known: string[]; of?: string }): string {
  if (of === undefined) return near(absent, new Set(known)) ?? `it has ${known.join(', ') || 'none'}`;
  return absent === 'length' || absent === 'size' || absent === 'count'
    ? `write length(${path.slice(0, path.lastIndexOf('.'))})`
    : 'correct the path, or the schema';
}

function stepTypes(model: FlowModel, node: Node): Finding[] {
  const step = node.step!;
  const { pointer, id } = node;
  if ('call' in step && node.atom?.input !== undefined)
    return new Match(model, node, 'OPS1604', node.atom.name).of(
      step.with ?? {},
      node.atom.input.schema,
      `${pointer}/with`,
    );
  if ('run' in step && node.flow?.input !== undefined)
    return new Match(model, node, 'OPS1608', node.flow.name).of(
      step.with ?? {},
      node.flow.input.schema,
      `${pointer}/with`,
    );
  if ('forEach' in step) {
    const shape = shapeOfTemplate(model, node, step.forEach.in);
    return shape === undefined || shape.kinds.has('array')
      ? []
      : [
          found(
            'OPS1603',
            `${pointer}/forEach/in`,
            `forEach goes through a list; this is ${shapes.said(shape)}`,
            undefined,
            id,
          ),
        ];
  }
  if ('wait' in step) {
    const { until, for: duration } = step.wait;
    if (typeof until === 'string' && !until.includes('${') && Number.isNaN(Date.parse(until)))
      return [found('OPS1609', `${pointer}/wait/until`, `"${until.slice(0, 60)}" is no ISO 8601 time`, undefined, id)];
    if (duration !== undefined && !duration.includes('${') && !isDuration(duration))
      return [
        found('OPS1609', `${pointer}/wait/for`, `"${duration.slice(0, 60)}" is no duration`, 'write 30s or 1h30m', id),
      ];
    const shape = until === undefined ? undefined : shapeOfTemplate(model, node, until);
    if (shape !== undefined && !shape.kinds.has('string'))
      return [
        found('OPS1609', `${pointer}/wait/until`, `takes a time as text; this is ${shapes.said(shape)}`, undefined, id),
      ];
  }
  return [];
}

/** What a template gives, as far as it can be seen. */
export function shapeOfTemplate(model: FlowModel, node: Node, template: Json): Shape | undefined {
  if (typeof template === 'string') {
    if (!template.includes('${')) return shapes.shapeOfValue(template);
    const reads = templateReads(template);
    if (reads.length !== 1 || !reads[0]!.alone) return { kinds: new Set(['string']) };
    const read = reads[0]!;
    if (read.asText) return { kinds: new Set(['string']) };
    if (read.segments[0] === 'secrets') return undefined;
    return shapes.shapeOfPath(model, node, read.segments);
  }
  if (!isObject(template)) return { kinds: new Set([shapes.kindOfValue(template)]) };
  if (Object.hasOwn(template, '$logic')) return shapes.shapeOfLogic(model, node, template['$logic']!);
  if (Object.hasOwn(template, '$literal')) return shapes.shapeOfValue(template['$literal']!);
  return { kinds: new Set(['object']) };
}

/** Holds a template against a schema: members always, literals for real, paths as far as their schemas say. */
export class Match {
  constructor(
    private readonly model: FlowModel,
    private readonly node: Node,
    private readonly code: string,
    private readonly whose: string,
  ) {}

  of(template: Json, schema: unknown, pointer: string, root: JsonObject = schema as JsonObject): Finding[] {
    const at = shapes.resolved(schema, root);
    if (at === undefined || Object.keys(at).length === 0) return [];
    if (isLiteral(template)) return this.literal(template, at, pointer, root);
    const shape = shapeOfTemplate(this.model, this.node, template);
    const wanted = shapes.shapeOfSchema(at);
    if (shapes.disjoint(shape, wanted))
      return [this.wrong(pointer, `must be ${shapes.said(wanted!)}, and is ${shapes.said(shape!)}`)];
    if (Array.isArray(template) && at['items'] !== undefined)
      return template.flatMap((item, i) => this.of(item, at['items'], pointerTo(pointer, i), root));
    if (isObject(template) && !Object.hasOwn(template, '$logic') && !Object.hasOwn(template, '$literal'))
      return this.members(template, at, pointer, root);
    return [];
  }

  private members(template: JsonObject, schema: JsonObject, pointer: string, root: JsonObject): Finding[] {
    const properties = isObject(schema['properties']) ? schema['properties'] : {};
    const required = Array.isArray(schema['required']) ? (schema['required'] as string[]) : [];
    // A name that is misspelt is one mistake, not one that is missing and one that is unknown.
    const closed = schema['additionalProperties'] === false && !('patternProperties' in schema);
    const strange = closed ? Object.keys(template).filter((name) => !Object.hasOwn(properties, name)) : [];
    const misspelt = (name: string): boolean => strange.some((other) => near(other, new Set([name])) !== undefined);
    const missing = required
      .filter((name) => !Object.hasOwn(template, name) && !misspelt(name))
      .map((name) => this.wrong(pointerTo(pointer, name), 'is required', `add "${name}"`));
    const present = Object.entries(template).flatMap(([name, value]) => {
      const at = pointerTo(pointer, name);
      if (Object.hasOwn(properties, name)) return this.of(value, properties[name], at, root);
      const more = schema['additionalProperties'];
      if (more === false && !('patternProperties' in schema))
        return [
          this.wrong(
            at,
            `"${name}" is not known here`,
            near(name, new Set(Object.keys(properties))) ??
              `it takes ${Object.keys(properties).join(', ') || 'nothing'}`,
          ),
        ];
      return isObject(more) ? this.of(value, more, at, root) : [];
    });
    return [...missing, ...present];
  }

  private literal(value: Json, schema: JsonObject, pointer: string, root: JsonObject): Finding[] {
    const plain = isObject(value) && Object.hasOwn(value, '$literal') ? value['$literal']! : value;
    // A part that refers elsewhere cannot be compiled alone.
    if (schema !== root && JSON.stringify(schema).includes('"$ref"')) return [];
    try {
      const { errors } = validateInput(schema, plain);
      const known = new Set(Object.keys(isObject(schema['properties']) ? schema['properties'] : {}));
      const strange = errors.flatMap(({ pointer: at, message }) => (message.endsWith('is not known here') ? [at] : []));
      return errors.flatMap(({ pointer: at, message }) => {
        const name = at.slice(at.lastIndexOf('/') + 1);
        const misspelt = (other: string): boolean =>
          near(other.slice(other.lastIndexOf('/') + 1), new Set([name])) !== undefined;
        if (message === 'is required' && strange.some(misspelt)) return [];
        const hint = strange.includes(at) ? near(name, known) : message === 'is required' ? `add "${name}"` : undefined;
        return [this.wrong(pointer + at, message, hint)];
      });
    } catch {
      // The schema itself is wrong, which its own document says.
      return [];
    }
  }

  private wrong(pointer: string, message: string, hint?: string): Finding {
    return found(this.code, pointer, message, hint ?? `see the input of ${this.whose}`, this.node.id);
  }
}

function isLiteral(value: Json): boolean {
  if (typeof value === 'string') return !value.includes('${');
  if (Array.isArray(value)) return value.every(isLiteral);
  if (!isObject(value)) return true;
  if (Object.hasOwn(value, '$literal')) return true;
  return !Object.hasOwn(value, '$logic') && Object.values(value).every(isLiteral);
}

/** Literal paths of targets and locks. */
function pathFindings(model: FlowModel): Finding[] {
  return model.templates.flatMap(({ slot, template, pointer, node }) => {
    if (slot !== 'targets' && !/^(locks|lock\/claims)\/\d+\/path$/.test(slot)) return [];
    const many = slot === 'targets' && Array.isArray(template);
    return (many ? template : [template]).flatMap((path, i) => {
      const at = many ? pointerTo(pointer, i) : pointer;
      if (typeof path === 'string' && !path.includes('${')) {
        const problem = pathProblem(path);
        return problem === undefined
          ? []
          : [found('OPS1610', at, `"${path.slice(0, 80)}" ${problem}`, undefined, node.id)];
      }
      const shape = shapeOfTemplate(model, node, path);
      const good = shape === undefined || shape.kinds.has('string') || (slot === 'targets' && shape.kinds.has('array'));
      return good
        ? []
        : [found('OPS1610', at, `gives ${shapes.said(shape)}, where a path is needed`, undefined, node.id)];
    });
  });
}
