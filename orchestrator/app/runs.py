"""The runs in a state: which one is meant, its report, the story of one target; forgetting and exporting runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.app.context import Context, has_state, readable
from orchestrator.app.lookups import times_in
from orchestrator.app.which import latest, named, none_of, some_of
from orchestrator.core.errors import Exit, UnknownEvents, UsageError
from orchestrator.core.events import CancelAsked, Stopped
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import COORDINATOR, Phase, Target
from orchestrator.core.selection import EVERYTHING, Selection, chosen, some
from orchestrator.forecast import Expected, Times, expected, foretold
from orchestrator.journal.history import facts_of, load, made_in, read_wishes
from orchestrator.journal.port import Entry, Journal, RunRow
from orchestrator.providers import registry
from orchestrator.providers.port import Declaration
from orchestrator.report.diff import Diff, compare
from orchestrator.report.merged import merged as merge
from orchestrator.report.view import Report, view

NAMED = 20
PREVIOUS = "previous"
END_OF_STREAM = 2**31  # no stream has so many entries


async def runs(context: Context, which: str = "", *, open_only: bool = False) -> Sequence[RunRow]:
    """The runs that a text may mean, newest first; none where there is no state yet and no run was named."""
    if not which and not has_state(context.state_path):
        return ()
    async with readable(context, which or None) as journal:
        return await some_of(journal, which, open_only=open_only)


async def canceled_by(rows: Sequence[RunRow], journal: Journal) -> Mapping[str, str]:
    """Of the runs that a person had canceled, who that was, by id."""
    named = [(row.id, await _canceled_by(row, journal)) for row in rows if row.exit_code != Exit.OK]
    return {id_: who for id_, who in named if who is not None}


async def _canceled_by(row: RunRow, journal: Journal) -> str | None:
    """Who had the run canceled; only of one that was asked to be are its facts read."""
    if not any(isinstance(wish, CancelAsked) and not wish.only for _, wish in await journal.wishes(row.id)):
        return None
    made = await made_in(journal, row.id)
    behind = dict.fromkeys(made.accounts if made is not None else (), END_OF_STREAM)
    stops = [one.event for one in await journal.read(row.id, behind) if isinstance(one.event, Stopped)]
    return stops[-1].asked_by if stops else None


async def waiting(rows: Sequence[RunRow], journal: Journal, now: float) -> Mapping[str, str]:
    """The open runs among these that a wave or a person holds, each with what it waits for, as a sentence."""
    found: dict[str, str] = {}
    for row in [row for row in rows if row.ended_at is None]:
        with suppress(UnknownEvents):  # of a newer version, which knows
            held = await _held(row, journal, now)
            found |= {} if held is None else {row.id: held}
    return found


async def _held(row: RunRow, journal: Journal, now: float) -> str | None:
    made = await made_in(journal, row.id)
    if (made is None or len(made.waves) < 2) and not await journal.wishes(row.id):
        return None  # its events need not be read: nothing but builds can hold it
    history = await load(journal, row.id)
    held = None if history.stopped else history.course.waiting(history.waves, now)
    return None if held is None else history.course.told(held, history.waves)


async def old_runs(journal: Journal, which: str, before: float) -> Sequence[RunRow]:
    """The runs that a text may mean and that ended before an instant.

    Raises:
        UsageError: it means none.
    """
    rows = await some_of(journal, which)
    if which and not rows:
        raise UsageError(f"{none_of(rows, which)}; nothing was forgotten")
    return [row for row in rows if row.ended_at is not None and row.ended_at < before]


async def export(context: Context, file: Path, run: str | None = None) -> Sequence[RunRow]:
    """Writes all runs, or one, into a file that another machine can take for its state; which they were."""
    async with readable(context, run) as journal:
        rows = [await named(journal, run)] if run is not None else list(await journal.runs())
        await journal.export(file, [row.id for row in rows])
    return rows


async def report(
    context: Context,
    run: str | None = None,
    selection: Selection = EVERYTHING,
    *,
    merged: bool = False,
    against: str | None = None,
) -> tuple[RunRow, Report]:
    """The report of a run, by default the latest, about what is selected.

    Args:
        merged: it and all its retries as one.
        against: the run that it is compared with; `previous`: the one that it retries, else the last one of its name
            before it that has ended.

    Raises:
        UsageError: there is no run, or none to compare with.
        NotStarted: no target is meant, and that may not be.
    """
    async with readable(context, run) as journal:
        row = await latest(journal, run)
        rows = _family(row, await journal.runs()) if merged else [row]
        found = await _merged(rows, journal, context, selection)
        if against is None:
            return row, found
        before = await (_previous(row, journal) if against == PREVIOUS else named(journal, against))
        return row, replace(found, since=await _since(before, row, journal, context, selection))


async def _previous(row: RunRow, journal: Journal) -> RunRow:
    """The run that this one retries, else the last of its name before it that has ended."""
    rows = await journal.runs()
    if parent := next((one for one in rows if one.id == row.parent), None):
        return parent
    at = next(number for number, one in enumerate(rows) if one.id == row.id)  # the newest come first
    found = next((one for one in rows[at + 1 :] if one.name == row.name and one.ended_at is not None), None)
    if found is None:
        raise UsageError(f"--against {PREVIOUS}: no earlier run called {row.name!r} has ended in this state")
    return found


async def _since(before: RunRow, after: RunRow, journal: Journal, context: Context, selection: Selection) -> Diff:
    """What changed from one run to another, each together with what it retried."""
    rows = await journal.runs()
    sides = []
    for row in (before, after):
        side = await _merged(_ancestors(row, rows), journal, context, selection, may_be_empty=True)
        sides.append(replace(side, run=replace(side.run, id=row.id)))
    return compare(*sides)


async def settled(
    context: Context, run: str, selection: Selection = EVERYTHING, *, may_be_empty: bool = False
) -> Report:
    """The report of a run, a retry together with the runs that it retried: what it left alone is not gone.

    Raises:
        UsageError: there is no such run.
        NotStarted: nothing is selected, and that may not be.
    """
    async with readable(context, run) as journal:
        row = await named(journal, run)
        rows = _ancestors(row, await journal.runs())
        found = await _merged(rows, journal, context, selection, may_be_empty=may_be_empty)
    return replace(found, run=replace(found.run, id=row.id, parent=row.parent))


async def _merged(
    rows: Sequence[RunRow], journal: Journal, context: Context, selection: Selection, *, may_be_empty: bool = False
) -> Report:
    """Runs as one, the oldest first: that one has the targets among which is selected."""
    ids: set[str] | None = None
    views = []
    for row in rows:
        history = await load(journal, row.id)
        if ids is None and selection != EVERYTHING:
            ids = {target.id for target in (chosen if may_be_empty else some)(history.targets, selection)}
        if ids is not None:
            history.targets = [target for target in history.targets if target.id in ids]
        facts = await facts_of(journal, row.id) if context.wants_facts else ()
        now = context.now()
        is_foretold = context.wants_foretold and ids is None and row.driven
        to_come = await _foretold(journal, context, history, now) if is_foretold else ()
        views.append(replace(view(row.id, history, now), facts=facts, to_come=to_come))
    return merge([one for one in views if one.targets] or views[:1])


def _ancestors(row: RunRow, rows: Sequence[RunRow]) -> list[RunRow]:
    """The runs that this one retried, the oldest first, and itself; those that were forgotten are left out."""
    by_id, found = {one.id: one for one in rows}, [row]
    while (parent := by_id.get(found[0].parent or "")) is not None and parent not in found:
        found.insert(0, parent)
    return found


def _family(row: RunRow, rows: Sequence[RunRow]) -> list[RunRow]:
    """The first run and all its retries, and theirs, the oldest first."""
    found = {_ancestors(row, rows)[0].id}
    oldest_first = list(reversed(rows))
    while new := {one.id for one in rows if one.parent in found} - found:
        found |= new
    return [one for one in oldest_first if one.id in found]


async def meant(row: RunRow, journal: Journal, selection: Selection) -> tuple[str, ...]:
    """The ids of the targets that are meant; none where that is all of them.

    Raises:
        NotStarted: nothing is selected.
    """
    if selection == EVERYTHING:
        return ()
    return tuple(target.id for target in some(await journal.targets(row.id), selection, "; nothing was sent"))


# -- one target -------------------------------------------------------------------------------------------------


class Story(Struct, frozen=True):
    """What is known of one target.

    Args:
        entries: the whole run's, as the journal has them.
        expected: when it is to be triggered and what it waits for; None unless it may still come.
        exit_code: the run's, as far as it has one.
        is_driven: whether a process is at work on the run.
    """

    run: str
    target: Target
    history: History
    entries: Sequence[Entry]
    at: float
    expected: Expected | None
    exit_code: int | None
    is_driven: bool = True


async def why(context: Context, name: str, run: str | None = None) -> Story:
    """The story of one target of a run, by default of the latest.

    Raises:
        UsageError: there is no such run or target, or the name fits several.
    """
    async with readable(context, run) as journal:
        row = await latest(journal, run)
        history = History(await journal.targets(row.id))
        entries: list[Entry] = []
        while batch := await journal.read(row.id, history.cursor):
            for entry in batch:
                history.add(entry.account, entry.seq, entry.at, entry.event)
            entries.extend(batch)
        wishes = await read_wishes(journal, row.id, history)
        entries += [Entry(COORDINATOR, 0, wish.at, wish) for wish in wishes]
        target, now = the_one(history.targets, name, row.id), context.now()
        may_come = row.driven and _may_come(history, target)
        foreseen = await _expected(journal, context, history, target, now) if may_come else None
    return Story(row.id, target, history, entries, now, foreseen, history.exit_code, row.driven)


def _may_come(history: History, target: Target) -> bool:
    """Whether a process drives the run and may still trigger the target."""
    is_waiting = history.of(target.id).phase is Phase.WAITING and not history.of(target.id).may_exist
    is_stopped = history.stopped is not None or target.account in history.accounts_stopped
    return is_waiting and not is_stopped and history.left_at is None


async def _expected(journal: Journal, context: Context, history: History, target: Target, now: float) -> Expected:
    declarations, times = await _known(journal, context, history)
    return expected(history, target, declarations, now, times)


async def _foretold(journal: Journal, context: Context, history: History, now: float) -> Sequence[tuple[float, float]]:
    declarations, times = await _known(journal, context, history)
    return foretold(history, declarations, now, times)


async def _known(journal: Journal, context: Context, history: History) -> tuple[Mapping[str, Declaration], Times]:
    """What a forecast of a run supposes: what its providers say of themselves, and how long builds took."""
    made = history.made
    assert made is not None  # noqa: S101  # a run that exists has been made
    accounts = accounts_in(made)
    declarations = {account.type: registry.declaration(account.type) for account in accounts.values()}
    return declarations, await times_in(journal, made.name, accounts, context)


def the_one(targets: Sequence[Target], name: str, run: str = "") -> Target:
    """The target that a person means: by its id, `repo@branch` or repo.

    Raises:
        UsageError: none, or several.
    """
    wanted = name.casefold()
    for rank in range(len(_names(targets[0])) if targets else 0):
        found = [target for target in targets if wanted in _names(target)[rank]]
        if len(found) == 1:
            return found[0]
        if found:
            shown = "\n".join(f"  {target.id}" for target in found[:NAMED])
            more = f"\n  ... and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
            raise UsageError(f"{len(found)} targets are called {name!r}; say which:\n{shown}{more}")
    from difflib import get_close_matches  # only when something is wrong

    near = get_close_matches(name, [target.id for target in targets[:5000]], n=1)
    hint = (
        f"; did you mean {near[0]!r}?"
        if near
        else f"; `orchestrator report{f' {run}' if run else ''} -o csv` lists them"
    )
    raise UsageError(f"this run has no target {name!r}{hint}")


def _names(target: Target) -> tuple[tuple[str, ...], ...]:
    """What a target may be called, the surest first."""
    id_, repo = target.id.casefold(), target.repo.casefold()
    rest = id_.partition(":")[2]
    refs = (rest.partition("#")[0], f"{repo}@{target.branch}".casefold())  # `#NAME` stands only after an account
    return (id_,), refs, (rest,), (repo, f"{target.account}:{repo}", repo.rpartition("/")[2])
