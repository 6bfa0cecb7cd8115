/** Runs that go on in new Temporal runs, in workflows of their own, or in more than one task. */
import { call, hosts, refuse, type Scenario } from './scenario.js';

/** Goes on in new Temporal runs out of waits, branches, items and a lock. */
const leaving: Scenario = {
  doc: {
    vars: { n: 0 },
    do: [
      { id: 'set', set: { n: 1 } },
      {
        id: 'each',
        forEach: { in: '${input.hosts}', as: 'host', concurrency: 2, collect: '${steps.fix.output}' },
        do: [
          {
            id: 'crit',
            do: [
              { id: 'w', wait: { for: '50ms' } },
              { id: 'p', parallel: {}, do: [call('a'), call('b')] },
              { id: 'l', loop: { max: { iterations: 4 }, every: '5ms' }, do: [call('turn')] },
            ],
            lock: { claims: [{ path: 'x/${host}', mode: 'exclusive' }] },
          },
          { id: 'fix', call: 'a.fix@1', with: { host: '${host}', n: '${vars.n}' } },
        ],
      },
    ],
  },
  options: { input: { hosts: [...hosts, 'host/d'] }, continueAfter: 60 },
};

export const LEAVING: Record<string, Scenario> = {
  leave: leaving,
  'leave-first': { ...leaving, keepFirst: true },
  'leave-clean-up': {
    stub: (h) => h.on('a.boom', () => refuse('runtime')),
    doc: {
      do: [
        {
          id: 't',
          try: [
            ...['a', 'b', 'c', 'd', 'e', 'f'].map((id) => call(id, 'a.do@1')),
            { id: 'p', parallel: {}, do: [call('g', 'a.do@1'), call('h', 'a.do@1')] },
            call('boom'),
          ],
          catch: [{ errors: { type: 'timeout' }, do: [] }],
          finally: [{ id: 'l', loop: { max: { iterations: 8 } }, do: [call('clean')] }],
        },
      ],
      catch: [{ do: [call('note')] }],
    },
    options: { atoms: { 'a.do@1': { compensate: { call: 'u.do@1' } } }, continueAfter: 60 },
  },
  isolate: {
    doc: {
      vars: { n: 1 },
      do: [
        {
          id: 'each',
          forEach: {
            in: '${input.hosts}',
            as: 'host',
            batch: { size: 2 },
            isolate: true,
            concurrency: 2,
            collect: '${host}',
          },
          do: [call('drain'), { id: 'fix', call: 'a.fix@1', with: { host: '${host}', n: '${vars.n}' } }],
        },
        call('after'),
      ],
    },
    options: { input: { hosts } },
    withChildren: true,
  },
  /** A thousand steps that wait for nothing end their task. */
  'step-boundary': {
    doc: {
      vars: { n: 0 },
      do: [{ id: 'l', loop: { max: { iterations: 1_100 } }, do: [{ id: 's', set: { n: '${iteration}' } }] }],
    },
  },
};
