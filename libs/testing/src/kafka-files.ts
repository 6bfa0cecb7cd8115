import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withFileLock } from '@opsloop/embedded';
import { cacheDir, javaEnvironment } from './config.js';

const run = promisify(execFile);
const POM = fileURLToPath(new URL('../kafka/pom.xml', import.meta.url));
/** Kafka 4 needs it for the broker. */
const JAVA_LEAST = 17;
/** 43 MB and the plugin that copies them: five minutes are 1.5 Mbit/s. */
const FETCH_MS = 300_000;

/** The jars of a broker, sorted; fetched through Maven at the first call on this machine, then found in the cache. */
export async function kafkaJars(): Promise<string[]> {
  await javaWillDo();
  const home = join(cacheDir(), `kafka-${kafkaVersion()}`);
  if (!existsSync(home)) {
    await withFileLock(
      `${home}.lock`,
      2 * FETCH_MS,
      () => undefined,
      async () => {
        if (!existsSync(home)) await fetchInto(home);
      },
    );
  }
  return readdirSync(home)
    .filter((name) => name.endsWith('.jar'))
    .sort()
    .map((name) => join(home, name));
}

/** The broker's version stands in the POM alone. */
export function kafkaVersion(): string {
  const version = /kafka_2\.13<\/artifactId>\s*<version>([^<]+)</.exec(readFileSync(POM, 'utf8'))?.[1];
  if (version === undefined) throw new Error(`${POM} names no version of Kafka`);
  return version;
}

async function javaWillDo(): Promise<void> {
  // `java -version` writes to stderr.
  const { stderr } = await run('java', ['-version'], { env: javaEnvironment(), timeout: 30_000 }).catch(
    (error: NodeJS.ErrnoException) => {
      throw new Error(
        error.code === 'ENOENT'
          ? `java is not on PATH; install a Java ${JAVA_LEAST} runtime (Debian: openjdk-17-jre-headless)`
          : `java -version failed: ${error.message}`,
      );
    },
  );
  const major = Number(/version "(\d+)/.exec(stderr)?.[1]);
  if (!(major >= JAVA_LEAST)) throw new Error(`java is version ${major}, needed is ${JAVA_LEAST} or newer`);
}

async function fetchInto(home: string): Promise<void> {
  await mkdir(cacheDir(), { recursive: true });
  const dir = await mkdtemp(join(cacheDir(), 'kafka-download-'));
  try {
    // -C: an artifact whose checksum is wrong is refused, not warned about.
    const args = ['-B', '-q', '-C', '-f', POM, 'dependency:copy-dependencies', '-DincludeScope=runtime'];
    await run('mvn', [...args, `-DoutputDirectory=${dir}`], { env: javaEnvironment(), timeout: FETCH_MS }).catch(
      (error: NodeJS.ErrnoException & { stdout?: string }) => {
        throw new Error(
          error.code === 'ENOENT'
            ? 'mvn is not on PATH; install Maven, which fetches the broker once (Debian: maven)'
            : `Maven could not fetch the broker: ${(error.stdout ?? error.message).trim().slice(-1_000)}`,
        );
      },
    );
    await rename(dir, home);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
