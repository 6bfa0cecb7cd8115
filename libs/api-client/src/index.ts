export * from './client.js';
export * from './errors.js';
export * from './http.js';
export * from './rules-client.js';
export * from './views.js';
export * from './views-catalog.js';
