/** Which random flows are run: `RANDOM_FLOWS_FROM` and `RANDOM_FLOWS` override the few of a usual test. */
export function seedsFromEnv(usual: number): { from: number; count: number } {
  const { RANDOM_FLOWS_FROM: from = '1', RANDOM_FLOWS: count = String(usual) } = process.env;
  return { from: Number(from), count: Number(count) };
}
