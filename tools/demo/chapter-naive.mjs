// Chapter one: the usual way. Four hosts die, every alert is delivered twice, each delivery runs a script at once.
import { ask } from '../../examples/demo-fleet/fleet.mjs';
import { runNaive } from '../../examples/demo-fleet/naive.mjs';
import { until } from '../api.mjs';
import { red } from './screen.mjs';
import { LIAR, VICTIMS } from './cast.mjs';

export async function naiveChapter({ screen, fleet }) {
  screen.chapter('1  How most teams do it: alert → script');
  await ask(fleet.agent, `/machines/${LIAR}/lie`, { method: 'POST' });
  for (const host of VICTIMS) await ask(fleet.agent, `/machines/${host}/kill`, { method: 'POST' });
  screen.say(
    `kill -9 of four hosts: ${VICTIMS.map((v) => v.split('/').pop()).join(', ')}; two alert managers deliver each alert`,
  );
  const alerts = VICTIMS.flatMap((host) => [
    { id: host, host },
    { id: host, host },
  ]);
  const naive = await runNaive({ agent: fleet.agent, alerts });
  screen.say(
    `${naive.scripts} scripts for ${naive.incidents} dead hosts: ${red(`${naive.copiesActedOn} copies acted on`)}, ${red(`${naive.overlaps} times two scripts on one host`)}`,
  );
  screen.say(`every script exited 0, yet ${red(`${naive.exitZeroButSick} host is still sick`)}, and nobody looks`);
  for (const host of VICTIMS) await ask(fleet.agent, `/machines/${host}/replace`, { method: 'POST' });
  await until('the fleet reset', async () =>
    (await ask(fleet.agent, '/machines')).body.items.every((m) => m.state === 'up'),
  );
  screen.say('reset: all twelve replaced or up again');
  return naive;
}
