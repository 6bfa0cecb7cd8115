/**
 * A guarded expression as closures. json-logic-js looks at keys and copies argument lists at every node of every
 * evaluation, and rules are judged thousands of times a second. What is compiled does exactly what json-logic-js would:
 * it calls the same registered operations with the same arguments in the same order; the rest is handed to it as it is.
 */
export type Run = (data: unknown) => unknown;

export type Registered = (this: unknown, ...args: never[]) => unknown;

export interface Reference {
  apply(logic: unknown, data: unknown): unknown;
  truthy(value: unknown): boolean;
}

/** `operations`: those of ours, by the names under which json-logic-js knows them. */
export function compileLogic(form: unknown, operations: ReadonlyMap<string, Registered>, reference: Reference): Run {
  const compile = (one: unknown): Run => {
    if (isConstant(one)) return () => one;
    if (Array.isArray(one)) {
      const items = one.map(compile);
      return (data) => items.map((item) => item(data));
    }
    const [op, given] = Object.entries(one as object)[0] as [string, unknown];
    const args = Array.isArray(given) ? given : [given];
    const operation = operations.get(op);
    if (operation !== undefined)
      return call(operation as (this: unknown, ...values: unknown[]) => unknown, args.map(compile));
    if (op === 'and' || op === 'or') return connect(op === 'or', args.map(compile), reference);
    if (op === 'if' || op === '?:') return choose(args.map(compile), reference);
    return (data) => reference.apply(one, data);
  };
  return compile(form);
}

/** Nothing in it is computed. */
function isConstant(form: unknown): boolean {
  if (form === null || typeof form !== 'object') return true;
  if (Array.isArray(form)) return form.every(isConstant);
  // An object is a literal unless it has one member; what is inside it is never looked at.
  return Object.keys(form).length !== 1;
}

function call(operation: (this: unknown, ...values: unknown[]) => unknown, args: readonly Run[]): Run {
  const [first, second] = args;
  if (args.length === 1) return (data) => operation.call(data, first!(data));
  if (args.length === 2) return (data) => operation.call(data, first!(data), second!(data));
  return (data) =>
    operation.apply(
      data,
      args.map((arg) => arg(data)),
    );
}

function connect(isOr: boolean, parts: readonly Run[], { truthy }: Reference): Run {
  return (data) => {
    let value: unknown;
    for (const part of parts) {
      value = part(data);
      if (truthy(value) === isOr) return value;
    }
    return value;
  };
}

function choose(parts: readonly Run[], { truthy }: Reference): Run {
  return (data) => {
    let at = 0;
    for (; at < parts.length - 1; at += 2) if (truthy(parts[at]!(data))) return parts[at + 1]!(data);
    return at < parts.length ? parts[at]!(data) : null;
  };
}
