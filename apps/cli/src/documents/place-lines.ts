/** Pointers into documents → lines of their files. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { isSeq, LineCounter, parseAllDocuments } from 'yaml';

interface Placed {
  place: string;
  pointer: string;
  line?: number;
}

/** Sets the line of each finding; one that cannot be placed stays without. Each file is read once. */
export function placeLines(findings: readonly Placed[], cwd: string): void {
  const files = new Map<string, ((index: number, pointer: string) => number | undefined) | undefined>();
  for (const finding of findings) {
    const [, file = finding.place, number] = /^(.*)#(\d+)$/.exec(finding.place) ?? [];
    let lineOf = files.get(file);
    if (!files.has(file)) files.set(file, (lineOf = linesOf(resolve(cwd, file))));
    const line = lineOf?.(number === undefined ? 0 : Number(number) - 1, finding.pointer);
    if (line !== undefined) finding.line = line;
  }
}

function linesOf(file: string): ((index: number, pointer: string) => number | undefined) | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  const lines = new LineCounter();
  // JSON is YAML, so one parser serves both.
  const documents = parseAllDocuments(text, { lineCounter: lines, version: '1.2', schema: 'core', merge: false });
  const places = [...documents].flatMap((document) =>
    isSeq(document.contents)
      ? document.contents.items.map((_, i) => ({ document, prefix: [i] as (string | number)[] }))
      : document.contents === null
        ? []
        : [{ document, prefix: [] as (string | number)[] }],
  );
  return (index, pointer) => {
    const place = places[index];
    if (place === undefined) return undefined;
    const names = pointer
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    // What is missing stands nowhere: the nearest thing around it does.
    for (let end = names.length; end >= 0; end -= 1) {
      const path = [...place.prefix, ...names.slice(0, end).map((name) => (/^\d+$/.test(name) ? Number(name) : name))];
      const node = (path.length === 0 ? place.document.contents : place.document.getIn(path, true)) as
        { range?: [number, number, number] } | undefined;
      if (node?.range !== undefined) return lines.linePos(node.range[0]).line;
    }
    return undefined;
  };
}
