import { AtomError, durationMs, OpsError, type AtomCall, type Json, type JsonObject } from '@opsloop/contracts';
import { z } from 'zod';
import { answerOutput, callTarget, stepHeaders } from './http-call.js';
import type { HttpGuard } from './http-guard.js';
import type { StepLog } from './step-log.js';
import type { ScriptJob, ScriptResult, ScriptRunner } from './script-runner.js';

/** What `resource.list` asks for; the answer comes from whoever keeps the resources. */
export interface ResourceQuery {
  paths?: string[];
  kind?: string;
  labels?: Record<string, string>;
  limit?: number;
}

/** How long the call may take and whom to tell that it goes on. */
export interface CallControls {
  signal?: AbortSignal;
  timeoutMs?: number;
  heartbeat?: (details: Json) => void;
  /** Takes the lines that the atom says. */
  log?: StepLog;
}

export interface BundledTools {
  guard: HttpGuard;
  scripts?: ScriptRunner;
  resolveResources?: (query: ResourceQuery) => Promise<{ items: unknown[] }>;
}

/** `resource.list` answers at most this many; a flow's input and journal have to carry them. */
const RESOURCES_MAX = 1_000;
const PROBE_TIMEOUT_MS = 5_000;
/** What stands of a failed script's output in its problem, which Temporal keeps below 4 KB. */
const STDERR_IN_PROBLEM = 300;

const headerMap = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String));
const json = z.json() as z.ZodType<Json>;

const httpRequestInput = z.strictObject({
  method: z.string().default('GET'),
  url: z.string(),
  headers: headerMap.optional(),
  body: json.optional(),
  expect: z.array(z.number().int().min(100).max(599)).optional(),
});
const probeInput = z.strictObject({ url: z.string(), timeout: z.string().optional() });
const scriptRunInput = z.strictObject({
  argv: z.array(z.string()).min(1),
  cwd: z.string().optional(),
  env: headerMap.optional(),
  stdin: z.string().optional(),
});
const webhookInput = z.strictObject({ url: z.string(), body: json.optional() });
const resourceListInput = z.strictObject({
  paths: z.array(z.string()).max(RESOURCES_MAX).optional(),
  kind: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
});

function parse<T>(schema: z.ZodType<T>, input: Json, atom: string): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map((i) => ({
    pointer: i.path.map((p) => `/${String(p)}`).join(''),
    message: i.message,
  }));
  throw new OpsError(
    'validation',
    `the input of ${atom} does not match its schema: ${errors.map((e) => `${e.pointer || '/'} ${e.message}`).join('; ')}`,
    { errors },
  );
}

type Bundled = (call: AtomCall, tools: BundledTools, controls: CallControls) => Promise<Json>;

const controlsOf = ({ signal, timeoutMs }: CallControls): { signal?: AbortSignal; timeoutMs?: number } => ({
  ...(signal === undefined ? {} : { signal }),
  ...(timeoutMs === undefined ? {} : { timeoutMs }),
});

const httpRequest: Bundled = async (call, { guard }, controls) => {
  const { method, url, headers, body, expect } = parse(httpRequestInput, call.input, 'http.request');
  const answer = await callTarget(guard, {
    atom: 'http.request',
    context: call.context,
    method,
    url,
    ...(headers === undefined ? {} : { headers }),
    ...(body === undefined ? {} : { body }),
    ...(expect === undefined ? {} : { expect }),
    ...controlsOf(controls),
  });
  return answerOutput(answer);
};

