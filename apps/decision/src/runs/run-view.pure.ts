/** What decision keeps of a run: the admissions view of its decisions, and what a coalesced start has to know. */
import type { JsonObject, RunEnd, RunsMessage, Verdict } from '@opsloop/contracts';

export interface RunRow {
  id: string;
  flow: string;
  verdict?: Verdict;
  doc: JsonObject;
  targets: string[];
  startedAt?: string;
  closedAt?: string;
  status?: string;
  at: string;
}

const FINAL_VERDICTS: readonly Verdict[] = ['rejected', 'coalesced', 'withdrawn', 'expired', 'cancelled'];

export function isFinalVerdict(verdict: Verdict): boolean {
  return FINAL_VERDICTS.includes(verdict);
}

/** Folds one message into what is known; messages of one run come in order. */
export function foldRun(known: RunRow | undefined, message: RunsMessage): RunRow {
  const base: RunRow = {
    doc: {},
    ...known,
    id: message.id,
    flow: message.flow,
    targets: message.targets,
    at: message.at,
  };
  const doc: JsonObject = {
    ...base.doc,
    tier: message.tier,
    ...(message.version === undefined ? {} : { version: message.version }),
  };
  switch (message.kind) {
    case 'verdict': {
      const { verdict, consulted, position, blockedBy, into, reason, retryAt, fence } = message;
      // Place and holder belong to this verdict: the next one replaces them.
      const { position: _p, blockedBy: _b, reason: _r, ...rest } = doc;
      const more = JSON.parse(
        JSON.stringify({ consulted, position, blockedBy, into, reason, retryAt, fence }),
      ) as JsonObject;
      return {
        ...base,
        verdict,
        doc: { ...rest, ...more },
        ...(isFinalVerdict(verdict) ? { status: verdict, closedAt: message.at } : {}),
      };
    }
    case 'started':
      return {
        ...base,
        startedAt: message.at,
        // A run that closed at once may be told of as started afterwards; it stays closed.
        status: base.closedAt === undefined ? 'started' : base.status!,
        doc: { ...doc, workflowId: message.workflowId },
      };
    case 'closed': {
      const more = JSON.parse(JSON.stringify({ problem: message.problem, outcome: message.outcome })) as JsonObject;
      return { ...base, status: message.status, closedAt: message.at, doc: { ...doc, ...more } };
    }
  }
}

/** How the run ended for one target; a run over several targets ends for each in its own way. */
export function endFor(message: Extract<RunsMessage, { kind: 'closed' }>, path: string): RunEnd | 'withdrawn' {
  return message.outcome.find((one) => one.path === path)?.status ?? message.status;
}

export interface HoldChanges {
  /** Runs whose claims are gone. */
  freed: string[];
  taken: { run: string; path: string; at: string }[];
}

/**
 * What a batch leaves of the exclusive claims: only an `admitted` run holds any. Every other verdict frees them, also
 * `held`, `queued` or `needs-approval` after `admitted` (a halt came between admission and start): otherwise events
 * about a resource that nobody works on would be taken for effects of our own.
 */
export function holdsAfter(messages: readonly RunsMessage[]): HoldChanges {
  const freed = new Set<string>();
  const taken = new Map<string, HoldChanges['taken']>();
  for (const message of messages) {
    if (message.kind === 'started') continue;
    const { id, at } = message;
    freed.add(id);
    if (message.kind === 'verdict' && message.verdict === 'admitted')
      taken.set(
        id,
        (message.exclusive ?? []).map((path) => ({ run: id, path, at })),
      );
    else taken.delete(id);
  }
  return { freed: [...freed], taken: [...taken.values()].flat() };
}
