/** `OPSLOOP_RUN_SIGNALS=5000 OPSLOOP_WORKER_SEEDS=7,11` is the size of a release. */
export const signalsOfRun = Number(process.env['OPSLOOP_RUN_SIGNALS'] ?? 600);
export const seedsOfKills = (process.env['OPSLOOP_WORKER_SEEDS'] ?? '7').split(',').map(Number);
