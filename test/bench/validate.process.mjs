// One fresh process of the validate bench: the first check of the flow in a file, and some more once everything is warm.
import { readFileSync } from 'node:fs';

const [file, repeats] = process.argv.slice(2);
const doc = JSON.parse(readFileSync(file, 'utf8'));
const began = performance.now();
const { validateDocument } = await import('@opsloop/dsl');
const loaded = performance.now() - began;

function timed() {
  const start = performance.now();
  const { findings } = validateDocument('flow', doc);
  const took = performance.now() - start;
  if (findings.length > 0) throw new Error(`the flow is to have no findings: ${JSON.stringify(findings[0])}`);
  return took;
}

const first = timed();
process.stdout.write(JSON.stringify({ loaded, first, warm: Array.from({ length: Number(repeats) }, timed) }));
