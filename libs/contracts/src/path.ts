/**
 * Resource paths: `host/dc1/rack7/web-042`. 1–16 segments, at most 512 bytes, NFC, no empty part, no `.` or `..`
 * (design section 12.9). Two paths overlap when one is equal to, or a `/`-prefix of, the other.
 */
export const PATH_BYTES_MAX = 512;
export const PATH_SEGMENTS_MAX = 16;

/** A path as nearly all are: 1–16 parts that begin with a letter or digit, of ASCII. Every event and target is asked. */
const PLAIN = /^[A-Za-z0-9][\x20-.0-~]*(?:\/[A-Za-z0-9][\x20-.0-~]*){0,15}$/;

/** Says what is wrong with a path, or `undefined` when it is good. */
export function pathProblem(path: string): string | undefined {
  if (path.length <= PATH_BYTES_MAX && PLAIN.test(path)) return undefined;
  if (path.length === 0) return 'is empty';
  if (new TextEncoder().encode(path).length > PATH_BYTES_MAX) return `is longer than ${PATH_BYTES_MAX} bytes`;
  if (path.normalize('NFC') !== path) return 'is not in Unicode normal form C';
  if (/[\u0000-\u001f\u007f]/.test(path)) return 'holds a control character';
  const segments = path.split('/');
  if (segments.length > PATH_SEGMENTS_MAX) return `has more than ${PATH_SEGMENTS_MAX} segments`;
  if (segments.some((s) => s === '')) return 'has an empty part';
  if (segments.some((s) => s === '.' || s === '..')) return 'has a part "." or ".."';
  return undefined;
}

/** `a/b/c` → [`a`, `a/b`]: the proper prefixes, shortest first. */
export function pathPrefixes(path: string): string[] {
  const segments = path.split('/');
  return segments.slice(0, -1).map((_, i) => segments.slice(0, i + 1).join('/'));
}

/** True when both name the same thing or one contains the other. */
export function pathsOverlap(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}

/** True when `path` is `prefix` or lies under it. */
export function isUnder(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}

/** The first segment is the resource's kind. */
export function pathKind(path: string): string {
  return path.split('/', 1)[0]!;
}

/**
 * Matches a pattern in which `*` stands for any characters, `/` included (design section 12.5).
 * Linear in the length of text × number of stars: no regular expression, so no pattern can blow up.
 */
export function matchesPattern(pattern: string, text: string): boolean {
  if (!pattern.includes('*')) return pattern === text;
  const parts = pattern.split('*');
  const head = parts[0]!;
  const tail = parts[parts.length - 1]!;
  if (!text.startsWith(head)) return false;
  let at = head.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - tail.length >= at && text.endsWith(tail);
}
