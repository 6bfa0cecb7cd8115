/**
 * Templates (flow-language section 2.3–2.5): any JSON whose strings may hold `${path}`. Values that come out are never
 * looked at again, so data that contains `${…}` stays text.
 */
import type { Json } from '@opsloop/contracts';
import { evaluateLogic } from './evaluate.js';
import { expressionError, finding, pointerTo, type Finding } from './finding.js';
import { operationOf, OPERATORS } from './operators.js';
import { formatPath, parsePath, PathSyntaxError, PROTOTYPE_NAMES, readPath, type Segments } from './path.js';
import { toPlainJson, type Scope } from './scope-value.js';
import { validateLogic } from './validate-logic.js';

/** Depth of a template: the depth of any request body. */
const DEPTH_MAX = 32;

export interface Slot {
  segments: Segments;
  /** As written, for messages. */
  source: string;
  optional: boolean;
  asText: boolean;
}
export type Part = string | Slot;

/** Splits a text into literal parts and slots. Throws {@link PathSyntaxError}. */
function partsOf(text: string): Part[] {
  const parts: Part[] = [];
  let literal = '';
  let at = 0;
  while (at < text.length) {
    if (text.startsWith('$${', at)) {
      literal += '${';
      at += 3;
    } else if (text.startsWith('${', at)) {
      const end = slotEnd(text, at + 2);
      if (literal !== '') parts.push(literal);
      literal = '';
      parts.push(slotOf(text.slice(at + 2, end)));
      at = end + 1;
    } else {
      literal += text[at];
      at += 1;
    }
  }
  if (literal !== '') parts.push(literal);
  return parts;
}

/** Index of the closing brace; braces inside `["…"]` belong to the key. */
function slotEnd(text: string, from: number): number {
  let quote = '';
  for (let at = from; at < text.length; at += 1) {
    const c = text[at]!;
    if (quote !== '') {
      if (c === '\\') at += 1;
      else if (c === quote) quote = '';
    } else if ((c === '"' || c === "'") && text[at - 1] === '[') quote = c;
    else if (c === '}') return at;
  }
  throw new PathSyntaxError('has a "${" that is not closed; write "$${" for the characters themselves');
}

function slotOf(source: string): Slot {
  let path = source.trim();
  const asText = path.endsWith('|string');
  if (asText) path = path.slice(0, -'|string'.length).trimEnd();
  const optional = path.endsWith('?');
  if (optional) path = path.slice(0, -1);
  return { segments: parsePath(path), source, optional, asText };
}

/** Parsed texts, by the text. Bounded: texts come from documents, but a million documents must not fill the memory. */
const CACHE_MAX = 5_000;
const cache = new Map<string, readonly Part[]>();

export function parse(text: string): readonly Part[] {
  const known = cache.get(text);
  if (known !== undefined) return known;
  const parts = partsOf(text);
  if (cache.size >= CACHE_MAX) cache.clear();
  cache.set(text, parts);
  return parts;
}

/** Renders a template over a scope to plain JSON. A missing path is an `expression` error unless it ends in `?`. */
export function renderTemplate(template: Json, scope: Scope): Json {
  return render(template, scope, 0);
}

function render(template: Json, scope: Scope, depth: number): Json {
  if (typeof template === 'string') return renderText(template, scope);
  if (template === null || typeof template !== 'object') return template;
  if (depth > DEPTH_MAX) throw expressionError(`the template is nested deeper than ${DEPTH_MAX}`);
  if (Array.isArray(template)) return template.map((item) => render(item, scope, depth + 1));
  const keys = Object.keys(template);
  if (keys.length === 1 && keys[0] === '$logic') return evaluateLogic(template['$logic']!, scope);
  if (keys.length === 1 && keys[0] === '$literal') return toPlainJson(template['$literal']);
  const result: Record<string, Json> = {};
  for (const key of keys) {
    if (PROTOTYPE_NAMES.has(key)) throw expressionError(`a template may not have a member "${key}"`);
    result[key] = render(template[key]!, scope, depth + 1);
  }
  return result;
}

function renderText(text: string, scope: Scope): Json {
  if (!text.includes('${')) return text;
  let parts: readonly Part[];
  try {
    parts = parse(text);
  } catch (error) {
    if (error instanceof PathSyntaxError)
      throw expressionError(`the template "${text.slice(0, 100)}" ${error.message}`);
    throw error;
  }
  if (parts.length === 1 && typeof parts[0] === 'object') {
    const value = valueOf(parts[0], scope);
    return parts[0].asText ? forcedText(value) : toPlainJson(value);
  }
  return parts.map((part) => (typeof part === 'string' ? part : mixedText(part, scope))).join('');
}

