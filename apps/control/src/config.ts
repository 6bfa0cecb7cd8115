/** Configuration of control; the only place of this app that reads the environment. */
export interface ControlConfig {
  /** `name:n` kills the process at the n-th pass of a failpoint; only tests of crashes set it. */
  failpoint?: string;
}

export function controlConfigFromEnv(env: Record<string, string | undefined>): ControlConfig {
  const failpoint = env['OPSLOOP_FAILPOINT'];
  return failpoint === undefined || failpoint === '' ? {} : { failpoint };
}

/** Injection token of {@link ControlConfig}. */
export const CONTROL_CONFIG = Symbol('CONTROL_CONFIG');
