/** Control needs nothing of its own from the environment; what all apps share is in the platform's configuration. */
export type ControlConfig = Record<string, never>;

export function controlConfigFromEnv(_env: Record<string, string | undefined>): ControlConfig {
  return {};
}

/** Injection token of {@link ControlConfig}. */
export const CONTROL_CONFIG = Symbol('CONTROL_CONFIG');

/** Version of this app in its API pages. */
export const VERSION = '0.1.0';

export const readEnvironment = (): NodeJS.ProcessEnv => process.env;