function valueOf(slot: Slot, scope: Scope): unknown {
  const value = readPath(scope, slot.segments);
  if (value !== undefined) return value;
  if (slot.optional) return null;
  throw expressionError(
    `\${${slot.source}} is missing; write \${${formatPath(slot.segments)}?} when that is all right`,
  );
}

function forcedText(value: unknown): string {
  if (value === null) return '';
  return typeof value === 'object' ? JSON.stringify(toPlainJson(value)) : String(value);
}

function mixedText(slot: Slot, scope: Scope): string {
  const value = valueOf(slot, scope);
  if (value !== null && typeof value === 'object' && !slot.asText) {
    throw expressionError(
      `\${${slot.source}} is ${Array.isArray(value) ? 'a list' : 'an object'} inside a text; write \${${formatPath(slot.segments)}|string} to force it`,
    );
  }
  return forcedText(value);
}

/** Everything wrong with a template that can be seen without data. */
export function validateTemplate(template: Json): Finding[] {
  const findings: Finding[] = [];
  walk(template, '', 0, {
    text(text, pointer) {
      try {
        parse(text);
      } catch (error) {
        if (!(error instanceof PathSyntaxError)) throw error;
        findings.push(
          finding(
            'OPS1410',
            pointer,
            `"${text.slice(0, 80)}" ${error.message}`,
            'templates hold paths only; computed values are {"$logic": …}',
          ),
        );
      }
    },
    logic(logic, pointer) {
      findings.push(...validateLogic(logic).map((f) => ({ ...f, pointer: pointer + f.pointer })));
    },
    bad(pointer, message) {
      findings.push(finding('OPS1411', pointer, message));
    },
  });
  return findings;
}

/** The paths that a template reads, in the spelling of {@link formatPath}, without marks; each once. */
export function templatePaths(template: Json): string[] {
  const paths = new Set<string>();
  walk(template, '', 0, {
    text(text) {
      try {
        for (const part of parse(text)) if (typeof part === 'object') paths.add(formatPath(part.segments));
      } catch (error) {
        if (!(error instanceof PathSyntaxError)) throw error;
      }
    },
    logic(logic) {
      for (const path of logicPaths(logic)) paths.add(path);
    },
    bad() {},
  });
  return [...paths];
}

/** The outer paths that an expression reads: `var` outside iterator bodies, `root` everywhere. */
export function logicPaths(logic: Json): string[] {
  const paths = new Set<string>();
  collect(logic, false, paths);
  return [...paths];
}

function collect(logic: unknown, inItem: boolean, paths: Set<string>): void {
  if (Array.isArray(logic)) {
    for (const item of logic) collect(item, inItem, paths);
    return;
  }
  const operation = operationOf(logic);
  if (operation === undefined) return;
  const { op, args } = operation;
  if ((op === 'root' || (op === 'var' && !inItem)) && typeof args[0] === 'string' && args[0] !== '') paths.add(args[0]);
  const iterator = OPERATORS.get(op)?.iterator === true;
  args.forEach((arg, i) => collect(arg, inItem || (iterator && i === 1), paths));
}

export interface Visitor {
  text(text: string, pointer: string): void;
  logic(logic: Json, pointer: string): void;
  bad(pointer: string, message: string): void;
}

export function walk(template: Json, pointer: string, depth: number, visitor: Visitor): void {
  if (typeof template === 'string') {
    if (template.includes('${')) visitor.text(template, pointer);
    return;
  }
  if (template === null || typeof template !== 'object') return;
  if (depth > DEPTH_MAX) return visitor.bad(pointer, `the template is nested deeper than ${DEPTH_MAX}`);
  if (Array.isArray(template))
    return template.forEach((item, i) => walk(item, pointerTo(pointer, i), depth + 1, visitor));
  const keys = Object.keys(template);
  if (keys.length === 1 && keys[0] === '$logic') return visitor.logic(template['$logic']!, `${pointer}/$logic`);
  if (keys.length === 1 && keys[0] === '$literal') return;
  for (const key of keys) {
    if (PROTOTYPE_NAMES.has(key)) visitor.bad(pointerTo(pointer, key), `a member may not be called "${key}"`);
    else if (key === '$logic' || key === '$literal')
      visitor.bad(pointerTo(pointer, key), `"${key}" must stand alone in its object`);
    else walk(template[key]!, pointerTo(pointer, key), depth + 1, visitor);
  }
}
