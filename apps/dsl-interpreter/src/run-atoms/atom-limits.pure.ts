/** Our own deadline ends a call a little before the server's: its problem says what took so long, the server's cannot. */
const BEFORE_SERVER_MS = 250;
/** A heartbeat brings cancellation back; three of them fit into any heartbeat timeout. */
const HEARTBEAT_MS_MAX = 3_000;
const HEARTBEAT_MS_MIN = 100;

/** How long a call may take, given its startToClose. */
export function callDeadlineMs(startToCloseMs: number): number {
  return Math.max(1, startToCloseMs - Math.min(BEFORE_SERVER_MS, Math.floor(startToCloseMs / 4)));
}

export function heartbeatEveryMs(heartbeatTimeoutMs: number | undefined): number {
  if (heartbeatTimeoutMs === undefined || heartbeatTimeoutMs <= 0) return HEARTBEAT_MS_MAX;
  return Math.max(HEARTBEAT_MS_MIN, Math.min(HEARTBEAT_MS_MAX, Math.floor(heartbeatTimeoutMs / 3)));
}
