"""Asks providers what a manifest leaves open: the repositories of owners, branches, the names behind numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anyio

from orchestrator.app.context import Session
from orchestrator.app.pacing import Pace
from orchestrator.core.errors import Rejected, UsageError
from orchestrator.manifest import Answers, Manifest, Questions
from orchestrator.providers.port import Discovers, Inspects, ListsBranches, Provider, RepoFacts


def merged(known: Answers, new: Answers) -> Answers:
    """Both, the new ones first."""
    return Answers(
        owners={**known.owners, **new.owners},
        branches={**known.branches, **new.branches},
        numbers={**known.numbers, **new.numbers},
    )


async def asked(questions: Questions, manifest: Manifest, session: Session) -> Answers:
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
        async with session.connect(manifest.accounts[name]) as line:
            provider = line.provider_over(Pace(line, session.machine.now).send)
            answers = merged(answers, await _asked_of(name, provider, questions))
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
        if facts is not None:
            numbers[account, text] = facts.slug
        else:
            numbers[account, text] = text

    try:
        async with anyio.create_task_group() as tasks:
            for ask, pairs in ((owner, questions.owners), (repo, questions.branches), (number, questions.numbers)):
                for name, text in pairs:
                    if name == account:
                        tasks.start_soon(ask, text)
    except BaseExceptionGroup as group:
        raise next(iter(_flat(group))) from None
    return Answers(owners=owners, branches=branches, numbers=numbers)


def _flat(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _flat(one)
    else:
        yield error
