/** A flow without any finding that uses every verb, and the world around it: what planted mistakes are planted into. */
import type { AtomDocument, FlowDocument, JsonObject } from '@opsloop/contracts';
import { bundledAtoms, parseRef, type World } from '../src/index.js';

const object = (required: string[], properties: JsonObject, open = false): { schema: JsonObject } => ({
  schema: { type: 'object', required, properties, ...(open ? {} : { additionalProperties: false }) },
});
const text = { type: 'string' };

function atom(name: string, more: Partial<AtomDocument>): AtomDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'atom',
    name,
    version: '1.0.0',
    effect: 'read',
    idempotency: 'native',
    worker: { queue: 'fleet', activity: name },
    timeout: { startToClose: '20s' },
    ...more,
  };
}

export const atoms: AtomDocument[] = [
  ...bundledAtoms,
  atom('inv.list', {
    input: object(['kind'], {
      kind: { enum: ['host', 'switch'] },
      limit: { type: 'integer', minimum: 1, maximum: 100 },
    }),
    output: object(['items', 'total'], {
      items: { type: 'array', items: { type: 'object' } },
      total: { type: 'integer' },
      state: { enum: ['up', 'down'] },
      note: text,
    }),
  }),
  atom('metrics.slo', {
    input: object(['window'], { window: text }),
    output: object(['ok'], { ok: { type: 'boolean' } }),
  }),
  atom('node.drain', {
    effect: 'mutate',
    input: object(['node'], { node: text }),
    compensate: { call: 'node.uncordon@1', with: { node: '${input.node}' } },
  }),
  atom('node.uncordon', { effect: 'mutate', input: object(['node'], { node: text }) }),
  atom('svc.restart', {
    effect: 'mutate',
    input: object(['host'], { host: text, force: { type: 'boolean' } }),
    output: object(['at'], { at: text }),
    compensate: { call: 'node.uncordon@1' },
  }),
  atom('disk.wipe', {
    effect: 'destroy',
    input: object(['disk', 'token'], { disk: text, token: { type: ['string', 'object'] } }),
  }),
  atom('once.only', { effect: 'mutate', idempotency: 'none', worker: { queue: 'q', activity: 'once' } }),
  atom('slow.work', { effect: 'mutate', timeout: { startToClose: '5m' } }),
  atom('timeless.work', { effect: 'mutate', timeout: {} }),
];

export const inner: FlowDocument = {
  dsl: 'opsloop/v1',
  kind: 'flow',
  name: 'fleet/inner',
  version: '1.2.0',
  input: object(['host'], { host: text, days: { type: 'integer' } }),
  do: [{ id: 'look', call: 'inv.list@1', with: { kind: 'host' } }],
};

export const world: World = {
  complete: true,
  atom: (ref) => atoms.find((one) => one.name === parseRef(ref).name),
  flow: (ref) => (parseRef(ref).name === inner.name ? inner : undefined),
};

