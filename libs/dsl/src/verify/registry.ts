/**
 * The closed table of findings. A code never changes its meaning: people look it up, search for it and suppress it.
 * This file imports nothing, since the tool that makes `docs/findings.md` reads it as it stands.
 */
export const FINDING_DOCS = 'https://opsloop.dev/docs/findings/';

export type Group =
  | 'Structure'
  | 'Graph'
  | 'References'
  | 'Types'
  | 'Expressions'
  | 'Termination'
  | 'Temporal budget'
  | 'Safety'
  | 'Events'
  | 'Evolution'
  | 'Schemas'
  | 'Other documents';

export interface FindingKind {
  group: Group;
  severity: 'error' | 'warning';
  title: string;
  why: string;
  /** Template of the hint: what to do about it, in general. */
  fix: string;
}

type Row = readonly [group: Group, severity: 'error' | 'warning', title: string, why: string, fix: string];

// One row per line: it is a table.
// prettier-ignore
const rows: Readonly<Record<string, Row>> = {
  OPS1000: ['Structure', 'error', 'Not a document', 'A document is one JSON object.', 'Write an object with "dsl" and "kind".'],
  OPS1001: ['Structure', 'error', 'Does not match the schema', 'A member is missing, unknown, or of the wrong kind; nothing would read it as it was meant.', 'Compare with "opsloop schema KIND".'],
  OPS1002: ['Structure', 'error', 'Not exactly one verb', 'The verb says what a step does; with none or two of them nobody can tell.', 'Split the step, or add the verb.'],
  OPS1003: ['Structure', 'error', 'An id is used twice', 'References, paths of runs and keys at targets are made of ids.', 'Give each its own id.'],
  OPS1004: ['Structure', 'error', 'Nested too deeply', 'Deeper documents are refused at every door of the system.', 'Move a part into a flow of its own and run it.'],
  OPS1005: ['Structure', 'error', 'A forbidden member name', 'The name leads to what every JavaScript object inherits.', 'Choose another name.'],
  OPS1006: ['Structure', 'error', 'Document too big', 'The definition travels with the run through Temporal, whose payloads are bounded.', 'Move a part into a flow of its own and run it.'],
  OPS1007: ['Structure', 'error', 'Reserved domain', 'Names below "atom" and "opsloop" belong to the platform.', 'Choose another domain.'],
  OPS1008: ['Structure', 'error', 'Not a resource path', 'Locks, halts and rules compare paths by their segments.', 'Write kind/place/name without empty parts.'],
  OPS1009: ['Structure', 'error', 'Not exactly one of several members', 'The members exclude each other.', 'Keep one of them.'],
  OPS1010: ['Structure', 'error', 'No such atom', 'A run is pinned to exact versions before it starts; this reference leads nowhere.', 'Apply the atom first, or correct its name or range.'],
  OPS1011: ['Structure', 'error', 'No such flow', 'A run is pinned to exact versions before it starts; this reference leads nowhere.', 'Publish the flow first, or correct its name or range.'],
  OPS1012: ['Structure', 'error', 'A flow runs itself', 'Recursion has no bound that could be seen before the run.', 'Use loop or reconcile.'],
  OPS1013: ['Structure', 'error', 'Flows nested too deeply', 'Each level is a workflow of its own, which waits for the one below.', 'Flatten the flows.'],
  OPS1014: ['Structure', 'error', 'Not a reference', 'References name what they mean and a range of versions.', 'Write name@1, name@1.2 or name@1.2.3.'],
  OPS1016: ['Structure', 'error', 'A reserved name', 'The name already means something in every scope, and would hide it.', 'Choose another name.'],
  OPS1017: ['Structure', 'error', 'No such table', 'The rule could never find its tier.', 'Apply the table first, or correct its name or range.'],
  OPS1020: ['Other documents', 'error', 'An atom without exactly one form', 'worker, http and script say who executes it.', 'Keep one of them.'],
  OPS1021: ['Other documents', 'error', 'Local execution is not possible', 'A crash repeats local steps, inside the flow worker.', 'Remove "execution".'],
  OPS1022: ['Other documents', 'error', 'Retries of what cannot be repeated', 'A repeat could act twice.', 'Remove the retry, or declare how a repeat is recognised.'],
  OPS1023: ['Other documents', 'error', 'A script without exactly one text', 'source and file exclude each other.', 'Keep one of them.'],
  OPS1024: ['Other documents', 'error', 'A form that does not fit the atom', 'job and cache have conditions of their own.', 'Follow the message.'],
  OPS1025: ['Other documents', 'error', 'A cache that cannot be kept', 'Only answers of reads may be kept, and only for a while.', 'Follow the message.'],
  OPS1030: ['Other documents', 'error', 'for and atLeast together', 'A rule waits in one way.', 'Remove one of the two.'],
  OPS1031: ['Other documents', 'error', 'A rung without exactly one of run, call', 'The rung says what is started.', 'Keep one of them.'],
  OPS1032: ['Other documents', 'error', 'A rung that ends the ladder too early', 'Without "within" the next rungs are never reached.', 'Say how long each attempt has.'],
  OPS1033: ['Other documents', 'error', 'Attempts without a time', 'The second attempt begins when the time of the first is over.', 'Add "within".'],
  OPS1034: ['Other documents', 'warning', 'Rungs without a goal', 'Without a goal only the first rung runs.', 'Add a goal, or remove the rung.'],
  OPS1040: ['Structure', 'error', 'Unknown retry policy', 'The name is not one of use.retries.', 'Declare it there, or write the policy here.'],
  OPS1051: ['Other documents', 'error', 'An observation that changes something', 'Observations run again and again, also without any cause.', 'Call an atom with effect "read".'],
  OPS1052: ['Other documents', 'warning', 'Times that do not fit each other', 'One of the two can never take effect.', 'Make the one longer or the other shorter.'],
  OPS1053: ['Other documents', 'warning', 'The same entry twice', 'The second says nothing new.', 'Remove it.'],
  OPS1061: ['Other documents', 'error', 'Unknown time zone', 'Times would be taken in another zone than meant.', 'Write an IANA name such as Europe/Berlin.'],
  OPS1062: ['Other documents', 'error', 'Not a recurrence', 'The rule cannot be read as RFC 5545.', 'Write FREQ=…;… with members of RFC 5545.'],
  OPS1063: ['Other documents', 'error', 'Not a cron expression', 'It cannot be read as five fields.', 'Write minute hour day month weekday.'],
  OPS1064: ['Other documents', 'warning', 'A policy that can never act', 'Its numbers let everything, or nothing, pass.', 'Correct the numbers.'],
  OPS1071: ['Other documents', 'warning', 'A secret in clear text', 'Configs can be read by everybody and stand in the history of every run.', 'Keep it as a secret, and name it as ${secrets.<name>}.'],
  OPS1072: ['Other documents', 'warning', 'A template that nobody renders', 'Values of a config are taken as they stand.', 'Write the value itself.'],
  OPS1073: ['Other documents', 'error', 'A resource that depends on itself', 'Groups and dependencies are walked.', 'Remove the path.'],
  OPS1074: ['Other documents', 'error', 'A limit that limits nothing', 'The config "environment" says how much one run may touch, and which events there are.', 'Follow the message.'],
  OPS1076: ['Other documents', 'error', 'A proof that the sender does not have', 'Each kind of sender signs, or shows a credential, in its own ways.', 'Choose one of those it has, or "type": "generic".'],
  OPS1077: ['Other documents', 'error', 'A signature that proves nothing', 'What is not signed can be changed on the way.', 'Sign the body, and the time where there is one.'],
  OPS1078: ['Other documents', 'warning', 'A door without a lock', 'Events start work, and anybody could send them.', 'Give the source an "auth" that its sender knows.'],
  OPS1079: ['Other documents', 'warning', 'An identity outside the signature', 'A delivery that was seen could be sent again under a new id and would count as new.', 'Take the id from the body, or leave it out.'],
  OPS1091: ['Other documents', 'error', 'Rows that overlap', 'With "unique" at most one row may fit, so events like this would be decided by none.', 'Make the conditions exclude each other, or use "hit": "first".'],
  OPS1092: ['Other documents', 'warning', 'A gap in a table', 'For events like this the default of the rule holds (tier P3), which nobody chose.', 'Add a last row without "when".'],
  OPS1081: ['Other documents', 'error', 'A test of something that is not there', 'The path names no step of the flow, so the expectation can never hold.', 'Correct the path.'],
  OPS1101: ['Graph', 'error', 'needs leads nowhere', 'needs orders the children of one parallel step.', 'Name ids of the same parallel step.'],
  OPS1102: ['Graph', 'error', 'Steps need each other', 'None of them could ever begin.', 'Remove one of the needs.'],
  OPS1103: ['Graph', 'error', 'Entries that are never reached', 'An entry without a condition matches always.', 'Move it to the end, or give it a condition.'],
  OPS1104: ['Graph', 'warning', 'A switch without a default', 'When no condition holds, nothing is done and nothing is said.', 'Add a last branch without "when".'],
  OPS1105: ['Graph', 'error', 'A join that can never be reached', 'It waits for more branches than there are.', 'Lower the count.'],
  OPS1106: ['Graph', 'error', 'A loop without exactly one condition', 'until and while exclude each other.', 'Keep one of them.'],
  OPS1107: ['Graph', 'warning', 'A condition that is always the same', 'It reads nothing, so one of its outcomes is dead.', 'Compare something that changes, or remove the condition.'],
  OPS1108: ['Graph', 'error', 'The same condition twice', 'The second branch is never taken.', 'Change one condition, or join the branches.'],
  OPS1109: ['Graph', 'warning', 'Steps that are never reached', 'The flow has always ended before them.', 'Give the return or raise an "if", or remove what follows.'],
  OPS1110: ['Graph', 'warning', 'Batch numbers that contradict each other', 'The smaller number wins, silently.', 'Make them agree.'],
  OPS1111: ['Graph', 'error', 'A quorum that can never be reached', 'More approvals are wanted than people are named.', 'Name more people or a group, or lower "min".'],
  OPS1112: ['Graph', 'warning', 'An error type that nothing raises', 'The clause never matches; usually the name is misspelt.', 'Use a type of the language, atom/…, or declare it in use.errors.'],
  OPS1113: ['Graph', 'error', 'A wait for not exactly one of one, any and all', 'Nobody can say when it is over.', 'Split it into two steps, or put the entries into one list.'],
  OPS1201: ['Termination', 'error', 'A wait without an end', 'Nobody may ever answer, and the run would hold its locks for ever.', 'Add a timeout to the step, or to the flow.'],
  OPS1202: ['Termination', 'error', 'A timeout shorter than what it covers', 'The timers inside alone take longer, so it always ends in a timeout.', 'Make the timeout longer.'],
  OPS1203: ['Termination', 'warning', 'No limit for one attempt', 'A lost worker is noticed only when the attempt runs out of time; the default is one minute.', 'Set startToClose on the step, in defaults, or in the manifest.'],
  OPS1204: ['Termination', 'warning', 'A long call without heartbeat', 'A dead worker is noticed only after the whole time, and a cancellation is never heard.', 'Add "heartbeat", and let the atom beat.'],
  OPS1205: ['Termination', 'error', 'Timeouts that contradict each other', 'The longer one can never be reached.', 'Make heartbeat < startToClose ≤ scheduleToClose.'],
  OPS1206: ['Termination', 'error', 'Retries without an end', 'A call that never works would be repeated for ever.', 'Set maximumAttempts, or a scheduleToClose or timeout around it.'],
  OPS1207: ['Termination', 'error', 'A goal that can never be met', 'It must hold for longer than the deadline leaves.', 'Make "stable" shorter than "deadline".'],
  OPS1208: ['Termination', 'warning', 'The worst case is longer than the timeout', 'If everything takes as long as it may, the flow is cut off in the middle.', 'Raise the timeout, or lower the timeouts and attempts of its steps.'],
  OPS1209: ['Termination', 'warning', 'A wait that is cut off', 'What is around it ends before its own time is over, so its timeout never counts.', 'Make the outer timeout longer than the inner one.'],
  OPS1301: ['Schemas', 'error', 'A schema that is not accepted', 'Schemas of users are code; only a closed list of keywords and harmless patterns is taken.', 'Use the keywords that are listed.'],
  OPS1302: ['Schemas', 'error', 'Not a JSON Schema', 'The schema does not compile.', 'Follow the message.'],
  OPS1303: ['Schemas', 'error', 'An example that does not match', 'Examples answer in dry runs, so they must be true.', 'Correct the example or the schema.'],
  OPS1400: ['Expressions', 'error', 'Not a JSON value', 'Expressions are data.', 'Write JSON.'],
  OPS1401: ['Expressions', 'error', 'Not exactly one operator', 'An object with two operators would be data, and data counts as true.', 'Combine with {"and": […]}.'],
  OPS1402: ['Expressions', 'error', 'Unknown operator', 'The list of operators is closed.', 'Use an operator of the language.'],
  OPS1403: ['Expressions', 'error', 'Expression too deep', 'At most 32 levels.', 'Compute a part in an earlier step.'],
  OPS1404: ['Expressions', 'error', 'Expression too big', 'At most 2,000 nodes.', 'Compute a part in an earlier step, or use a table.'],
  OPS1405: ['Expressions', 'error', 'Not a finite number', 'JSON has no infinity.', 'Write a number.'],
  OPS1406: ['Expressions', 'error', 'Wrong number of arguments', 'A missing argument would be null, and an extra one ignored.', 'Give as many as the operator takes.'],
  OPS1407: ['Expressions', 'error', 'Division by 0', 'It always fails.', 'Divide by something else.'],
  OPS1408: ['Expressions', 'error', 'Not a path', 'Paths are dots, [n] and ["any key"].', 'Correct the path.'],
  OPS1409: ['Expressions', 'error', 'A condition that cannot be read', 'The text form did not parse.', 'Write paths, numbers and texts in quotes, with == != < <= > >= + - * / in and or not.'],
  OPS1410: ['Expressions', 'error', 'A template that cannot be read', 'Templates hold paths only.', 'Compute with {"$logic": …}.'],
  OPS1411: ['Expressions', 'error', 'A member a template may not have', '"$logic" and "$literal" stand alone, and prototype names are no data.', 'Follow the message.'],
  OPS1412: ['Expressions', 'error', 'Not a condition', 'A condition compares; a bare text or number is neither true nor false.', 'Compare something.'],
  OPS1413: ['Expressions', 'warning', 'An outer name inside an iterator', 'filter, map, all and their like see the item only, so the name is null there.', 'Read it with {"root": "…"}.'],
  OPS1414: ['Expressions', 'error', 'A template where none is rendered', 'The text is taken as it stands, ${…} and all.', 'Write the text itself; what differs from run to run goes into "data" or "detail".'],
  OPS1415: ['Expressions', 'error', 'A pattern that cannot be searched', 'Patterns have no back references and no look-around, so that no text can keep them busy.', 'Write a simpler pattern, or several.'],
  OPS1416: ['Expressions', 'warning', 'A text that looks like a template', 'Templates are written ${…}; what stands in braces alone is handed on as it is.', 'Write ${…}.'],
  OPS1501: ['References', 'error', 'Unknown name', 'No scope has this name.', 'Use one of the names that are listed.'],
  OPS1502: ['References', 'error', 'Unknown step', 'The flow has no step of this id.', 'Correct the id.'],
  OPS1503: ['References', 'error', 'Undeclared input', 'input.schema does not allow it.', 'Declare it under input.schema.properties.'],
  OPS1504: ['References', 'error', 'A step that has not ended yet', 'It comes later, beside, or around the place that reads it.', 'Move the step before, or add it to "needs".'],
  OPS1505: ['References', 'error', 'A step that may not have run', 'Its condition may be false or its branch not taken, and a missing value fails the step.', 'Write ${…?}, or give the reader the same condition.'],
  OPS1506: ['References', 'error', 'A step of a loop, read outside', 'Each item and each turn has a scope of its own.', 'Hand it out with "collect", or with "set".'],
  OPS1507: ['References', 'error', 'Undeclared variable', 'Nothing declares or sets it.', 'Declare it under vars.'],
  OPS1508: ['References', 'warning', 'Declared and never used', 'Usually the use is misspelt.', 'Remove it, or use it.'],
  OPS1509: ['References', 'error', 'A name outside its scope', 'Loop items and caught errors exist only inside their block.', 'Read it inside, or hand it out with "collect" or "set".'],
  OPS1510: ['References', 'error', 'Unknown member of a step', 'A step has status, output, error, attempts, startedAt, endedAt and failed.', 'Read one of these, usually output.'],
  OPS1511: ['References', 'warning', 'An optional input read as if it were there', 'A run without it fails at this place.', 'Write ${…?}, give it a default, or require it.'],
  OPS1512: ['References', 'warning', 'Unknown config', 'None of the documents that were checked has this config or key.', 'Add it, or correct the name.'],
  OPS1601: ['Types', 'error', 'A member the schema does not have', 'The schema is closed and has no such member.', 'Correct the path.'],
  OPS1602: ['Types', 'error', 'A condition that is not boolean', 'Only true and false decide; anything else is an error at run time.', 'Compare, or write {"!!": …}.'],
  OPS1603: ['Types', 'error', 'Not a list', 'forEach goes through a list.', 'Give it a list.'],
  OPS1604: ['Types', 'error', 'Input that does not match the atom', 'The atom would refuse it, after everything before it was done.', "Follow the atom's input schema."],
  OPS1605: ['Types', 'error', 'A value that can never occur', 'The schema lists the values, and this is none of them.', 'Use one of the listed values.'],
  OPS1606: ['Types', 'error', 'A comparison of different kinds', 'They can never be equal, so one side is not what it seems.', 'Compare values of one kind.'],
  OPS1607: ['Types', 'error', 'An object or list inside a text', 'It fails when the text is made.', 'Write ${…|string} to force it, or let it stand alone.'],
  OPS1608: ['Types', 'error', 'Input that does not match the flow', 'The sub-flow would refuse it.', "Follow the flow's input schema."],
  OPS1609: ['Types', 'error', 'Not a time', 'The slot takes an ISO 8601 time or a duration.', 'Write 2026-01-31T18:00:00Z, or a duration such as 90s.'],
  OPS1610: ['Types', 'error', 'Not a resource path', 'A lock or a target is a path such as host/dc1/web-1.', 'Give it a path.'],
  OPS1701: ['Safety', 'error', 'A secret where it would be kept', 'Everything but the input of a call is stored in histories and logs.', 'Hand the secret to the atom that needs it.'],
  OPS1702: ['Safety', 'error', 'All secrets at once', 'A secret is named in full.', 'Write ${secrets.<name>}.'],
  OPS1703: ['Safety', 'error', 'An undeclared secret', 'use.secrets is what reviewers read.', 'Add it to use.secrets.'],
  OPS1704: ['Safety', 'error', 'A secret inside a text', 'A secret is only a reference here; the worker fills in whole values.', 'Let it stand alone.'],
  OPS1801: ['Safety', 'warning', 'Destruction without approval', 'What is destroyed does not come back; a person should have seen it.', 'Put an approval before it.'],
  OPS1802: ['Safety', 'warning', 'Destruction without a lock', 'Somebody else may be working on the same thing.', 'Declare targets or locks, or put it into a do with lock.'],
  OPS1803: ['Safety', 'warning', 'Destruction without tolerance', 'A wrong list destroys everything on it before anybody sees the first failure.', 'Add tolerate to the forEach.'],
  OPS1804: ['Safety', 'warning', 'A change that can neither be repeated nor undone', 'When a neighbour fails or a worker dies, nobody can know its state.', 'Give it a compensate, or an idempotency of native or probe.'],
  OPS1805: ['Safety', 'error', 'A race between changes', 'The losers are cancelled in the middle and nothing undoes them.', 'Give each branch a compensate, or wait for all.'],
  OPS1806: ['Safety', 'warning', 'Batches without a gate', 'The next batch begins without anybody having looked at the last.', 'Add batch.gate.'],
  OPS1807: ['Safety', 'error', 'Too many targets', 'The environment allows fewer, in flight or in all.', 'Lower concurrency, batch.max or the list.'],
  OPS1808: ['Safety', 'warning', 'Approval that nobody may give', 'Whoever starts the run may not approve it, and nobody else is left.', 'Name another person or a group.'],
  OPS1809: ['Safety', 'warning', 'Silence counts as approval', 'Nobody needs to have seen it.', 'Use "reject", "fail" or "escalate".'],
  OPS1810: ['Safety', 'warning', 'Nothing to compensate', 'No step inside has a compensation, so a failed item stays as it is.', 'Give the changing steps a compensate.'],
  OPS1811: ['Safety', 'warning', 'perItem locks without items', 'No forEach goes through the targets, so nothing is ever locked.', 'Use lockTargets "all", or iterate over the targets.'],
  OPS1812: ['Safety', 'warning', 'Work that outlives its locks', 'The locks of the run are freed while the detached flow still works.', 'Wait for it, or let it take locks of its own.'],
  OPS1901: ['Temporal budget', 'error', 'More history than Temporal allows', 'The part cannot be continued in a new run, and Temporal ends runs at 51,200 events.', 'Set isolate, lower the numbers, or run a sub-flow.'],
  OPS1902: ['Temporal budget', 'warning', 'A long history in one piece', 'The part cannot be continued in a new run; above 10,240 events every replay is slow.', 'Set isolate, lower the numbers, or run a sub-flow.'],
  OPS1903: ['Temporal budget', 'error', 'Too much in flight', 'Temporal refuses more than 2,000 pending activities or children in one run.', 'Lower the concurrency, or set isolate.'],
  OPS1904: ['Temporal budget', 'warning', 'Much in flight', 'Above 500 pending in one run things only queue for the same workers.', 'Lower the concurrency, or set isolate.'],
  OPS1905: ['Temporal budget', 'warning', 'More state than a run should carry', 'What is collected travels with the run whenever it is continued; at most 1 MB.', 'Collect less, or set isolate.'],
  OPS1921: ['Events', 'warning', 'A wait without correlation', 'Any event of this type ends it, also one about something else.', 'Add correlate, subject or filter.'],
  OPS1922: ['Events', 'error', 'A wait for nothing in particular', 'Without a type every event matches.', 'Add the type.'],
  OPS1923: ['Events', 'warning', 'An event type nobody sends', 'No source, flow or registry that is known has it.', 'Correct the type.'],
  OPS1924: ['Events', 'warning', 'A flow that starts itself', 'The event it emits is one that a rule answers with this flow.', 'Narrow the rule, or use another type.'],
  OPS1925: ['Events', 'error', 'A reserved event type', 'Types that begin with "opsloop." are sent by the platform alone.', 'Use a type of your own.'],
  OPS1941: ['Evolution', 'error', 'A published version was changed', 'Published versions never change; what runs is pinned to them.', 'Raise the version.'],
  OPS1942: ['Evolution', 'error', 'Narrower input without a major version', 'Callers with a range such as @1 would begin to fail.', 'Raise the major version, or keep accepting what was accepted.'],
  OPS1943: ['Evolution', 'error', 'A stronger effect without a major version', 'Callers and policies have agreed to less.', 'Raise the major version.'],
  OPS1944: ['Evolution', 'warning', 'Steps gone while runs are in flight', 'A run that is repeated on the new version does not find them again.', 'Keep the ids, or wait until the runs have ended.'],
  OPS1945: ['Evolution', 'warning', 'Output without members it had', 'Callers may read them.', 'Raise the major version, or keep them.'],
};

/** Code → what it means. */
export const FINDINGS: Readonly<Record<string, FindingKind>> = Object.fromEntries(
  Object.entries(rows).map(([code, [group, severity, title, why, fix]]) => [
    code,
    { group, severity, title, why, fix },
  ]),
);

/** The fix of a code as a hint: the rest of a sentence. */
export function fixOf(code: string): string | undefined {
  const fix = FINDINGS[code]?.fix;
  return fix === undefined ? undefined : fix.charAt(0).toLowerCase() + fix.slice(1).replace(/\.$/, '');
}

/** The page of a code; a name, so that findings can be looked up and searched for. */
export function findingUrl(code: string): string {
  return FINDING_DOCS + code;
}
