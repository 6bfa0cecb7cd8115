/** What every app needs to know before it starts; each app's `config.ts` builds it once from the environment. */
export interface PlatformConfig {
  host: string;
  port: number;
  /** Origin under which people and services reach this process; part of every link we hand out. */
  publicUrl: string;
  /** Bearer token of the admin. Absent = nobody but services gets in. */
  adminKey?: string;
  /** Bearer token the apps use among themselves. */
  serviceToken: string;
  /** Origins of the apps; in one process all four are the same. */
  urls: { ingest: string; decision: string; control: string; catalog: string };
  embedded: boolean;
  logLevel: string;
  /** `CIDR[:port]` list of private addresses that outgoing calls may reach. */
  httpAllow: string[];
  /** Ports of this stack on loopback: no atom may call them, whatever the allow list says. */
  ownPorts?: number[];
  dataDir?: string;
  /** Where this process is to die; only tests of crashes set it. See `Failpoint`. */
  failpoint?: string;
  tenant: 'default';
  version: string;
}

/** Injection token of {@link PlatformConfig}. */
export const PLATFORM_CONFIG = Symbol('PLATFORM_CONFIG');
