// `npm run bench [name …]`: figures as ratios within one run, on servers started for it. Names: flow, start, lock, control, validate, accept, decide; events is the last two.
import { fileURLToPath } from 'node:url';
import { build, install, useOwnNode } from './bootstrap.mjs';

install();
useOwnNode(fileURLToPath(import.meta.url));
build();
const { runBenches } = await import('../test/bench/main.mjs');
await runBenches(process.argv.slice(2));
