import {
  OpsError,
  type AtomCall,
  type HttpAtomSpec,
  type JobHttpCall,
  type JobSpec,
  type Json,
  type JsonObject,
  type ScriptAtomSpec,
} from '@opsloop/contracts';
import { outputProblem } from '@opsloop/dsl';
import { renderTemplate, templatePaths, toScopeValue, type Scope } from '@opsloop/rules';
import { BUNDLED, BUNDLED_READS, runScript, scriptOutput, type BundledTools, type CallControls } from './bundled.js';
import { answerOutput, callTarget, type TargetAnswer } from './http-call.js';
import { httpJob, type JobRequest } from './http-job.js';
import { checkSize, OUTPUT_BYTES_MAX } from './output.js';
import { CallSecrets, redactError, type SecretSource } from './secrets.js';
import type { HttpGuard } from './http-guard.js';
import type { ResourceQuery } from './bundled.js';
import type { ScriptRunner } from './script-runner.js';

export interface AtomExecutorOptions {
  guard: HttpGuard;
  embedded: boolean;
  /** Absent: `resource.list` is refused. */
  resolveResources?: (query: ResourceQuery) => Promise<{ items: unknown[] }>;
  /** Absent: every secret is unknown. */
  secrets?: SecretSource;
  /** Absent: scripts are refused. */
  scripts?: ScriptRunner;
  /** Takes values that are known to be secret out of texts, besides those that the call itself uses. */
  redact?: (text: string) => string;
  /** Told when a target gave a secret back; without the value. */
  warn?: (message: string, fields: Record<string, unknown>) => void;
}

const NO_SECRETS: SecretSource = { get: () => Promise.resolve(undefined) };

/**
 * Executes the atoms that need no worker of their own: the bundled ones and those declared as `http` or `script`.
 * Secrets are resolved here and nowhere before, and their values are taken out of outputs and errors.
 */
export class AtomExecutor {
  private readonly tools: BundledTools;

  constructor(private readonly options: AtomExecutorOptions) {
    this.tools = {
      guard: options.guard,
      ...(options.scripts === undefined ? {} : { scripts: options.scripts }),
      ...(options.resolveResources === undefined ? {} : { resolveResources: options.resolveResources }),
    };
  }

  /** Runs one atom. `name` is the activity type: the atom's name. Throws OpsError or AtomError. */
  async execute(
    call: AtomCall,
    name: string,
    signal?: AbortSignal,
    controls: Omit<CallControls, 'signal'> = {},
  ): Promise<Json> {
    const secrets = new CallSecrets(this.options.secrets ?? NO_SECRETS);
    const { redact = (text: string) => text } = this.options;
    if (controls.log !== undefined) controls.log.redact = (text) => redact(secrets.redactText(text));
    try {
      const filled = { ...call, input: await secrets.fill(call.input, call.secrets) };
      const { heartbeat } = controls;
      const output = await this.dispatch(filled, name, secrets, {
        ...controls,
        // Progress is part of the history as well.
        ...(heartbeat === undefined ? {} : { heartbeat: (details: Json) => heartbeat(secrets.redact(details)) }),
        ...(signal === undefined ? {} : { signal }),
      });
      checkOutput(call, name, output);
      return this.cleaned(checkSize(output, name), call, name, secrets);
    } catch (error) {
      throw secrets.used ? redactError(error, secrets) : error;
    }
  }

  /** An output must not carry what went in as a secret; who wrote the atom should know that its target gives it back. */
  private cleaned(output: Json, call: AtomCall, name: string, secrets: CallSecrets): Json {
    const before = secrets.found;
    const clean = secrets.redact(output);
    if (secrets.found > before) {
      const { run, step } = call.context;
      this.options.warn?.('the output of an atom held a secret; it was taken out', { atom: name, run, step });
    }
    return clean;
  }

  private async dispatch(call: AtomCall, name: string, secrets: CallSecrets, controls: CallControls): Promise<Json> {
    const { atom, context } = call;
    const bundled = Object.hasOwn(BUNDLED, name) ? BUNDLED[name] : undefined;
    // Calls that only read carry no gate.
    const effect = call.gate?.effect ?? (bundled !== undefined && !BUNDLED_READS.has(name) ? 'mutate' : 'read');
    if (context.dryRun && effect !== 'read') return { dryRun: true };
    if (atom?.job !== undefined && call.job !== undefined) return this.callJob(atom.job, call, name, secrets, controls);
    if (atom?.http !== undefined) return this.callHttp(atom.http, call, name, secrets, controls);
    if (atom?.script !== undefined) return this.callScript(atom.script, call, name, secrets, controls);
    if (bundled !== undefined) return bundled(call, this.tools, controls);
    throw new OpsError(
      'configuration',
      `this worker does not know the atom "${name}": it is not bundled, and the call carries no http or script manifest`,
    );
  }

  private async callHttp(
    spec: HttpAtomSpec,
    call: AtomCall,
    name: string,
    secrets: CallSecrets,
    controls: CallControls,
  ): Promise<Json> {
    const scope = await this.scopeOf(templatesOf(spec), call, secrets);
    const answer = await this.send({ spec, pointer: '/http' }, { call, name, scope, controls });
    if (spec.output === undefined) return answerOutput(answer);
    const output = renderTemplate(spec.output, { ...scope, response: toScopeValue({ ...answer } as unknown as Json) });
    return fitting(output, name);
  }

