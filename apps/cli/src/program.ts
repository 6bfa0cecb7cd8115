import { Command, CommanderError } from 'commander';
import { registerApprovals } from './commands/approvals.js';
import { registerDocumentCommands } from './commands/documents.js';
import { registerExplain } from './commands/explain.js';
import { registerEvents } from './commands/events.js';
import { registerHalts } from './commands/halts.js';
import { registerIncidents } from './commands/incidents.js';
import { registerMaintenance } from './commands/maintenance.js';
import { registerInit } from './commands/init.js';
import { registerLocks } from './commands/locks.js';
import { registerPolicies } from './commands/policies.js';
import { registerPlan } from './commands/plan.js';
import { registerAtoms } from './commands/atoms.js';
import { registerRules } from './commands/rules.js';
import { registerRuns } from './commands/runs.js';
import { registerSecrets } from './commands/secrets.js';
import { registerAutonomy } from './commands/autonomy.js';
import { registerSchedules } from './commands/schedules.js';
import { registerSchema } from './commands/schema.js';
import { registerSources } from './commands/sources.js';
import { registerStack } from './commands/stack.js';
import { registerStatus } from './commands/status.js';
import { registerTokens } from './commands/tokens.js';
import { registerTrials } from './commands/trials.js';
import { registerTest } from './commands/test.js';
import { registerValidate } from './commands/validate.js';
import { CommandEnded, registerWithLock } from './commands/with-lock.js';
import { registerApply } from './commands/apply.js';
import { registerDoctor } from './commands/doctor.js';
import { VERSION } from './config.js';
import { EXIT, asCliError } from './errors.js';
import { Output } from './output.js';
import type { Streams } from './output.js';

/** Runs one command line and gives its exit code. */
export async function runCli(argv: string[], streams: Streams): Promise<number> {
  const program = buildProgram(streams);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    // Commander has printed what is wrong, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof CommandEnded) return error.exit;
    const failure = asCliError(error);
    new Output(streams, argv.includes('--json')).error(failure);
    return failure.exit;
  }
}

export function buildProgram(streams: Streams): Command {
  const program = new Command('opsloop')
    .description('Event-driven ops orchestration: events, rules, locks and durable flows')
    .version(VERSION)
    .option('--json', 'print one JSON value instead of tables and sentences')
    .showHelpAfterError('(add --help for the options)')
    .configureOutput({ writeOut: streams.out, writeErr: streams.err });
  // Subcommands copy these settings when they are made, so they must stand before.
  program.exitOverride();
  for (const register of [
    registerStack,
    registerInit,
    registerDoctor,
    registerValidate,
    registerSchema,
    registerPlan,
    registerApply,
    registerTest,
    registerDocumentCommands,
    registerRules,
    registerTrials,
    registerRuns,
    registerAtoms,
    registerApprovals,
    registerPolicies,
    registerHalts,
    registerMaintenance,
    registerSchedules,
    registerAutonomy,
    registerExplain,
    registerIncidents,
    registerEvents,
    registerSources,
    registerLocks,
    registerWithLock,
    registerSecrets,
    registerTokens,
    registerStatus,
  ]) {
    register(program, streams);
  }
  program.addHelpText(
    'after',
    '\nExit codes: 0 ok, 1 failed, 2 usage or unreachable, 3 rejected by control, 4 waiting for a person.\n' +
      'Without OPSLOOP_URL and OPSLOOP_TOKEN the nearest .opsloop/ upwards is used.\n',
  );
  return program;
}
