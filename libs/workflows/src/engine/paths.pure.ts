import { itemSegment } from '@opsloop/contracts';

/** `a` + `b` → `a/b`; a path at the root has no slash. */
export function joinPath(parent: string, child: string): string {
  return parent === '' ? child : child === '' ? parent : `${parent}/${child}`;
}

/** Repeat n ≥ 2 of a block gets paths, and so step keys, of its own. */
export function attemptPath(path: string, attempt: number): string {
  return attempt <= 1 ? path : `${path}~${attempt}`;
}

export function itemPath(path: string, key: string): string {
  return `${path}[${itemSegment(key)}]`;
}

export function turnPath(path: string, turn: number): string {
  return `${path}[${turn}]`;
}

/** Between two batches; the colon cannot occur in an encoded item key. */
export function gatePath(path: string, batch: number): string {
  return `${path}[batch:${batch}]`;
}

/** The step that undoes the one at `path`. */
export function undoPath(path: string): string {
  return `${path}~undo`;
}
