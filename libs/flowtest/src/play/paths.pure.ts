/** Instance paths and the patterns with which tests name them. */
import { itemSegment } from '@opsloop/contracts';

/** The place of a gate, `roll[batch:1]/slo`, is no key of an item. */
const BETWEEN_BATCHES = /^batch:\d+$/;
const ESCAPE = /[.*+?^${}()|\\]/g;

/** Without the numbers of repeats: `t~2/call` → `t/call`. */
export function withoutRepeats(path: string): string {
  return path.replaceAll(/~\d+/g, '');
}

/** The step in the document, whatever the item, turn or repeat: `replace[m-17]/drain~2` → `replace/drain`. */
export function staticPath(path: string): string {
  return withoutRepeats(path.replaceAll(/\[[^\]]*\]/g, ''));
}

export type Precision = 'exact' | 'pattern' | 'step' | 'id';

/** How exactly a pattern names a path; undefined when it does not. */
export function namesPath(written: string, path: string): Precision | undefined {
  const pattern = encoded(written);
  if (pattern === path) return 'exact';
  const once = withoutRepeats(path);
  if (pattern === once) return 'pattern';
  const step = staticPath(path);
  if (pattern === step) return 'step';
  if (pattern.includes('[')) return anyItem(pattern).test(once) ? 'pattern' : undefined;
  return !pattern.includes('/') && step.endsWith(`/${pattern}`) ? 'id' : undefined;
}

/** `each[a]/loop/act` names item `a` in any turn of the loop: where no key is written, any will do. */
function anyItem(pattern: string): RegExp {
  const segments = pattern.split('/').map((segment) => {
    const parts = segment.split('[*]').map(quoted);
    return parts.join('\\[[^\\]]*\\]') + (segment.includes('[') ? '' : '(\\[[^\\]]*\\])?');
  });
  return new RegExp(`^${segments.join('/')}$`);
}

/** Keys of items as paths hold them: people write `each[host/a]`, the path is `each[host%2Fa]`. */
function encoded(pattern: string): string {
  return pattern.replaceAll(/\[([^\]]*)\]/g, (whole, key: string) =>
    key === '*' || key.includes('%') || BETWEEN_BATCHES.test(key) ? whole : `[${itemSegment(key)}]`,
  );
}

function quoted(text: string): string {
  return text.replaceAll(ESCAPE, '\\$&').replaceAll('[', '\\[').replaceAll(']', '\\]');
}

/** `fleet.restart` and `fleet.restart@1` name an atom; step ids have no dot outside of their keys. */
export function atomOfKey(key: string): string | undefined {
  if (!key.replaceAll(/\[[^\]]*\]/g, '').includes('.')) return undefined;
  return key.split('@', 1)[0];
}
