/** Results in the form that CI systems read. */
import type { Played } from './play.js';

/** One `<testsuite>` per file. */
export function junitOf(files: readonly { file: string; tests: readonly Played[]; tookMs: number }[]): string {
  const suites = files.map(({ file, tests, tookMs }) => {
    const failures = tests.filter((test) => !test.passed).length;
    const cases = tests.map((test) => caseOf(file, test)).join('');
    return `  <testsuite name="${xml(file)}" tests="${tests.length}" failures="${failures}" time="${tookMs / 1_000}">\n${cases}  </testsuite>\n`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${suites.join('')}</testsuites>\n`;
}

function caseOf(file: string, test: Played): string {
  const open = `    <testcase classname="${xml(file)}" name="${xml(test.test)}"`;
  if (test.passed) return `${open}/>\n`;
  const [first] = test.mismatches;
  const body = test.mismatches.map(({ of, message, lines }) => [`${of}: ${message}`, ...lines].join('\n')).join('\n');
  return `${open}>\n      <failure message="${xml(first?.message ?? 'failed')}">${xml(body)}</failure>\n    </testcase>\n`;
}

/** These may not stand in XML at all. */
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g;

function xml(text: string): string {
  return text
    .replaceAll(FORBIDDEN, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
