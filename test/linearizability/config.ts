/** What the environment may say about the size of these runs. */
const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);

/** `OPSLOOP_LINEAR_SEEDS=20 OPSLOOP_LINEAR_OPS=8000` is the full size: some six minutes on two cores. */
export const seeds = number('OPSLOOP_LINEAR_SEEDS', 2);
export const opsOfSeed = number('OPSLOOP_LINEAR_OPS', 250);
export const firstSeed = number('OPSLOOP_LINEAR_FIRST', 1);
export const path = process.env['PATH'] ?? '';
