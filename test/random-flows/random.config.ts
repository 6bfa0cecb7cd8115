/** Which random flows are run: `RANDOM_FLOWS_FROM` and `RANDOM_FLOWS` override the few of a usual test. */
export function seedsFromEnv(usual: number): { from: number; count: number } {
  const { RANDOM_FLOWS_FROM: from = '1', RANDOM_FLOWS: count = String(usual) } = process.env;
  return { from: Number(from), count: Number(count) };
}

/** How many random flows run while the worker is killed how often: `RANDOM_FLOWS`, `RANDOM_KILLS`. */
export function killsFromEnv(usual: { count: number; kills: number }): { from: number; count: number; kills: number } {
  return { ...seedsFromEnv(usual.count), kills: Number(process.env['RANDOM_KILLS'] ?? usual.kills) };
}
