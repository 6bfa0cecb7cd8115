/** `opsloop autonomy`: what the runs of rules brought, and how far each may act by itself. */
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Streams } from '../output.js';

export function registerAutonomy(program: Command, streams: Streams): void {
  const autonomy = program
    .command('autonomy')
    .description('what runs of rules brought, and which rules act by themselves');
  autonomy
    .command('ls')
    .description('per rule and flow: fixed, not fixed, ended by people')
    .option('--rule <name>')
    .option('--flow <name>')
    .action(async (options: { rule?: string; flow?: string }, command: Command) => {
      const context = contextOf(command, streams);
      const answer = await context.client().listAutonomy(options);
      const { out } = context;
      out.result(answer, () => {
        if (answer.items.length === 0) out.line('nothing was verified yet');
        else
          out.table(
            ['RULE', 'FLOW', 'LEVEL', 'FIXED', 'NOT FIXED', 'BY PEOPLE', 'WHY'],
            answer.items.map((one) => [
              one.rule,
              one.flow,
              one.level,
              one.fixed,
              one.notFixed,
              one.overridden,
              one.why,
            ]),
          );
        const low = answer.items.find((one) => one.level !== 'auto');
        out.next(low === undefined ? 'opsloop status' : `opsloop autonomy reset ${low.rule} --reason …`);
      });
    });
  autonomy
    .command('reset')
    .description('a rule acts by itself again, counted anew')
    .argument('<rule>')
    .option('--flow <name>', 'only with this flow')
    .requiredOption('--reason <text>', 'kept with it')
    .action(async (rule: string, options: { flow?: string; reason: string }, command: Command) => {
      const context = contextOf(command, streams);
      const answer = await context.client().resetAutonomy({ rule, ...options });
      context.out.result(answer, () => {
        context.out.line(
          `rule ${rule} acts by itself again (${answer.reset} ${answer.reset === 1 ? 'flow' : 'flows'})`,
        );
        context.out.next(`opsloop autonomy ls --rule ${rule}`);
      });
    });
}
