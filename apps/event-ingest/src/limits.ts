/** Bounds of this app, each with its reason. */

/** The CloudEvents spec asks for ≥ 64 KB; four times that fits every alert seen, and 64 of them (one commit) stay below 16 MB. */
export const EVENT_BYTES_MAX = 256 * 1024;
/** Events of one batched request: they are one transaction, and 100 inserts hold it for about 10 ms. */
export const BATCH_EVENTS_MAX = 100;
/** Alerts of one webhook delivery. Alertmanager drops a delivery that is refused, so only the body limit of 1 MB (≈ 1 KB per alert) should bind. */
export const HOOK_EVENTS_MAX = 1_000;
/** Causal depth at which a loop of rules and events is broken. */
export const HOPS_MAX = 16;
/** A sender's clock may be this far ahead; beyond, its time would block later states for that long. */
export const CLOCK_AHEAD_MS = 5 * 60_000;
/** (source, id) is one b-tree key, whose entries PostgreSQL limits to 2,704 bytes. */
export const SOURCE_BYTES_MAX = 1_000;
export const ID_BYTES_MAX = 500;
/** Types are indexed and shown in tables. */
export const TYPE_BYTES_MAX = 250;
/** Longest subject that is stored as unmapped; a legal path has ≤ 512 bytes. */
export const SUBJECT_BYTES_MAX = 1_000;
/** Extension attributes of one event: tracing, correlation and a dozen of the sender's own. */
export const EXTENSIONS_MAX = 20;
