import type { OperatorAct, SteerAct } from '@opsloop/contracts';

/** An act as it is kept. */
export function actOf(act: SteerAct, who: { at: string; by: string; reason: string }): OperatorAct {
  const detail =
    act.act === 'pause'
      ? act.scope
      : act.act === 'setConcurrency'
        ? String(act.concurrency)
        : act.act === 'abortItem'
          ? act.item
          : undefined;
  return {
    at: who.at,
    act: act.act,
    by: who.by,
    reason: who.reason,
    ...(act.path === undefined ? {} : { path: act.path }),
    ...(detail === undefined ? {} : { detail }),
  };
}

const WORDS: Record<string, (path: string, detail: string) => string> = {
  pause: (path, detail) =>
    detail === 'afterBatch' ? `pause after the batch${path}` : `pause${path === '' ? '' : ` before${path}`}`,
  resume: (path) => `resume${path}`,
  skip: (path) => `skip${path}`,
  retry: (path) => `retry${path}`,
  setConcurrency: (path, detail) => `concurrency ${detail} for${path}`,
  abortItem: (path, detail) => `abort item ${detail} of${path}`,
};

/** One line of the timeline: `skip of drain by anna: done by hand`. */
export function titleOf({ act, path, detail, by, reason }: OperatorAct): string {
  const what = WORDS[act]?.(path === undefined ? '' : ` ${path}`, detail ?? '') ?? act;
  return `${what} by ${by}: ${reason}`;
}