  private async callJob(
    job: JobSpec,
    call: AtomCall,
    name: string,
    secrets: CallSecrets,
    controls: CallControls,
  ): Promise<Json> {
    const own = { job: toScopeValue({ id: call.job?.id ?? null }) };
    const output = await httpJob(job, call, name, async (request) => {
      const scope = { ...(await this.scopeOf(templatesOf(request.spec), call, secrets)), ...own };
      return { scope, answer: await this.send(request, { call, name, scope, controls }) };
    });
    return fitting(output, name);
  }

  private async send(
    { spec, pointer, key }: JobRequest,
    { call, name, scope, controls }: { call: AtomCall; name: string; scope: Scope; controls: CallControls },
  ): Promise<TargetAnswer> {
    const { context } = call;
    return callTarget(this.options.guard, {
      atom: name,
      context: key === undefined ? context : { ...context, key: key ?? '' },
      method: spec.method,
      url: addressOf(spec, scope, pointer),
      headers: renderTexts(spec.headers ?? {}, scope, `${pointer}/headers`),
      ...(spec.body === undefined ? {} : { body: renderTemplate(spec.body, scope) }),
      ...(spec.expect === undefined ? {} : { expect: spec.expect }),
      ...(controls.signal === undefined ? {} : { signal: controls.signal }),
      ...(controls.timeoutMs === undefined ? {} : { timeoutMs: controls.timeoutMs }),
    });
  }

  private async callScript(
    spec: ScriptAtomSpec,
    call: AtomCall,
    name: string,
    secrets: CallSecrets,
    controls: CallControls,
  ): Promise<Json> {
    if (spec.source === undefined) throw new OpsError('configuration', `the script atom ${name} has no source`);
    const scope = await this.scopeOf([spec.env ?? null, spec.stdin ?? null], call, secrets);
    const stdin = spec.stdin === undefined ? undefined : renderTemplate(spec.stdin, scope);
    const result = await runScript(this.tools.scripts, {
      atom: name,
      context: call.context,
      argv: spec.interpreter,
      source: spec.source,
      env: renderTexts(spec.env ?? {}, scope, '/script/env'),
      ...(stdin === undefined ? {} : { stdin: typeof stdin === 'string' ? stdin : JSON.stringify(stdin) }),
      ...controls,
    });
    return scriptOutput(result);
  }

  /** Templates of an atom see its input, the configs pinned at the start of the run, and the secrets that they name. */
  private async scopeOf(templates: Json[], call: AtomCall, secrets: CallSecrets): Promise<Scope> {
    const named: Record<string, Json> = {};
    for (const path of templates.flatMap((t) => templatePaths(t))) {
      const name = /^secrets(?:\.([a-z0-9-]+)|\["([^"]+)"\])/.exec(path);
      const secret = name?.[1] ?? name?.[2];
      if (secret !== undefined) named[secret] = await secrets.resolve(secret);
    }
    return {
      input: toScopeValue(call.input),
      config: toScopeValue((call.config ?? {}) as JsonObject),
      secrets: toScopeValue(named),
    };
  }
}

function fitting(output: Json, name: string): Json {
  const size = Buffer.byteLength(JSON.stringify(output));
  if (size <= OUTPUT_BYTES_MAX) return output;
  throw new OpsError(
    'payload-too-large',
    `the output of ${name} has ${size} bytes; at most ${OUTPUT_BYTES_MAX} are kept. Let its output template pick what is needed`,
  );
}

function templatesOf({ url, query, headers, body }: JobHttpCall): Json[] {
  return [url, query ?? null, headers ?? null, body ?? null];
}

/** The address with its query: encoded, so that no value can add a parameter of its own. */
function addressOf({ url, query }: JobHttpCall, scope: Scope, pointer: string): string {
  const text = textOf(renderTemplate(url, scope), `${pointer}/url`);
  if (query === undefined) return text;
  const parameters = new URLSearchParams();
  for (const [name, template] of Object.entries(query)) {
    const value = renderTemplate(template, scope);
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== null) parameters.append(name, textOf(one, `${pointer}/query/${name}`));
  }
  if (parameters.size === 0) return text;
  const [address, fragment] = text.split('#', 2);
  return `${address}${address!.includes('?') ? '&' : '?'}${parameters.toString()}${fragment === undefined ? '' : `#${fragment}`}`;
}

function textOf(value: Json, pointer: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new OpsError(
    'expression',
    `${pointer} gives ${value === null ? 'null' : Array.isArray(value) ? 'a list' : 'an object'}, where a text is needed`,
  );
}

function renderTexts(templates: Readonly<Record<string, Json>>, scope: Scope, pointer: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(templates).map(([key, template]) => [
      key,
      textOf(renderTemplate(template, scope), `${pointer}/${key}`),
    ]),
  );
}

/** A target that answers other than the manifest promises must fail here, not three steps later. */
function checkOutput(call: AtomCall, name: string, output: Json): void {
  const schema = call.atom?.output?.schema;
  // A start gives the id of a job, a cancel nothing.
  if (schema === undefined || call.context.dryRun || (call.job !== undefined && call.job.phase !== 'poll')) return;
  const wrong = outputProblem(schema, output, name);
  if (wrong !== undefined) throw wrong;
}
