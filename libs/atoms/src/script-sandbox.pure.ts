/** How a script is kept away from the worker and its host. */
export type Isolation = 'bubblewrap' | 'nsjail' | 'rlimits' | 'none';

export interface SandboxPaths {
  /** Private directory of this job, the only place it may write to. */
  work: string;
  cwd: string;
  /** Those of {@link readOnlyPaths} that this host has. */
  readOnly: readonly string[];
  /** Whether scripts may use the network; off unless the operator says so, since it would go round the HTTP guard. */
  network: boolean;
}

/** What programs need to run, read-only. Nothing of /home, /root, /var or the worker's own directory. */
const READ_ONLY = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/opt',
  '/etc/alternatives',
  '/etc/ssl',
  '/etc/ca-certificates',
  '/etc/pki',
  '/etc/passwd',
  '/etc/group',
  '/etc/nsswitch.conf',
  '/etc/ld.so.cache',
];
const NETWORK_FILES = ['/etc/resolv.conf', '/etc/hosts'];

/** Paths of the host that a sandboxed script sees, as far as they exist. */
export function readOnlyPaths(network: boolean): string[] {
  return [...READ_ONLY, ...(network ? NETWORK_FILES : [])];
}

/** Limits against a script that runs away: 256 MB files, 1,024 open files, no core dump, 10 minutes of processor time, 512 processes of its user. */
export const PRLIMIT_ARGS: readonly string[] = [
  '--fsize=268435456',
  '--nofile=1024',
  '--core=0',
  '--cpu=600',
  '--nproc=512',
];

/** argv that runs `argv` inside bubblewrap: no host process, file, device or (by default) network is visible. */
export function bubblewrapArgv(bwrap: string, paths: SandboxPaths, argv: readonly string[]): string[] {
  const binds = paths.readOnly.flatMap((path) => ['--ro-bind', path, path]);
  return [
    bwrap,
    '--unshare-all',
    ...(paths.network ? ['--share-net'] : []),
    '--die-with-parent',
    '--new-session',
    '--cap-drop',
    'ALL',
    ...binds,
    '--proc',
    '/proc',
    '--dev',
    '/dev',
    '--tmpfs',
    '/tmp',
    ...(paths.cwd === paths.work ? [] : ['--ro-bind', paths.cwd, paths.cwd]),
    '--bind',
    paths.work,
    paths.work,
    '--chdir',
    paths.cwd,
    '--',
    ...argv,
  ];
}

/** The same with nsjail. */
export function nsjailArgv(nsjail: string, paths: SandboxPaths, timeoutSec: number, argv: readonly string[]): string[] {
  const binds = paths.readOnly.flatMap((path) => ['--bindmount_ro', path]);
  return [
    nsjail,
    '--mode',
    'o',
    '--really_quiet',
    '--keep_env',
    '--time_limit',
    String(timeoutSec),
    ...(paths.network ? ['--disable_clone_newnet'] : []),
    '--rlimit_fsize',
    '256',
    '--rlimit_nofile',
    '1024',
    '--rlimit_nproc',
    '512',
    '--rlimit_as',
    'hard',
    ...binds,
    '--tmpfsmount',
    '/tmp',
    ...(paths.cwd === paths.work ? [] : ['--bindmount_ro', paths.cwd]),
    '--bindmount',
    paths.work,
    '--cwd',
    paths.cwd,
    '--',
    ...argv,
  ];
}

/** Results that a script left in `$OPSLOOP_OUTPUT`: JSON, or lines `key=value`. Blank lines and `#` lines say nothing. */
export function parseScriptOutput(text: string): { values?: unknown; problem?: string } {
  const trimmed = text.trim();
  if (trimmed === '') return {};
  if (trimmed.startsWith('{') || trimmed.startsWith('[')) {
    try {
      return { values: JSON.parse(trimmed) };
    } catch (error) {
      return { problem: `$OPSLOOP_OUTPUT looks like JSON but is not: ${(error as Error).message}` };
    }
  }
  const entries: [string, string][] = [];
  for (const line of trimmed.split('\n')) {
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue;
    const at = line.indexOf('=');
    if (at <= 0)
      return { problem: `$OPSLOOP_OUTPUT holds the line "${line.slice(0, 80)}", which is neither JSON nor key=value` };
    entries.push([line.slice(0, at).trim(), line.slice(at + 1).replace(/\r$/, '')]);
  }
  return { values: Object.fromEntries(entries) };
}
