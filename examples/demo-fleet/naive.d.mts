export interface NaiveReport {
  alerts: number;
  incidents: number;
  scripts: number;
  exitZero: number;
  copiesActedOn: number;
  overlaps: number;
  exitZeroButSick: number;
  stillBroken: string[];
}
export function runNaive(options: { agent: string; alerts: { id: string; host: string }[] }): Promise<NaiveReport>;
