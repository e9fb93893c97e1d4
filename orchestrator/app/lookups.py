"""What a plan must be told: by providers, what a manifest leaves open; by earlier runs, how long builds take."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from orchestrator.app.context import Context, has_state
from orchestrator.core.errors import JournalError, Rejected, UsageError, flat
from orchestrator.core.events import Sighted
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, Target
from orchestrator.forecast import ASSUMED, Times, times_of
from orchestrator.journal.port import Journal, RunRow
from orchestrator.manifest import Answers, Manifest, Questions
from orchestrator.providers.port import Discovers, Inspects, ListsBranches, Provider, RepoFacts

RUNS = 10  # earlier runs that are read, those of the same name first
ENTRIES = 60_000  # of their journals, in all: half a second
LARGEST = 20_000  # targets of a run that is read
REHEARSED = Times(latency=0.02, starts=1.0, runs=5.0)  # the middle of what the look-alike does


def merged(known: Answers, new: Answers) -> Answers:
    """Both, the new ones first."""
    return Answers(
        owners={**known.owners, **new.owners},
        branches={**known.branches, **new.branches},
        numbers={**known.numbers, **new.numbers},
    )


async def look_up(questions: Questions, manifest: Manifest, journal: Journal, context: Context) -> Answers:
    """What the providers say: the repositories of owners, the branches of repositories, the names behind numbers.

    Raises:
        UsageError: a provider cannot be asked that, or there is no such owner.
        AccessRefused, LookFailed: it did not answer.
    """
    names = dict.fromkeys(
        name for group in (questions.owners, questions.branches, questions.numbers) for name, _ in group
    )
    answers = Answers()
    for name in names:
        async with context.gate(manifest.accounts[name], journal) as caller:
            answers = merged(answers, await _asked_of(name, caller.provider, questions))
    return answers


async def _asked_of(account: str, provider: Provider, questions: Questions) -> Answers:
    owners: dict[tuple[str, str], Sequence[RepoFacts]] = {}
    branches: dict[tuple[str, str], Sequence[str]] = {}
    numbers: dict[tuple[str, str], str] = {}

    async def owner(name: str) -> None:
        if not isinstance(provider, Discovers):
            raise UsageError(
                f"account {account}: this provider cannot list repositories; write them out, or use `from`"
            )
        owners[account, name] = await provider.discover(name)

    async def repo(name: str) -> None:
        if not isinstance(provider, ListsBranches):
            raise UsageError(f"account {account}: this provider cannot list branches; write them out")
        try:
            branches[account, name] = await provider.branches(name)
        except Rejected:  # no such repository: its glob matches nothing, and the plan says so
            branches[account, name] = ()

    async def number(text: str) -> None:
        facts = await provider.inspect(text) if isinstance(provider, Inspects) else None
        numbers[account, text] = text if facts is None else facts.slug

    try:
        async with anyio.create_task_group() as tasks:
            for ask, pairs in ((owner, questions.owners), (repo, questions.branches), (number, questions.numbers)):
                for name, text in pairs:
                    if name == account:
                        tasks.start_soon(ask, text)
    except BaseExceptionGroup as group:
        raise next(flat(group)) from None
    return Answers(owners=owners, branches=branches, numbers=numbers)


# -- how long builds take ---------------------------------------------------------------------------------------


async def times_of_state(context: Context, name: str) -> Times:
    """How long builds took in the state; assumptions where there is none, or none that can be read.

    Args:
        name: of the plan; what ran under it counts before the rest.
    """
    from orchestrator.journal.store import open_journal

    where = context.state_path
    if not has_state(where):
        return _assumed(context)
    try:
        async with open_journal(where, now=context.now, read_only=True) as journal:
            return await times_in(journal, name, context)
    except JournalError:  # `plan` needs no state: the verbs that need it tell what is wrong with it
        return _assumed(context)


async def times_in(journal: Journal, name: str, context: Context) -> Times:
    """How long builds took in this journal; as `times_of_state`."""
    rows = sorted(await journal.runs(), key=lambda row: row.name != name)  # stable: newest first among each
    beside = tuple(row.id for row in rows if row.driven)
    found: list[tuple[Target, Build]] = []
    left = ENTRIES
    for row in [row for row in rows if row.targets <= LARGEST][:RUNS]:
        if left <= 0:
            break
        builds, read = await _ended(journal, row, left)
        found += builds
        left -= read
    known = times_of(found)
    if known.builds:
        return replace(known, latency=_assumed(context).latency, beside=beside)
    return replace(_assumed(context), beside=beside)


def _assumed(context: Context) -> Times:
    return REHEARSED if context.sandbox else ASSUMED


async def _ended(journal: Journal, row: RunRow, at_most: int) -> tuple[Sequence[tuple[Target, Build]], int]:
    """The builds of a run that have ended, and how many entries were read."""
    targets = {target.id: target for target in await journal.targets(row.id)}
    cursor: dict[str, int] = {}
    ended: dict[str, Build] = {}
    read = 0
    while read < at_most and (batch := await journal.read(row.id, cursor)):
        read += len(batch)
        for entry in batch:
            cursor[entry.account] = entry.seq
            if isinstance(entry.event, Sighted) and entry.event.build.state.is_final:
                ended[entry.event.target] = entry.event.build
    return [(targets[id_], build) for id_, build in ended.items() if id_ in targets], read