/** Down is an answer, not a failure: whoever probes wants to know, and a poll emits it as state. Only a refused target fails. */
const probeHttp: Bundled = async (call, { guard }, controls): Promise<Json> => {
  const { url, timeout } = parse(probeInput, call.input, 'probe.http');
  const wanted = timeout === undefined ? PROBE_TIMEOUT_MS : durationMs(timeout);
  const timeoutMs = Math.min(wanted, controls.timeoutMs ?? wanted);
  const started = performance.now();
  const latency = (): number => Math.round((performance.now() - started) * 10) / 10;
  try {
    const { status } = await guard.request({
      method: 'GET',
      url,
      headers: { 'user-agent': 'opsloop', ...stepHeaders(call.context) },
      timeoutMs,
      ...(controls.signal === undefined ? {} : { signal: controls.signal }),
    });
    if (status >= 200 && status < 400) return { state: 'up', status, latencyMs: latency() };
    return { state: 'down', status, latencyMs: latency(), reason: `answered ${status}` };
  } catch (error) {
    if (!(error instanceof OpsError) || error.code === 'authorization' || error.code === 'validation') throw error;
    return { state: 'down', latencyMs: latency(), reason: error.detail.slice(0, 300) };
  }
};

const scriptRun: Bundled = async (call, tools, controls) => {
  const { argv, cwd, env, stdin } = parse(scriptRunInput, call.input, 'script.run');
  const result = await runScript(tools.scripts, {
    atom: 'script.run',
    context: call.context,
    argv,
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    ...(stdin === undefined ? {} : { stdin }),
    ...controls,
  });
  return scriptOutput(result);
};

const notifyWebhook: Bundled = async (call, { guard }, controls) => {
  const { url, body } = parse(webhookInput, call.input, 'notify.webhook');
  const answer = await callTarget(guard, {
    atom: 'notify.webhook',
    context: call.context,
    method: 'POST',
    url,
    ...(body === undefined ? {} : { body }),
    ...controlsOf(controls),
  });
  return { status: answer.status };
};

const resourceList: Bundled = async (call, { resolveResources }) => {
  const { paths, kind, labels } = parse(resourceListInput, call.input, 'resource.list');
  if (resolveResources === undefined)
    throw new OpsError('configuration', 'resource.list is not available in this process');
  const { items } = await resolveResources({
    ...(paths === undefined ? {} : { paths }),
    ...(kind === undefined ? {} : { kind }),
    ...(labels === undefined ? {} : { labels }),
    limit: RESOURCES_MAX,
  });
  return { items: items as Json[] };
};

/** The atoms that come with opsloop, by name. */
export const BUNDLED: Readonly<Record<string, Bundled>> = {
  'http.request': httpRequest,
  'probe.http': probeHttp,
  'script.run': scriptRun,
  'notify.webhook': notifyWebhook,
  'resource.list': resourceList,
};

/** Those of them that change nothing, so they run in a dry run too. */
export const BUNDLED_READS: ReadonlySet<string> = new Set(['probe.http', 'resource.list']);

/** Runs a script; an exit code other than 0 is the atom's failure `exit`, which the step's retry policy may repeat. */
export async function runScript(scripts: ScriptRunner | undefined, job: ScriptJob): Promise<ScriptResult> {
  if (scripts === undefined) throw new OpsError('configuration', 'this process does not run scripts');
  const result = await scripts.run(job);
  if (result.exitCode === 0) return result;
  const { redact } = job.log ?? {};
  const text = result.stderr.trim() || result.stdout.trim();
  // Cleaned before it is cut: half a secret would not be recognised.
  const said = (redact === undefined ? text : redact(text)).slice(-STDERR_IN_PROBLEM);
  throw new AtomError(`atom/${job.atom}/exit`, `exit code ${result.exitCode}${said === '' ? '' : `: ${said}`}`, {
    retryable: true,
    title: 'The script failed',
    extensions: { exitCode: result.exitCode, isolation: result.isolation },
  });
}

export function scriptOutput(result: ScriptResult): JsonObject {
  return {
    exitCode: result.exitCode,
    stdout: result.stdout,
    stderr: result.stderr,
    ...(result.values === undefined ? {} : { values: result.values }),
    ...(result.truncated ? { truncated: true } : {}),
    isolation: result.isolation,
  };
}
