/** What a template or an expression reads, with the place of each read: for checks, never for evaluation. */
import type { Json } from '@opsloop/contracts';
import { operationOf, OPERATORS } from './operators.js';
import { formatPath, parsePath, PathSyntaxError } from './path.js';
import { parse, walk } from './template.js';

export interface PathRead {
  /** In the spelling of `formatPath`. */
  path: string;
  segments: readonly string[];
  /** Pointer inside the template; of an expression the pointer of its `$logic`. */
  pointer: string;
  /** `${path?}`, or inside an expression, where a missing value is null. */
  optional: boolean;
  /** Stands in an expression. */
  computed: boolean;
  /** The whole text is this one slot, so that the value keeps its type. */
  alone: boolean;
  /** `${path|string}`. */
  asText: boolean;
  /** A `var` inside the body of an iterator: it sees the item only. */
  inItem: boolean;
}

/** Every read of a template, in its order. Parts that cannot be read at all are findings of their own. */
export function templateReads(template: Json): PathRead[] {
  const reads: PathRead[] = [];
  walk(template, '', 0, {
    text(text, pointer) {
      try {
        const parts = parse(text);
        for (const part of parts) {
          if (typeof part === 'string') continue;
          const { segments, optional, asText } = part;
          const path = formatPath(segments);
          const alone = parts.length === 1;
          reads.push({ path, segments, pointer, optional, asText, alone, computed: false, inItem: false });
        }
      } catch (error) {
        if (!(error instanceof PathSyntaxError)) throw error;
      }
    },
    logic(logic, pointer) {
      reads.push(...logicReads(logic).map((read) => ({ ...read, pointer })));
    },
    bad() {},
  });
  return reads;
}

/** Every `var` and `root` of an expression with a literal path. */
export function logicReads(logic: Json): PathRead[] {
  const reads: PathRead[] = [];
  collect(logic, false, reads);
  return reads;
}

function collect(logic: unknown, inItem: boolean, reads: PathRead[]): void {
  if (Array.isArray(logic)) return logic.forEach((item) => collect(item, inItem, reads));
  const operation = operationOf(logic);
  if (operation === undefined) return;
  const { op, args } = operation;
  if ((op === 'root' || op === 'var') && typeof args[0] === 'string' && args[0] !== '') {
    try {
      const segments = parsePath(args[0]);
      reads.push({
        ...{ path: formatPath(segments), segments, pointer: '', optional: true, computed: true, asText: false },
        ...{ alone: false, inItem: op === 'var' && inItem },
      });
    } catch (error) {
      if (!(error instanceof PathSyntaxError)) throw error;
    }
  }
  const iterator = OPERATORS.get(op)?.iterator === true;
  args.forEach((arg, i) => collect(arg, inItem || (iterator && i === 1), reads));
}
