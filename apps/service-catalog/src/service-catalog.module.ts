import { join } from 'node:path';
import { type DynamicModule, Module } from '@nestjs/common';
import { PLATFORM_CONFIG, type PlatformConfig } from '@opsloop/platform';
import { Database, DocumentStore, type MigrationSet } from '@opsloop/postgres';
import { BrowseController } from './browse-catalog/browse.controller.js';
import { BrowseService } from './browse-catalog/browse.service.js';
import { CATALOG_CONFIG, type ServiceCatalogConfig } from './config.js';
import { TokenRepository } from './issue-tokens/token.repository.js';
import { TokenService } from './issue-tokens/token.service.js';
import { InternalTokensController, TokensController } from './issue-tokens/tokens.controller.js';
import { InternalSecretsController } from './keep-secrets/internal-secrets.controller.js';
import { SECRET_KEYS } from './keep-secrets/key-port.js';
import { KeyRing, type KeySource } from './keep-secrets/key-ring.js';
import { SecretRepository } from './keep-secrets/secret.repository.js';
import { SecretService } from './keep-secrets/secret.service.js';
import { SecretsController } from './keep-secrets/secrets.controller.js';
import { CreateCatalog1700000004000 } from './migrations/1700000004000-create-catalog.js';
import { KeepSecretsAndTokens1700000004010 } from './migrations/1700000004010-keep-secrets-and-tokens.js';
import { PlanService } from './plan-runs/plan.service.js';
import { AuditController } from './read-audit/audit.controller.js';
import { AuditRepository } from './read-audit/audit.repository.js';
import { InternalCatalogController } from './resolve-references/internal.controller.js';
import { Offerings } from './resolve-references/offerings.service.js';
import { SnapshotRepository } from './resolve-references/snapshot.repository.js';
import { Surroundings } from './validate-documents/surroundings.service.js';
import { ValidateController } from './validate-documents/validate.controller.js';
import { ValidateService } from './validate-documents/validate.service.js';
import { AtomsController } from './write-documents/atoms.controller.js';
import { CATALOG_STORE, DocumentWriter } from './write-documents/document-writer.service.js';
import { DocumentReader } from './write-documents/document-reader.service.js';
import { FlowLifecycle } from './write-documents/flow-lifecycle.service.js';
import { FlowsController } from './write-documents/flows.controller.js';
import { ConfigsController, SchedulesController, TablesController } from './write-documents/settings.controller.js';

const SCHEMA = 'catalog';

export const serviceCatalogMigrations: MigrationSet = {
  schema: SCHEMA,
  migrations: [CreateCatalog1700000004000, KeepSecretsAndTokens1700000004010],
};

/** The service catalog: what exists, in which versions, and everything a start of it needs. */
@Module({})
export class ServiceCatalogModule {
  static register(config: ServiceCatalogConfig): DynamicModule {
    return {
      module: ServiceCatalogModule,
      controllers: [
        InternalCatalogController,
        ValidateController,
        FlowsController,
        AtomsController,
        ConfigsController,
        TablesController,
        SchedulesController,
        BrowseController,
        AuditController,
        SecretsController,
        InternalSecretsController,
        TokensController,
        InternalTokensController,
      ],
      providers: [
        { provide: CATALOG_CONFIG, useValue: config },
        { provide: CATALOG_STORE, inject: [Database], useFactory: (db: Database) => new DocumentStore(db, SCHEMA) },
        SnapshotRepository,
        Offerings,
        AuditRepository,
        DocumentWriter,
        DocumentReader,
        FlowLifecycle,
        Surroundings,
        ValidateService,
        PlanService,
        BrowseService,
        {
          provide: SECRET_KEYS,
          inject: [PLATFORM_CONFIG],
          useFactory: (platform: PlatformConfig) => new KeyRing(keySource(config, platform)),
        },
        SecretRepository,
        SecretService,
        TokenRepository,
        TokenService,
      ],
    };
  }
}

/** A cluster is given its keys; an embedded stack makes its own at the first start, beside its other keys. */
function keySource({ secretKeys }: ServiceCatalogConfig, { embedded, dataDir }: PlatformConfig): KeySource {
  if (secretKeys !== undefined)
    return 'text' in secretKeys ? { kind: 'text', text: secretKeys.text } : { kind: 'file', file: secretKeys.file };
  return embedded && dataDir !== undefined ? { kind: 'own', file: join(dataDir, 'secrets.key') } : { kind: 'none' };
}
