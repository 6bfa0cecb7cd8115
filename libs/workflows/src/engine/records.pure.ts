import type { Json, Problem, RunContext, RunEnd, RunOutcome, StepRecord } from '@opsloop/contracts';

/** Newest records that a query or the closing report carries. */
export const RECORDS_MAX = 2_000;
/** Outputs above this stand in Temporal only: the list is for people, and 2,000 × 64 KB would not fit a payload. */
export const OUTPUT_BYTES_MAX = 4_096;
/** All outputs of one list together; a payload may have 2 MB, the records themselves take up to 600 KB. */
const OUTPUTS_BYTES_MAX = 256_000;

/** The newest records, with outputs as far as they fit. */
export function listRecords(
  records: Iterable<StepRecord>,
  most = RECORDS_MAX,
  bytes = OUTPUTS_BYTES_MAX,
): StepRecord[] {
  const newest = [...records].slice(-most);
  let left = bytes;
  return newest.map((record) => {
    if (record.output === undefined) return record;
    const size = JSON.stringify(record.output)?.length ?? 0;
    left -= size;
    if (size <= OUTPUT_BYTES_MAX && left >= 0) return record;
    const { output: _dropped, ...rest } = record;
    return rest;
  });
}

export interface End {
  status: RunEnd;
  output?: Json;
  problem?: Problem;
}

/** The closing report. `items` holds each item's end of the per-target flow; else every target shares the run's end. */
export function outcomeOf(
  end: End,
  context: RunContext,
  records: Iterable<StepRecord>,
  items: ReadonlyMap<string, RunEnd> | undefined,
): RunOutcome {
  const targetEnd = (path: string): RunEnd => {
    if (items === undefined) return end.status;
    // An item whose turn never came was left alone: neither done nor failed.
    return items.get(path) ?? 'cancelled';
  };
  return {
    status: end.status,
    ...(end.output === undefined ? {} : { output: end.output }),
    ...(end.problem === undefined ? {} : { problem: end.problem }),
    steps: listRecords(records),
    targets: context.targets.map((path) => ({ path, status: targetEnd(path) })),
  };
}
