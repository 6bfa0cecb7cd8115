export { ServiceCatalogModule, serviceCatalogMigrations } from './service-catalog.module.js';
export { type ServiceCatalogConfig, serviceCatalogConfigFromEnv } from './config.js';
