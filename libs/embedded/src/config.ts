/** What a server of ours gets of our environment: where programs are, and nothing of a person's locale or secrets. */
export function serverEnvironment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' };
}

/** Where programs are looked up. */
export const programPath = (env: NodeJS.ProcessEnv = process.env): string => env.PATH ?? '';
