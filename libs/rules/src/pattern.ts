/**
 * Patterns in conditions, by RE2JS: a port of RE2, whose time grows with the text and never with how cruel the pattern
 * is. In return there are no back references and no look-around. https://github.com/google/re2/wiki/Syntax
 */
import { RE2JS } from 're2js';
import { expressionError } from './finding.js';

/** Longest pattern that a person can still read. */
export const PATTERN_CHARS_MAX = 500;
/** Instructions that it may become: `{m,n}` copies what it repeats. */
export const PATTERN_STATES_MAX = 2_000;
/** Longest text that is searched: far above any field of an event that one looks into by a pattern. */
export const PATTERN_TEXT_MAX = 10_000;
/** Patterns kept: rules name some hundred; above it the cache starts anew. */
const CACHE_MAX = 2_000;

export type Pattern = RE2JS;

/** What is wrong with a pattern, for whoever wrote it. */
export class PatternError extends Error {}

const patterns = new Map<string, Pattern>();

/** Compiles a pattern with the flags `i` (case is the same) and `s` (`.` takes line ends too); throws {@link PatternError}. */
export function compilePattern(pattern: string, flags = ''): Pattern {
  const key = `${flags}/${pattern}`;
  const known = patterns.get(key);
  if (known !== undefined) return known;
  if (pattern.length > PATTERN_CHARS_MAX) throw new PatternError(`is longer than ${PATTERN_CHARS_MAX} characters`);
  if (!/^(i?s?|si)$/.test(flags)) throw new PatternError(`has the flags "${flags.slice(0, 10)}"; there are i and s`);
  const compiled = compiledBy(
    pattern,
    (flags.includes('i') ? RE2JS.CASE_INSENSITIVE : 0) | (flags.includes('s') ? RE2JS.DOTALL : 0),
  );
  if (compiled.programSize() > PATTERN_STATES_MAX)
    throw new PatternError(`has more than ${PATTERN_STATES_MAX} states; repeat less`);
  if (patterns.size >= CACHE_MAX) patterns.clear();
  patterns.set(key, compiled);
  return compiled;
}

/** The pattern is not repeated in what is said of it: the finding shows it. */
function compiledBy(pattern: string, flags: number): Pattern {
  try {
    return RE2JS.compile(pattern, flags);
  } catch (error) {
    const said = (error as Error).message.replace(/^error parsing regexp: /, '').replaceAll('`', '"');
    const perl = /Perl syntax|escape sequence|look-?behind|invalid named capture/i.test(said)
      ? '; look-around and back references do not exist here'
      : '';
    throw new PatternError(`cannot be read: ${said}${perl}`);
  }
}

/** Whether the pattern fits somewhere in the text. `step` is told what it costs and may refuse. */
export function searchPattern(pattern: Pattern, text: string, step: (count: number) => void): boolean {
  if (text.length > PATTERN_TEXT_MAX)
    throw expressionError(`a pattern searches at most ${PATTERN_TEXT_MAX} characters, not ${text.length}`);
  // Characters × states bound the work; a hundred of these take about as long as one step of anything else.
  step(1 + Math.ceil((text.length * pattern.programSize()) / 100));
  return pattern.test(text);
}

/** A wildcard as a pattern: `*` any characters, `?` one, `[a-z]` and `[!a-z]` one of a set; it has to fit the whole text. */
export function compileWildcard(wildcard: string): Pattern {
  let body = '';
  for (let i = 0; i < wildcard.length; i += 1) {
    const char = wildcard[i]!;
    const close = char === '[' ? wildcard.indexOf(']', i + 2) : -1;
    if (char === '*') body += '.*';
    else if (char === '?') body += '.';
    else if (close > 0) {
      const inner = wildcard
        .slice(i + 1, close)
        .replaceAll('\\', '\\\\')
        .replaceAll('[', '\\[');
      body += `[${inner.startsWith('!') ? `^${inner.slice(1)}` : inner.replace(/^\^/, '\\^')}]`;
      i = close;
    } else body += RE2JS.quote(char);
  }
  return compilePattern(`^${body}$`, 's');
}
