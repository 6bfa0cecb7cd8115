import nx from '@nx/eslint-plugin';
import importX, { createNodeResolver } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

const PURE_MESSAGE = 'Pure code decides; it does no I/O and reads no clock. Pass what it needs as an argument.';

const TESTING = { name: '@opsloop/testing', message: 'Test fixtures belong in specs only.' };
/** Specs and what only they use; they start real servers, so the boundaries of production code are not theirs. */
const SPECS = ['**/*.spec.ts', '**/*.spec-kit.ts', 'libs/*/test/**/*.ts'];
const NODE = ['node:*', 'fs', 'path', 'crypto', 'os'];

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
            {
              sourceTag: 'type:pure',
              onlyDependOnLibsWithTags: ['type:contracts', 'type:pure'],
              bannedExternalImports: ['@nestjs/*', '@temporalio/*', 'typeorm', 'pg'],
            },
            {
              sourceTag: 'type:workflow',
              onlyDependOnLibsWithTags: ['type:contracts', 'type:pure'],
              bannedExternalImports: ['@nestjs/*', 'typeorm', 'pg', '@temporalio/client', '@temporalio/worker'],
            },
            { sourceTag: 'type:embedded', onlyDependOnLibsWithTags: ['type:contracts'] },
            { sourceTag: 'type:platform', onlyDependOnLibsWithTags: ['type:contracts'] },
            {
              sourceTag: 'type:adapter',
              onlyDependOnLibsWithTags: [
                'type:contracts',
                'type:pure',
                'type:platform',
                'type:adapter',
                'type:workflow',
                'type:embedded',
                'type:testing',
              ],
            },
            { sourceTag: 'type:atoms', onlyDependOnLibsWithTags: ['type:contracts', 'type:pure', 'type:testing'] },
            { sourceTag: 'type:client', onlyDependOnLibsWithTags: ['type:contracts'] },
            {
              sourceTag: 'type:flowtest',
              onlyDependOnLibsWithTags: ['type:contracts', 'type:pure', 'type:workflow', 'type:adapter'],
            },
            { sourceTag: 'type:testing', onlyDependOnLibsWithTags: ['type:contracts', 'type:embedded'] },
            {
              sourceTag: 'type:app',
              onlyDependOnLibsWithTags: [
                'type:contracts',
                'type:pure',
                'type:workflow',
                'type:platform',
                'type:adapter',
                'type:atoms',
                'type:client',
                'type:testing',
              ],
            },
            {
              sourceTag: 'type:cli',
              onlyDependOnLibsWithTags: ['type:contracts', 'type:pure', 'type:client', 'type:flowtest', 'type:testing'],
            },
            {
              sourceTag: 'type:stack',
              onlyDependOnLibsWithTags: [
                'type:contracts',
                'type:embedded',
                'type:pure',
                'type:atoms',
                'type:flowtest',
                'type:platform',
                'type:adapter',
                'type:app',
                'type:client',
                'type:testing',
              ],
            },
          ],
        },
      ],
      'import-x/no-cycle': ['error', { maxDepth: 12 }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
    settings: {
      // Our own imports end in .js and mean .ts; other packages are followed to their sources.
      'import-x/resolver-next': [
        createNodeResolver({
          extensions: ['.ts', '.js'],
          extensionAlias: { '.js': ['.ts', '.js'] },
          conditionNames: ['@opsloop/source', 'import', 'require', 'node', 'default'],
        }),
      ],
    },
  },
  { files: SPECS, rules: { '@nx/enforce-module-boundaries': 'off' } },
  // One rule has one setting: of all blocks that match a file the last one counts alone, so each names everything
  // that it forbids, from the widest block to the narrowest.
  {
    files: ['{apps,libs}/*/src/**/*.ts'],
    ignores: [...SPECS, 'libs/testing/**'],
    rules: { 'no-restricted-imports': ['error', { paths: [TESTING] }] },
  },
  {
    // Node built-ins are no "external packages" for Nx, hence the core rule.
    files: ['libs/{contracts,rules,dsl,workflows}/src/**/*.ts'],
    ignores: SPECS,
    rules: {
      'no-restricted-imports': ['error', { paths: [TESTING], patterns: [{ group: NODE, message: PURE_MESSAGE }] }],
    },
  },
  {
    files: ['apps/*/src/**/*.pure.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: [TESTING],
          patterns: [
            { group: [...NODE, '@nestjs/*', 'typeorm', 'pg', '@temporalio/*', 'kafkajs'], message: PURE_MESSAGE },
          ],
        },
      ],
    },
  },
);
