import { editorSchema, SCHEMA_KINDS } from '@opsloop/dsl';

/** Files of `opsloop init`: a sick service, what watches it, and what heals it. */

const README = `# My first loop

A service that comes up sick, a source that looks at it each second, a rule that decides, a flow that heals it, an
atom that does the one thing that changes the world, and a goal that is observed instead of believed.

    opsloop up                      # in another terminal: the whole platform on this machine
    node service.mjs &              # the service; it answers 503 until somebody restarts it
    opsloop apply -f . --publish    # everything in this folder
    opsloop events ls               # down, then up
    opsloop runs ls                 # the run in between
    opsloop explain service/hello   # why it ran, and that the goal was reached

Hurt it again, as often as you like:

    curl -X POST http://127.0.0.1:4711/break

Stop everything for a moment, hurt it, and see why nothing happens; then let go:

    opsloop halt --all --reason "just looking"
    opsloop halts ls
    opsloop halts lift ID --reason "seen"

| file | what it is |
|---|---|
| config.yaml | values that differ between environments |
| resource.yaml | the thing that is operated |
| source.yaml | where events come from: a probe each second, an event on every change |
| atom.yaml | one atomic action, an HTTP call |
| flow.yaml | a durable workflow made of atoms |
| rule.yaml | which event, under which condition, starts what, until which goal |

In an editor with YAML support (VS Code: the extension redhat.vscode-yaml) members complete and explain themselves:
\`.vscode/\` names the schema. Before anything runs:

    opsloop validate .              # all documents together, no server needed
    opsloop plan flow.yaml -i service=service/hello
    opsloop schema flow.forEach     # the reference of a part

Change one of them, raise its \`version\` where it has one, and apply again.
`;

const SERVICE = `// The patient: answers 503 until it is restarted. Stop it with Ctrl-C or kill.
import { createServer } from 'node:http';

let healthy = false;
const routes = {
  'GET /healthz': () => (healthy ? 200 : 503),
  'POST /restart': () => ((healthy = true), 200),
  'POST /break': () => ((healthy = false), 200),
};

createServer((request, response) => {
  const status = routes[\`\${request.method} \${request.url}\`]?.() ?? 404;
  console.log(new Date().toISOString(), request.method, request.url, status);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ healthy }));
}).listen(4711, '127.0.0.1', () => console.log('the service listens on http://127.0.0.1:4711'));
`;

const CONFIG = `# Values that differ between environments. Everything else refers to them as \${config.hello.url}.
dsl: opsloop/v1
kind: config
name: hello
owner: me
values:
  url: http://127.0.0.1:4711
`;

const RESOURCE = `# The thing that is operated. Its path is its identity; rules, locks and halts use paths.
dsl: opsloop/v1
kind: resource
path: service/hello
owner: me
labels:
  stage: demo
`;

const SOURCE = `# Looks at every matching resource and makes an event when the answer changes.
dsl: opsloop/v1
kind: source
name: hello-probe
owner: me
type: poll
every: 1s
for:
  kind: service
  labels: { stage: demo }
call: probe.http@1 # a bundled atom that only reads
with:
  url: \${config.hello.url}/healthz
event:
  type: hello.service.state # types that end in .state report the state of their subject
  data:
    state: \${result.state} # up or down
`;

const ATOM = `# One atomic action. "effect" says how dangerous it is, "idempotency" whether repeating it does harm.
dsl: opsloop/v1
kind: atom
name: hello.service.restart
version: 1.0.0
title: Restart the hello service
owner: me
effect: mutate
idempotency: native
input:
  schema:
    type: object
    additionalProperties: false
    required: [service]
    properties:
      service: { type: string }
http:
  method: POST
  url: \${config.hello.url}/restart
  body:
    service: \${input.service}
timeout:
  startToClose: 10s
`;

const FLOW = `# A durable workflow. "targets" is what it changes: control locks these paths while it runs.
dsl: opsloop/v1
kind: flow
name: hello/restart
version: 1.0.0
title: Restart a service
owner: me
input:
  schema:
    type: object
    additionalProperties: false
    required: [service]
    properties:
      service: { type: string }
targets: \${input.service}
do:
  - id: restart
    call: hello.service.restart@1
    with:
      service: \${input.service}
`;

const RULE = `# Which events, under which condition, start what; and when it is enough.
dsl: opsloop/v1
kind: rule
name: hello/service-down
version: 1.0.0
title: The hello service is down
owner: me
mode: active
on:
  - type: hello.service.state
    data: { state: down }
when: "resource.labels.stage == 'demo'"
tier:
  - tier: P2
targets:
  from: event
# The goal is observed after every attempt; a run that ended well has proved nothing yet.
goal:
  state: "resource.state.state == 'up'"
  observe:
    call: probe.http@1
    with:
      url: \${config.hello.url}/healthz
    every: 1s
  stableFor: 2s
branches:
  - id: default
    ladder:
      - id: restart
        run: hello/restart@1
        with:
          service: \${resource.path}
        attempts: 3
        within: 10s
# However often it breaks: at most 30 runs an hour.
budget:
  - runs: 30
    within: 1h
`;

/** What an editor needs for completion and the reference beside the cursor: VS Code with its YAML extension. */
const EDITOR = `${JSON.stringify(
  {
    'yaml.schemas': { './.vscode/opsloop.schema.json': ['*.yaml', '*.yml'] },
    'json.schemas': [{ fileMatch: SCHEMA_KINDS.map((kind) => `*.${kind}.json`), url: './.vscode/opsloop.schema.json' }],
  },
  null,
  2,
)}\n`;

/** For the editor: name → text. What is there already is somebody's own. */
export const EDITOR_FILES: Readonly<Record<string, () => string>> = {
  '.vscode/settings.json': () => EDITOR,
  '.vscode/opsloop.schema.json': () => `${JSON.stringify(editorSchema(), null, 1)}\n`,
};

/** Name → text. */
export const STARTER: Readonly<Record<string, string>> = {
  'README.md': README,
  'service.mjs': SERVICE,
  'config.yaml': CONFIG,
  'resource.yaml': RESOURCE,
  'source.yaml': SOURCE,
  'atom.yaml': ATOM,
  'flow.yaml': FLOW,
  'rule.yaml': RULE,
};
