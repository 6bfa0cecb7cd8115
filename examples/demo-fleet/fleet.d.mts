/** Types of fleet.mjs for programs that are type-checked. */
export interface PlannedMachine {
  name: string;
  rack: string;
  service: string;
}
export interface Fleet {
  /** Origin of the rack agent. */
  agent: string;
  machines: { name: string; addr: string; pid: number }[];
  pid: number;
  stop(): Promise<void>;
}
export interface JournalCount {
  starts: Record<string, number>;
  overlaps: number;
  twoProcesses: number;
  lines: number;
}
export function fleetPlan(options?: { racks?: number; perRack?: number }): PlannedMachine[];
export function resourcesOf(
  plan: PlannedMachine[],
  machines: { name: string; addr: string }[],
  agent: string,
): { path: string; labels: Record<string, string>; [member: string]: unknown }[];
export function startFleet(options?: {
  plan?: PlannedMachine[];
  journal?: string;
  liars?: string[];
  workMs?: number;
}): Promise<Fleet>;
export function ask(
  agent: string,
  path: string,
  options?: { method?: string; headers?: Record<string, string> },
): Promise<{ status: number; body: Record<string, unknown> }>;
export function countJournal(file: string): JournalCount;
