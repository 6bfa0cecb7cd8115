export interface StackProcess {
  url: string;
  temporalUrl?: string;
  temporalAddress: string;
  pid: number;
  key: string;
  dataDir: string;
  /** Last lines of its log. */
  log: string[];
  stop(): Promise<void>;
}
export function startStackProcess(options?: {
  say?: (line: string) => void;
  env?: Record<string, string>;
  /** Four free ports are looked for from here on; default 7300. */
  firstPort?: number;
  /** How much of the log is kept in memory; default 200 lines. */
  keepLines?: number;
}): Promise<StackProcess>;
