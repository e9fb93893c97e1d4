"""What a plan must be told: by providers, what a manifest leaves open; by earlier runs, how long builds take.

For a rehearsal both are made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import anyio
import msgspec

from orchestrator import manifest as manifests
from orchestrator.app.context import Context, has_state, shared
from orchestrator.core.errors import JournalError, Rejected, UnknownEvents, UsageError, flat
from orchestrator.core.events import Requested, Restarted, Sighted
from orchestrator.core.frozen import replace
from orchestrator.core.history import accounts_in
from orchestrator.core.model import Account, Build, Plan, Target
from orchestrator.engine.opening import Caller
from orchestrator.forecast import ASSUMED, Times, times_of, with_last_builds
from orchestrator.journal.history import made_in
from orchestrator.journal.outcomes import service_of
from orchestrator.journal.port import Journal, RunRow
from orchestrator.manifest import Answers, Manifest, Narrowed, Questions
from orchestrator.providers.port import Discovers, Inspects, ListsBranches, Narrows, RepoFacts

ROWS = 200  # runs that are looked at for that
RUNS = 10  # earlier runs that are read, those of the same name first
ENTRIES = 60_000  # of their journals, in all: half a second
LARGEST = 20_000  # targets of a run that is read
INVENTED = 12  # repositories of an owner that a rehearsed manifest discovers
BRANCHES = ("main", "master", "develop", "release/1.0", "release/2.0")
REHEARSED = Times(latency=0.02, starts=1.0, runs=5.0, is_sure=True)  # the middle of what the look-alike does
REHEARSED_AT_ONCE = 60  # builds of an owner that it runs at once
REHEARSED_BY_TYPE = {"travis": 40}  # which counts jobs, and whose builds have one or two

LastBuilds: TypeAlias = dict[str, tuple[float, tuple[float, ...]]]
"""By repository, as limits count it: until when this holds (wall clock), and the seconds that its last builds ran."""


def merged(known: Answers, new: Answers) -> Answers:
    """Both, the new ones first."""
    return Answers(
        owners={**known.owners, **new.owners},
        branches={**known.branches, **new.branches},
        numbers={**known.numbers, **new.numbers},
        narrowed={**known.narrowed, **new.narrowed},
    )


async def answers(manifest: Manifest, journal: Journal | None, context: Context) -> Answers:
    """What providers say; in rounds, since what is found may raise a question.

    Raises:
        UsageError: a provider cannot be asked that, or there is no such owner.
        AccessRefused, LookFailed: it did not answer.
    """
    known = Answers()
    if not (questions := manifests.questions(manifest, known)):
        return known
    async with shared(context, journal) as state:
        while questions:
            for name in dict.fromkeys(name for asked in _kinds(questions) for name, _ in asked):
                async with context.gate(manifest.accounts[name], state) as caller:
                    known = merged(known, await _asked_of(name, caller, questions))
            questions = manifests.questions(manifest, known)
    return known


def _kinds(questions: Questions) -> tuple[Sequence[tuple[str, Any]], ...]:
    return questions.owners, questions.branches, questions.numbers, questions.narrowed


async def _asked_of(account: str, caller: Caller, questions: Questions) -> Answers:
    provider = caller.provider
    owners: dict[tuple[str, str], Sequence[RepoFacts]] = {}
    branches: dict[tuple[str, str], Sequence[str]] = {}
    numbers: dict[tuple[str, str], str] = {}
    some: dict[tuple[str, Narrowed], Sequence[RepoFacts]] = {}

    async def narrowed(wanted: Narrowed) -> None:
        if not isinstance(provider, Narrows):
            raise UsageError(f"account {account}: this provider cannot list some of an owner's repositories")
        try:
            look = partial(provider.narrowed, wanted.owner, dict(wanted.keys))
            some[account, wanted] = await caller.patiently(look)
        except Rejected as error:
            raise UsageError(f"account {account}: discover {wanted}: {error.reason}") from error

    async def owner(name: str) -> None:
        if not isinstance(provider, Discovers):
            raise UsageError(
                f"account {account}: this provider cannot list repositories; write them out, or use `from`"
            )
        owners[account, name] = await caller.patiently(partial(provider.discover, name))

    async def repo(name: str) -> None:
        if not isinstance(provider, ListsBranches):
            raise UsageError(f"account {account}: this provider cannot list branches; write them out")
        try:
            branches[account, name] = await caller.patiently(partial(provider.branches, name))
        except Rejected:  # no such repository: its glob matches nothing, and the plan says so
            branches[account, name] = ()

    async def number(text: str) -> None:
        look = partial(provider.inspect, text) if isinstance(provider, Inspects) else None
        facts = await caller.patiently(look) if look is not None else None
        numbers[account, text] = text if facts is None else facts.slug

    try:
        async with anyio.create_task_group() as tasks:
            asks: Sequence[Callable[[Any], Coroutine[Any, Any, None]]] = (owner, repo, number, narrowed)
            for ask, pairs in zip(asks, _kinds(questions), strict=True):
                for name, text in pairs:
                    if name == account:
                        tasks.start_soon(ask, text)
    except BaseExceptionGroup as group:
        raise next(flat(group)) from None
    return Answers(owners=owners, branches=branches, numbers=numbers, narrowed=some)


# -- what only a provider knows, made up ------------------------------------------------------------------------


def invented(manifest: Manifest) -> Answers:
    """Answers such as a provider might give: a dozen repositories that fit, a few usual branches."""
    answers = Answers()
    while questions := manifests.questions(manifest, answers):
        answers = merged(answers, _made_up(manifest, questions))
    return answers


def _made_up(manifest: Manifest, questions: Questions) -> Answers:
    return Answers(
        owners={(account, owner): _repos_of(manifest, owner) for account, owner in questions.owners},
        narrowed={(name, some): _repos_of(manifest, some.owner) for name, some in questions.narrowed},
        branches=dict.fromkeys(questions.branches, BRANCHES),
        numbers={(account, number): f"sandbox/repo-{number}" for account, number in questions.numbers},
    )


def _repos_of(manifest: Manifest, owner: str) -> list[RepoFacts]:
    patterns = [pattern for pattern in _patterns(manifest, owner) if isinstance(pattern, str)] or ["svc-*"]
    names = [
        pattern.replace("**", "*").replace("*", f"{n:03}").replace("?", "x")
        for pattern in patterns
        for n in range(1, INVENTED + 1)
    ]
    slugs = dict.fromkeys(name if "/" in name else f"{owner}/{name}" for name in names)
    return [RepoFacts(str(1000 + n), slug, active=True, default_branch="main") for n, slug in enumerate(slugs)]


def _patterns(manifest: Manifest, owner: str) -> list[Any]:
    """What `match` says wherever this owner is discovered."""
    found: list[Any] = []
    for entry in manifest.raw.get("targets") or ():
        discover = entry.get("discover") if isinstance(entry, Mapping) else None
        if isinstance(discover, Mapping) and discover.get("owner") == owner:
            match = discover.get("match")
            found += match if isinstance(match, list) else [match]
    return found


# -- how long builds take ---------------------------------------------------------------------------------------


async def times_of_state(context: Context, plan: Plan) -> Times:
    """How long builds took in the state; assumptions where there is none, or none that can be read."""

    where = context.state_path
    try:
        if not has_state(where):
            return _assumed(context)
        async with context.state_at(where, read_only=True) as journal:
            return await times_in(journal, plan.name, plan.accounts, context)
    except JournalError:  # `plan` needs no state: the verbs that need it tell what is wrong with it
        return _assumed(context)


async def times_in(
    journal: Journal, name: str, accounts: Mapping[str, Account], context: Context, but: str | None = None
) -> Times:
    """How long builds took in this journal, on the services of these accounts, whatever they were called then.

    Args:
        name: of the plan; what ran under it counts before the rest.
        but: a run that does not count.
    """
    others = [row for row in await journal.runs() if row.id != but]
    rows = sorted(others, key=lambda row: row.name != name)  # stable: newest first among each
    found: list[tuple[Target, Build]] = []
    beside: list[str] = []
    runs, left = 0, ENTRIES
    for row in rows[:ROWS]:
        is_read = runs < RUNS and left > 0 and row.targets <= LARGEST
        if not (is_read or row.driven) or not (names := await _names_in(journal, row, accounts, context)):
            continue
        beside += [row.id] if row.driven else []
        if is_read:
            try:
                builds, read = await _ended(journal, row, left)
            except UnknownEvents:  # of a newer version: it tells nothing here
                continue
            found += [(replace(it, account=own), build) for it, build in builds for own in names.get(it.account, ())]
            runs, left = runs + 1, left - read
    known = times_of(found)
    times = replace(known, latency=_assumed(context).latency) if known.builds else _assumed(context)
    lengths = {
        (name, repo): lengths
        for name, account in accounts.items()
        for repo, (_, lengths) in (await last_builds(journal, account, context.now())).items()
    }
    return with_last_builds(replace(times, beside=tuple(beside)), lengths)


async def last_builds(journal: Journal, account: Account, now: float) -> LastBuilds:
    """What the service has lately told of its last builds, and still holds; nothing where that cannot be read."""
    try:
        found = msgspec.json.decode((await journal.memory(_memory_of(account))).alias or "{}", type=LastBuilds)
    except msgspec.DecodeError:
        return {}
    return {repo: kept for repo, kept in found.items() if kept[0] > now}


async def remember_last_builds(journal: Journal, account: Account, found: LastBuilds) -> None:
    """Keeps it for every process of the state."""
    await journal.remember(_memory_of(account), alias=msgspec.json.encode(found).decode())


def _memory_of(account: Account) -> str:
    return f"last builds of {account.type}:{account.url}:{account.token}"


async def _names_in(
    journal: Journal, row: RunRow, accounts: Mapping[str, Account], context: Context
) -> dict[str, list[str]]:
    """Accounts of a run, each with those of ours that are of the same service.

    Where several look-alikes stand for accounts, they are told apart by the names of these.
    """

    def service(account: Account) -> tuple[str, str]:
        return service_of(account), account.name if context.sandbox else ""

    ours = context.as_run(accounts).values()
    found: dict[str, list[str]] = {}
    for name, theirs in accounts_in(await made_in(journal, row.id)).items():
        if same := [own.name for own in ours if service(own) == service(theirs)]:
            found[name] = same
    return found


def as_rehearsed(times: Times, plan: Plan) -> Times:
    """The same with how many builds of an owner the look-alike of a rehearsal runs at once, unless runs showed it."""
    places = Counter((target.account, target.owner.lower()) for target in plan.targets if target.skip is None)
    bounds = {name: REHEARSED_BY_TYPE.get(account.type, REHEARSED_AT_ONCE) for name, account in plan.accounts.items()}
    at_once = {
        (name, owner): bounds[name]
        for (name, owner), targets in places.items()
        if targets > bounds[name] and not times.at_once.keys() & {(name, owner), (name, "")}
    }
    return replace(times, at_once={**at_once, **times.at_once}, rehearsed=frozenset(at_once))


def _assumed(context: Context) -> Times:
    return REHEARSED if context.sandbox else ASSUMED


async def _ended(journal: Journal, row: RunRow, at_most: int) -> tuple[Sequence[tuple[Target, Build]], int]:
    """The builds of a run that have ended, each time they did, and how many entries were read.

    As created count those that were just asked for: services differ in what they say, above all of builds that were
    started again.
    """
    targets = {target.id: target for target in await journal.targets(row.id)}
    cursor: dict[str, int] = {}
    asked: dict[str, float] = {}
    last: dict[str, Build] = {}  # each build as it had ended when it was last seen
    before: list[tuple[str, Build]] = []  # those that were started again since
    read = 0
    while read < at_most and (batch := await journal.read(row.id, cursor)):
        read += len(batch)
        for entry in batch:
            cursor[entry.account] = entry.seq
            match entry.event:
                case Requested(target=id_):
                    asked.setdefault(id_, entry.at)
                case Restarted(target=id_):
                    asked[id_] = entry.at
                    before += [(id_, last.pop(id_))] if id_ in last else ()
                case Sighted(target=id_, build=build) if build.state.is_final:
                    last[id_] = replace(build, created_at=asked.get(id_, build.created_at))
    return [(targets[id_], build) for id_, build in (*before, *last.items()) if id_ in targets], read
