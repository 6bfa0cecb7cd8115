import { Inject, Injectable } from '@nestjs/common';
import { ReadCache } from '@opsloop/atoms';
import { OpsError, TEMPORAL_NAMES } from '@opsloop/contracts';
import { outputProblem } from '@opsloop/dsl';
import { InternalClient } from '@opsloop/platform';
import { toApplicationFailure } from '@opsloop/temporal';
import type { FlowActivities } from '@opsloop/workflows';
import { HaltGate } from '../gate-steps/halt-gate.service.js';
import { approvalEvent } from './approval-event.pure.js';
import { dryRunAnswer } from './dry-run-answer.pure.js';
import { EventSender } from './event-sender.service.js';

/** What the interpreter asks of the rest of the system. All of it is idempotent: a crash repeats what was in flight. */
@Injectable()
export class FlowActivitiesService {
  constructor(
    @Inject(InternalClient) private readonly client: InternalClient,
    @Inject(HaltGate) private readonly gate: HaltGate,
    @Inject(EventSender) private readonly events: EventSender,
    @Inject(ReadCache) private readonly cache: ReadCache,
  ) {}

  activities(): FlowActivities {
    const { client, gate, events, cache } = this;
    const names = TEMPORAL_NAMES;
    return {
      [names.reportActivity]: mapped(async ({ run, outcome }) => {
        await client.call('POST /internal/runs/:id/outcome', outcome, { id: run });
      }),
      // A dry run tells nobody of what did not happen.
      [names.emitActivity]: mapped(async (request) => {
        if (!request.context.dryRun) await events.send(request);
      }),
      [names.dryRunActivity]: mapped(async ({ atom, input }) =>
        dryRunAnswer(await client.call('POST /internal/catalog/atom', { ref: atom }), input),
      ),
      [names.gateActivity]: mapped((request) => gate.check(request.gate, request.run)),
      [names.loadActivity]: mapped(({ run, digest }) =>
        client.call('POST /internal/runs/:id/ir', { digest }, { id: run }),
      ),
      [names.claimActivity]: mapped(({ run, step, claims }) =>
        client.call('POST /internal/runs/:id/claims', { step, claims }, { id: run }),
      ),
      [names.approvalActivity]: mapped(async (request) => {
        const { id } = await client.call('POST /internal/runs/:id/approvals', request.report, { id: request.run });
        const event = approvalEvent(request, id);
        // At the end of a long chain of causes no event may follow; the question stands all the same.
        if (event !== undefined) await events.send(event).catch(unlessPolicy);
      }),
      [names.cacheActivity]: ({ key, keep }) => {
        if (keep !== undefined) cache.put(key, keep.output, keep.ttlMs);
        return Promise.resolve(keep === undefined ? (cache.get(key) ?? null) : null);
      },
      [names.outputActivity]: mapped(async ({ atom, schema, output }) => {
        const wrong = outputProblem(schema, output, atom);
        if (wrong !== undefined) throw wrong;
      }),
      [names.releaseActivity]: mapped(async ({ run, step }) => {
        await client.call('POST /internal/runs/:id/release', { step }, { id: run });
      }),
    };
  }
}

/** Every failure leaves an activity as the one kind that the interpreter reads. */
function mapped<A, R>(act: (request: A) => Promise<R>): (request: A) => Promise<R> {
  return async (request) => {
    try {
      return await act(request);
    } catch (error) {
      throw toApplicationFailure(error);
    }
  };
}

function unlessPolicy(error: unknown): void {
  if (!(error instanceof OpsError && error.code === 'policy')) throw error;
}
