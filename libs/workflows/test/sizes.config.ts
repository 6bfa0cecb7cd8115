/** What the environment may say about the size of these specs; CONTRIBUTING.md names the sizes of a release. */
export const signalsOfRun = Number(process.env['OPSLOOP_RUN_SIGNALS'] ?? 600);
export const seedsOfKills = (process.env['OPSLOOP_WORKER_SEEDS'] ?? '7').split(',').map(Number);
