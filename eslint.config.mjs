import nx from '@nx/eslint-plugin';
import importX from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

const PURE_MESSAGE = 'Pure code decides; it does no I/O and reads no clock. Pass what it needs as an argument.';

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '.nx/**', 'test/architecture/fixtures/**', '.opsloop/**'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommended],
    plugins: { '@nx': nx, 'import-x': importX },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: true,
          allow: [],
          banTransitiveDependencies: true,
          depConstraints: [
            { sourceTag: 'type:contracts', onlyDependOnLibsWithTags: [] },
            { sourceTag: 'type:pure', onlyDependOnLibsWithTags: ['type:contracts', 'type:pure'], bannedExternalImports: ['@nestjs/*', '@temporalio/*', 'typeorm', 'pg'] },
            { sourceTag: 'type:workflow', onlyDependOnLibsWithTags: ['type:contracts', 'type:pure'], bannedExternalImports: ['@nestjs/*', 'typeorm', 'pg', '@temporalio/client', '@temporalio/worker'] },
            { sourceTag: 'type:embedded', onlyDependOnLibsWithTags: ['type:contracts'] },
            { sourceTag: 'type:platform', onlyDependOnLibsWithTags: ['type:contracts'] },
            { sourceTag: 'type:adapter', onlyDependOnLibsWithTags: ['type:contracts', 'type:pure', 'type:platform', 'type:adapter', 'type:workflow', 'type:embedded', 'type:testing'] },
            { sourceTag: 'type:atoms', onlyDependOnLibsWithTags: ['type:contracts', 'type:pure', 'type:testing'] },
            { sourceTag: 'type:client', onlyDependOnLibsWithTags: ['type:contracts'] },
            { sourceTag: 'type:testing', onlyDependOnLibsWithTags: ['type:contracts', 'type:embedded'] },
            { sourceTag: 'type:app', onlyDependOnLibsWithTags: ['type:contracts', 'type:pure', 'type:workflow', 'type:platform', 'type:adapter', 'type:atoms', 'type:client', 'type:testing'] },
            { sourceTag: 'type:cli', onlyDependOnLibsWithTags: ['type:contracts', 'type:pure', 'type:client', 'type:testing'] },
            { sourceTag: 'type:stack', onlyDependOnLibsWithTags: ['type:contracts', 'type:embedded', 'type:platform', 'type:adapter', 'type:app', 'type:client', 'type:testing'] },
          ],
        },
      ],
      'import-x/no-cycle': ['error', { maxDepth: 12 }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
    settings: { 'import-x/resolver': { typescript: true, node: { extensions: ['.ts', '.js'], extensionAlias: { '.js': ['.ts', '.js'] } } } },
  },
  {
    // Node built-ins are no "external packages" for Nx, hence the core rule.
    files: ['libs/{contracts,rules,dsl,workflows}/src/**/*.ts', 'apps/*/src/**/*.pure.ts'],
    ignores: ['**/*.spec.ts'],
    rules: { 'no-restricted-imports': ['error', { patterns: [{ group: ['node:*', 'fs', 'path', 'crypto', 'os'], message: PURE_MESSAGE }] }] },
  },
  {
    files: ['apps/*/src/**/*.pure.ts'],
    rules: { 'no-restricted-imports': ['error', { patterns: [{ group: ['node:*', '@nestjs/*', 'typeorm', 'pg', '@temporalio/*', 'kafkajs'], message: PURE_MESSAGE }] }] },
  },
  {
    files: ['{apps,libs}/*/src/**/*.ts'],
    ignores: ['**/*.spec.ts', 'libs/testing/**'],
    rules: { 'no-restricted-imports': ['error', { paths: [{ name: '@opsloop/testing', message: 'Test fixtures belong in specs only.' }] }] },
  },
);