/** A new copy each time, to be spoiled. */
export function goodFlow(): FlowDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'flow',
    name: 'fleet/care',
    version: '1.0.0',
    title: 'Care for hosts',
    owner: 'team-fleet',
    input: object(['hosts', 'mode'], {
      hosts: { type: 'array', items: text, minItems: 1, maxItems: 50 },
      mode: { enum: ['fast', 'slow'] },
      disk: { type: 'string', default: 'sda' },
      batches: { type: 'array', items: { type: 'array', items: text } },
      reason: text,
    }),
    targets: '${input.hosts}',
    lockTargets: 'perItem',
    locks: [{ path: 'service/fleet', mode: 'shared' }],
    vars: { busy: [], count: 0 },
    use: { secrets: ['wipe-token'], retries: { patient: { initialInterval: '2s', maximumAttempts: 3 } } },
    timeout: '1d',
    do: [
      { id: 'scan', title: 'Look', call: 'inv.list@1', with: { kind: 'host', limit: 10 }, retry: 'patient' },
      {
        id: 'keep',
        set: {
          busy: { $logic: { filter: [{ var: 'steps.scan.output.items' }, { '==': [{ var: 'state' }, 'busy'] }] } },
          count: { $logic: { '+': [{ var: 'vars.count' }, 1] } },
        },
      },
      { id: 'none', if: 'length(vars.busy) == 0', return: { count: 0 } },
      {
        id: 'ok',
        approval: {
          title: 'Care for ${input.mode}',
          details: { hosts: '${input.hosts}' },
          approvers: { groups: ['sre'], min: 2, excludeInitiator: true },
          timeout: '4h',
          onTimeout: 'reject',
        },
      },
      {
        id: 'each',
        forEach: {
          in: '${input.hosts}',
          as: 'host',
          key: '${host}',
          batch: {
            plan: '${input.batches?}',
            canary: 1,
            size: 2,
            max: 5,
            pause: '1m',
            gate: { id: 'slo', call: 'metrics.slo@1', with: { window: '5m' }, expect: 'steps.slo.output.ok' },
          },
          concurrency: 2,
          tolerate: { failures: 0 },
          onItemError: 'compensate',
          collect: { host: '${host}', at: '${steps.restart.output.at?}' },
        },
        do: [
          {
            id: 'guard',
            try: [
              { id: 'drain', call: 'node.drain@1', with: { node: '${host}' } },
              {
                id: 'prep',
                parallel: { join: 'all' },
                do: [
                  { id: 'ticket', call: 'inv.list@1', with: { kind: 'host' } },
                  {
                    id: 'label',
                    needs: ['ticket'],
                    call: 'inv.list@1',
                    with: { kind: 'host', limit: '${steps.ticket.output.total}' },
                  },
                  { id: 'power', call: 'inv.list@1', with: { kind: 'switch' } },
                ],
              },
              { id: 'restart', call: 'svc.restart@1', with: { host: '${host}', force: true } },
            ],
            catch: [
              {
                errors: { type: 'timeout' },
                as: 'problem',
                do: [
                  {
                    id: 'note',
                    emit: { type: 'fleet.care.slow', subject: '${host}', data: { why: '${problem.detail?}' } },
                  },
                ],
              },
            ],
            finally: [{ id: 'undrain', call: 'node.uncordon@1', with: { node: '${host}' } }],
          },
        ],
      },
      {
        id: 'settle',
        reconcile: { goal: "steps.look.output.state == 'up'", every: '10s', stable: '30s', deadline: '10m' },
        observe: { id: 'look', call: 'inv.list@1', with: { kind: 'host' } },
        do: [
          {
            id: 'nudge',
            if: "steps.look.output.state == 'down'",
            call: 'svc.restart@1',
            with: { host: '${input.mode}' },
          },
        ],
      },
      {
        id: 'again',
        loop: { until: 'steps.poll.output.total == 0', every: '5s', max: { iterations: 10 } },
        do: [{ id: 'poll', call: 'inv.list@1', with: { kind: 'host' } }],
      },
      {
        id: 'pick',
        switch: [
          { when: "input.mode == 'fast'", do: [{ id: 'fast', wait: { for: '1s' } }] },
          { do: [{ id: 'slow', wait: { for: '2s' } }] },
        ],
      },
      {
        id: 'hear',
        waitForEvent: { one: { type: 'fleet.ready', correlate: { mode: '${input.mode}' } } },
        timeout: '1h',
      },
      { id: 'sub', run: 'fleet/inner@1', with: { host: '${input.mode}' } },
      {
        id: 'group',
        lock: { claims: [{ path: 'service/disk', mode: 'exclusive' }] },
        do: [{ id: 'wipe', call: 'disk.wipe@1', with: { disk: '${input.disk}', token: '${secrets.wipe-token}' } }],
      },
      { id: 'tell', emit: { type: 'fleet.care.done', data: { total: '${steps.scan.output.total}' } } },
      { id: 'rest', wait: { until: '2030-01-01T00:00:00Z' } },
    ],
    output: { count: '${vars.count}', each: '${steps.each.output}' },
  };
}
