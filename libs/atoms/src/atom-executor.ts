import {
  AtomError,
  OpsError,
  type AtomCall,
  type HttpAtomSpec,
  type Json,
  type JsonObject,
  type ScriptAtomSpec,
} from '@opsloop/contracts';
import { validateInput } from '@opsloop/dsl';
import { renderTemplate, templatePaths, toScopeValue, type Scope } from '@opsloop/rules';
import { BUNDLED, BUNDLED_READS, runScript, scriptOutput, type BundledTools, type CallControls } from './bundled.js';
import { answerOutput, callTarget } from './http-call.js';
import { OUTPUT_BYTES_MAX } from './output.js';
import { CallSecrets, type SecretSource } from './secrets.js';
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
    try {
      const filled = { ...call, input: await secrets.fill(call.input, call.secrets) };
      const output = await this.dispatch(filled, name, secrets, {
        ...controls,
        ...(signal === undefined ? {} : { signal }),
      });
      checkOutput(call, name, output);
      return secrets.redact(output);
    } catch (error) {
      throw secrets.used ? redactError(error, secrets) : error;
    }
  }

  private async dispatch(call: AtomCall, name: string, secrets: CallSecrets, controls: CallControls): Promise<Json> {
    const { atom, context } = call;
    const bundled = Object.hasOwn(BUNDLED, name) ? BUNDLED[name] : undefined;
    // Calls that only read carry no gate.
    const effect = call.gate?.effect ?? (bundled !== undefined && !BUNDLED_READS.has(name) ? 'mutate' : 'read');
    if (context.dryRun && effect !== 'read') return { dryRun: true };
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
    const scope = await this.scopeOf([spec.url, spec.headers ?? null, spec.body ?? null], call, secrets);
    const headers = renderTexts(spec.headers ?? {}, scope, '/http/headers');
    const answer = await callTarget(this.tools.guard, {
      atom: name,
      context: call.context,
      method: spec.method,
      url: textOf(renderTemplate(spec.url, scope), '/http/url'),
      headers,
      ...(spec.body === undefined ? {} : { body: renderTemplate(spec.body, scope) }),
      ...(spec.expect === undefined ? {} : { expect: spec.expect }),
      ...(controls.signal === undefined ? {} : { signal: controls.signal }),
      ...(controls.timeoutMs === undefined ? {} : { timeoutMs: controls.timeoutMs }),
    });
    if (spec.output === undefined) return answerOutput(answer);
    const output = renderTemplate(spec.output, { ...scope, response: toScopeValue({ ...answer } as unknown as Json) });
    const size = Buffer.byteLength(JSON.stringify(output));
    if (size > OUTPUT_BYTES_MAX)
      throw new OpsError(
        'payload-too-large',
        `the output of ${name} has ${size} bytes; at most ${OUTPUT_BYTES_MAX} are kept. Let its output template pick what is needed`,
      );
    return output;
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
  if (schema === undefined || call.context.dryRun) return;
  const { errors } = validateInput(schema, output);
  if (errors.length === 0) return;
  throw new OpsError(
    'validation',
    `the output of ${name} does not match its schema: ${errors.map((e) => `${e.pointer || '/'} ${e.message}`).join('; ')}`,
    { errors },
  );
}

function redactError(error: unknown, secrets: CallSecrets): unknown {
  if (error instanceof OpsError) {
    // The cause is left out: its message may hold what was sent.
    const { cause: _cause, extensions, ...options } = error.options;
    const clean = extensions === undefined ? {} : { extensions: secrets.redact(extensions as JsonObject) };
    return new OpsError(error.code, secrets.redactText(error.detail), { ...options, ...clean });
  }
  if (error instanceof AtomError) {
    const { cause: _cause, extensions, ...options } = error.options;
    const clean = extensions === undefined ? {} : { extensions: secrets.redact(extensions as JsonObject) };
    return new AtomError(error.code, secrets.redactText(error.detail), { ...options, ...clean });
  }
  if (error instanceof Error && error.name !== 'CancelledFailure')
    return new OpsError('runtime', secrets.redactText(error.message));
  return error;
}
