import { type DynamicModule, Module } from '@nestjs/common';
import { Database, DocumentStore, type MigrationSet } from '@opsloop/postgres';
import { BrowseController } from './browse-catalog/browse.controller.js';
import { BrowseService } from './browse-catalog/browse.service.js';
import { CATALOG_CONFIG, type ServiceCatalogConfig } from './config.js';
import { CreateCatalog1700000004000 } from './migrations/1700000004000-create-catalog.js';
import { PlanService } from './plan-runs/plan.service.js';
import { AuditController } from './read-audit/audit.controller.js';
import { AuditRepository } from './read-audit/audit.repository.js';
import { InternalCatalogController } from './resolve-references/internal.controller.js';
import { Offerings } from './resolve-references/offerings.service.js';
import { SnapshotRepository } from './resolve-references/snapshot.repository.js';
import { ValidateController } from './validate-documents/validate.controller.js';
import { ValidateService } from './validate-documents/validate.service.js';
import { AtomsController } from './write-documents/atoms.controller.js';
import { CATALOG_STORE, DocumentWriter } from './write-documents/document-writer.service.js';
import { DocumentReader } from './write-documents/document-reader.service.js';
import { FlowLifecycle } from './write-documents/flow-lifecycle.service.js';
import { FlowsController } from './write-documents/flows.controller.js';
import { ConfigsController, SchedulesController, TablesController } from './write-documents/settings.controller.js';

const SCHEMA = 'catalog';

export const serviceCatalogMigrations: MigrationSet = { schema: SCHEMA, migrations: [CreateCatalog1700000004000] };

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
        ValidateService,
        PlanService,
        BrowseService,
      ],
    };
  }
}
