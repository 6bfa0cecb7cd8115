/** Our own workers beat every 3 s: a killed one is noticed after this, not after the whole startToClose. */
export const OWN_HEARTBEAT_MS = 15_000;
