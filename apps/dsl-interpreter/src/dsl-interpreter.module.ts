import { type DynamicModule, Module } from '@nestjs/common';
import {
  AtomExecutor,
  EnvironmentSecrets,
  FirstOf,
  HttpGuard,
  ReadCache,
  ScriptRunner,
  StoredSecrets,
} from '@opsloop/atoms';
import { InternalClient, Logger, PLATFORM_CONFIG, type PlatformConfig } from '@opsloop/platform';
import { INTERPRETER_CONFIG, type DslInterpreterConfig } from './config.js';
import { HaltGate } from './gate-steps/halt-gate.service.js';
import { LogSender } from './run-atoms/log-sender.service.js';
import { RunAtom } from './run-atoms/run-atom.service.js';
import { EventSender } from './serve-runs/event-sender.service.js';
import { FlowActivitiesService } from './serve-runs/flow-activities.service.js';
import { Workers } from './serve-workers/workers.service.js';

/** Runs flows and the atoms without a worker of their own. Needs PlatformModule and TemporalModule at the root. */
@Module({})
export class DslInterpreterModule {
  static register(config: DslInterpreterConfig): DynamicModule {
    return {
      module: DslInterpreterModule,
      providers: [
        { provide: INTERPRETER_CONFIG, useValue: config },
        {
          provide: AtomExecutor,
          inject: [PLATFORM_CONFIG, InternalClient, Logger],
          useFactory: (platform: PlatformConfig, client: InternalClient, logger: Logger) =>
            atomExecutor(platform, client, logger, config),
        },
        { provide: ReadCache, useFactory: () => new ReadCache() },
        HaltGate,
        LogSender,
        RunAtom,
        EventSender,
        FlowActivitiesService,
        Workers,
      ],
    };
  }
}

function atomExecutor(
  platform: PlatformConfig,
  client: InternalClient,
  logger: Logger,
  config: DslInterpreterConfig,
): AtomExecutor {
  const { embedded, httpAllow, ownPorts = [], port } = platform;
  return new AtomExecutor({
    embedded,
    guard: new HttpGuard({ allow: httpAllow, embedded, ownPorts: [...ownPorts, port] }),
    // The store first: what is set in the environment of one worker is the fallback for what nobody has put there yet.
    secrets: new FirstOf([new StoredSecrets((name) => client.secret(name)), new EnvironmentSecrets(config.secrets)]),
    warn: (message, fields) => logger.warn(message, fields),
    scripts: new ScriptRunner({
      path: config.path,
      embedded,
      unsafeHostExec: config.unsafeHostExec,
      network: config.scriptNetwork,
    }),
    resolveResources: (query) => client.call('POST /internal/decision/resources', query),
  });
}
