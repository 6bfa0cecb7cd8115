import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { CliError, EXIT } from '../errors.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';

interface CreateOptions {
  role?: string[];
  group?: string[];
  secret?: string[];
  days?: string;
  reason?: string;
}

const collect = (value: string, all: string[] = []): string[] => [...all, value];

export function registerTokens(program: Command, streams: Streams): void {
  const tokens = program.command('tokens').description('API tokens for persons, services and workers');
  tokens
    .command('create')
    .description('make a token; it is shown once')
    .argument('<name>', 'whom it is for; stands in audits and timelines')
    .option('--role <role>', 'viewer, operator, expert, admin or worker; repeatable', collect)
    .option('--group <name>', 'a team that it speaks for in approvals; repeatable', collect)
    .option('--secret <name>', 'of a worker: a secret it may resolve, * at the end for several; repeatable', collect)
    .option('--days <n>', 'ends after so many days; without it, when it is revoked')
    .option('--reason <text>', 'for the audit')
    .action((name: string, options: CreateOptions, command: Command) =>
      create(contextOf(command, streams), name, options),
    );
  tokens
    .command('ls')
    .description('tokens, without the tokens themselves')
    .option('--revoked', 'also those that are revoked')
    .action((options: { revoked?: boolean }, command: Command) => list(contextOf(command, streams), options));
  tokens
    .command('revoke')
    .description('end a token; it stops working within 5 s')
    .argument('<id>')
    .action((id: string, _options: object, command: Command) => revoke(contextOf(command, streams), id));
}

async function create(context: Context, name: string, options: CreateOptions): Promise<void> {
  const { role, group, secret, days, reason } = options;
  if (role === undefined)
    throw new CliError('say what it may do: --role viewer, operator, expert, admin or worker', EXIT.usage);
  const expiresInDays = days === undefined ? undefined : Number(days);
  if (expiresInDays !== undefined && !(Number.isInteger(expiresInDays) && expiresInDays > 0))
    throw new CliError('--days must be a whole number from 1', EXIT.usage);
  const answer = await context.client().createToken({
    name,
    roles: role,
    ...(group === undefined ? {} : { groups: group }),
    ...(secret === undefined ? {} : { secrets: secret }),
    ...(expiresInDays === undefined ? {} : { expiresInDays }),
    ...(reason === undefined ? {} : { reason }),
  });
  const { out } = context;
  out.result(answer, () => {
    // Alone on standard output, so that it can be captured.
    out.line(answer.token);
    out.note(`token ${answer.id} of ${name} (${answer.roles.join(', ')}); it is not shown again`);
    out.note(`use it: export OPSLOOP_TOKEN=…; end it: opsloop tokens revoke ${answer.id}`);
  });
}

async function list(context: Context, { revoked }: { revoked?: boolean }): Promise<void> {
  const page = await context.client().listTokens({ limit: 500, ...(revoked === true ? { revoked } : {}) });
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no tokens besides the admin key');
    else
      out.table(
        ['ID', 'NAME', 'ROLES', 'GROUPS', 'SECRETS', 'CREATED', 'ENDS'],
        page.items.map((one) => [
          one.id,
          one.name,
          one.roles.join(', '),
          one.groups.join(', '),
          one.secrets.join(', '),
          shortTime(one.createdAt),
          one.revokedAt !== undefined ? `revoked ${shortTime(one.revokedAt)}` : shortTime(one.expiresAt),
        ]),
      );
    out.next('opsloop tokens create NAME --role viewer');
  });
}

async function revoke(context: Context, id: string): Promise<void> {
  await context.client().revokeToken(id);
  context.out.result({ id, change: 'revoked' }, () => {
    context.out.line(`token ${id} is revoked; it stops working within 5 s`);
    context.out.next('opsloop tokens ls');
  });
}
