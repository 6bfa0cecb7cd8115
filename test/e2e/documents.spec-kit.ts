/** Documents of the end-to-end specs: atoms that act on the world over HTTP, and flows of them. */
const HOST = { schema: { type: 'object', required: ['host'], properties: { host: { type: 'string', minLength: 1 } } } };

const httpAtom = (name: string, path: string, more: object = {}) => ({
  kind: 'atom',
  name,
  effect: 'mutate',
  idempotency: 'native',
  input: HOST,
  http: { method: 'POST', url: `\${config.world.url}/${path}/\${input.host}`, body: { host: '${input.host}' } },
  timeout: { startToClose: '30s' },
  retry: { initialInterval: '100ms', maximumAttempts: 2 },
  targets: ['${input.host}'],
  ...more,
});

export const flow = (name: string, steps: object[], more: object = {}) => ({
  kind: 'flow',
  name,
  input: HOST,
  targets: '${input.host}',
  do: steps,
  ...more,
});

const call = (id: string, atom: string, more: object = {}) => ({
  id,
  call: `${atom}@1`,
  with: { host: '${input.host}' },
  ...more,
});

/** A rule that repairs its target until it is up again. */
export const repairRule = (name: string, on: object, more: object = {}, run = 'e2e/fix') => ({
  kind: 'rule',
  name,
  on: [on],
  goal: { state: "resource.state.state == 'up'" },
  branches: [
    {
      id: 'default',
      ladder: [
        { id: 'fix', run: `${run}@1`, per: 'target', with: { host: '${resource.path}' }, attempts: 1, within: '10s' },
      ],
    },
  ],
  ...more,
});

/** A rule without a goal: one run per event. */
export const plainRule = (name: string, type: string, run: string, more: object = {}) => ({
  kind: 'rule',
  name,
  on: [{ type }],
  branches: [{ id: 'default', ladder: [{ id: 'go', run: `${run}@1`, with: { host: '${targets[0]}' } }] }],
  ...more,
});

export const probe = (address: string) => ({
  call: 'probe.http@1',
  with: { url: `http://${address}/box/\${resource.path}/healthz` },
  every: '1s',
  staleAfter: '3s',
});

/** Compiled, it is larger than what travels inside the start of a workflow. */
const BIG = Array.from({ length: 40 }, (_, i) => ({ id: `note${i}`, set: { last: 'x'.repeat(4_000) + i } }));

export const documents = (worldUrl: string) => [
  { kind: 'config', name: 'world', values: { url: worldUrl } },
  httpAtom('e2e.fix', 'fix'),
  httpAtom('e2e.act', 'act', { compensate: { call: 'e2e.undo@1', with: { host: '${input.host}' } } }),
  httpAtom('e2e.undo', 'undo'),
  httpAtom('e2e.clean', 'clean'),
  {
    kind: 'atom',
    name: 'e2e.script',
    effect: 'read',
    idempotency: 'native',
    input: HOST,
    script: {
      source: 'echo "host=$HOST" >> "$OPSLOOP_OUTPUT"; echo said',
      interpreter: ['bash', '-eu'],
      env: { HOST: '${input.host}' },
    },
    timeout: { startToClose: '10s' },
  },
  flow('e2e/fix', [
    call('fix', 'e2e.fix'),
    { id: 'tell', emit: { type: 'e2e.fixed', subject: '${input.host}', data: { by: 'e2e/fix' } } },
  ]),
  flow('e2e/mend', [call('mend', 'e2e.fix')]),
  flow('e2e/undoable', [call('act', 'e2e.act'), { id: 'wait', wait: { for: '10m' } }, call('never', 'e2e.fix')], {
    finally: [call('clean', 'e2e.clean')],
  }),
  flow('e2e/two-steps', [call('first', 'e2e.act'), { id: 'pause', wait: { for: '1s' } }, call('second', 'e2e.fix')]),
  flow('e2e/slow', [{ id: 'wait', wait: { for: '10m' } }]),
  flow('e2e/echo', [{ id: 'again', emit: { type: 'e2e.echo', subject: '${input.host}x', data: {} } }], {
    targets: undefined,
  }),
  flow('e2e/note', [call('note', 'e2e.act')]),
  flow('e2e/script', [call('script', 'e2e.script')], { output: { values: '${steps.script.output.values}' } }),
  flow('e2e/big', BIG, { output: '${vars.last}', vars: { last: '' } }),
];
