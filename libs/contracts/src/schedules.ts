/** How schedules stand and when they fired: as control answers and clients read it. */

export interface FiringView {
  at: string;
  result: 'started' | 'waiting' | 'skipped' | 'missed' | 'failed';
  run?: string;
  reason?: string;
}

/** How a schedule stands; its document is the catalog's. */
export interface ScheduleState {
  name: string;
  /** `cron 0 3 * * *`. */
  when: string;
  zone: string;
  ref: string;
  enabled: boolean;
  nextAt?: string;
  /** Why it cannot fire. */
  problem?: string;
  paused?: { by: string; at: string; reason: string };
  last?: FiringView;
}
