"""Which open runs hold the targets of a new one, and what becomes of runs that nobody drives any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from orchestrator.app.context import Context
from orchestrator.core.errors import NotStarted, UnknownEvents
from orchestrator.core.events import CANCELED, RunEnded, RunMade, Stopped
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import History, accounts_in, exit_code
from orchestrator.core.model import COORDINATOR, Account, Outcome, Target, marker_of
from orchestrator.core.options import RunOptions
from orchestrator.core.rollout import recounted
from orchestrator.engine.overlap import is_same
from orchestrator.engine.run import LEASE, Clocks, look_since
from orchestrator.journal.history import load, made_in, opened_in
from orchestrator.journal.port import Journal, Lease, Overlap, RunRow
from orchestrator.journal.process import this_process, up
from orchestrator.report.hints import Hint

Accounts: TypeAlias = Mapping[str, Account]

FORBID, ALLOW, SKIP, REPLACE = "forbid", "allow", "skip", "replace"
OVERLAPS = (FORBID, ALLOW, SKIP, REPLACE)
NAMED = 10


_CHOICES = (
    "; or start all the same with --overlap allow, skip (leave those out) or replace (cancel the other run first; one "
    "that nobody drives is only ended)"
)


class Held(NotStarted):
    """Other open runs hold targets of this one.

    Args:
        driven: whether a process is at work on the first of them: then it can only be waited for.
        chooses: whether the verb has `--overlap`.
    """

    def __init__(self, overlaps: Sequence[Overlap], *, driven: bool, chooses: bool = True) -> None:
        self.overlaps, self.driven, self.chooses = overlaps, driven, chooses
        finish = Hint("watch" if driven else "resume", overlaps[0].run)
        self.hints = (finish, Hint("cancel", overlaps[0].run))
        self._advice = "wait for it" if driven else "finish it"
        super().__init__(self.text())

    def text(self, suffix: str = "") -> str:
        """As every error has it."""
        finish, cancel = (hint.line(suffix) for hint in self.hints)
        return (
            f"{len(self.overlaps):,} of these targets belong to a run that is still open:\n{_listed(self.overlaps)}\n"
            f"{self._advice} ({finish}) or end it ({cancel})" + (_CHOICES if self.chooses else "")
        )


def _listed(overlaps: Sequence[Overlap]) -> str:
    lines = [f"  {one.target}  in {one.run}" for one in overlaps[:NAMED]]
    return "\n".join([*lines, f"  ... and {len(overlaps) - NAMED:,} more"] if len(overlaps) > NAMED else lines)


class Holder(Struct, frozen=True):
    """An open run; `names` are its ids of targets of a new run, each with the new one's own."""

    row: RunRow
    names: Mapping[str, str]


class Left(Struct, frozen=True):
    """A run that nobody drives; `names` as of `Holder`."""

    row: RunRow
    history: History
    names: Mapping[str, str] = {}

    def is_starting(self, now: float) -> bool:
        """Whether the process that made it has yet to take it up."""
        return not self.history.hosts and now < self.history.made_at + LEASE

    @property
    def holds_nothing(self) -> bool:
        """Whether none of its targets can have a build: nothing was sent, or it went with its sandbox."""
        return self.history.options.sandbox or not any(one.may_exist for one in self.history.progress.values())


async def holders(accounts: Accounts, targets: Sequence[Target], journal: Journal) -> Sequence[Holder]:
    """The open runs, with what each of them holds of these targets: nothing, where it is of another service."""
    return [Holder(row, await names_in(row, accounts, targets, journal)) for row in await journal.runs(open_only=True)]


async def names_in(row: RunRow, accounts: Accounts, targets: Sequence[Target], journal: Journal) -> dict[str, str]:
    """By what ids a run knows which of these targets: of the same service and user, whatever the account is called."""
    made = await made_in(journal, row.id)
    theirs, is_rehearsal = accounts_in(made), made is not None and made.options.sandbox
    found: dict[str, str] = {}
    for name, account in accounts.items():
        # each rehearsal has a service of its own, at a place of its own
        same = [it.name for it in theirs.values() if is_same(account, it) or (is_rehearsal and it.name == name)]
        mine = [target.id for target in targets if target.account == name]
        found |= {other + id_.removeprefix(name): id_ for other in same for id_ in mine}
    targets = await journal.targets(row.id) if found else ()
    is_cut = any(target.wave > 1 for target in targets)
    try:
        opened = {1, *(await opened_in(journal, row.id, theirs) if is_cut else ())}
    except UnknownEvents:  # of a newer version: it may hold them all
        opened = {target.wave for target in targets}
    known = {target.id for target in targets if target.wave in opened}  # nobody holds those of other waves
    return {id_: ours for id_, ours in found.items() if id_ in known}


async def _left(one: Holder, journal: Journal) -> Left | None:
    """What is known of it; None where a newer version wrote it, which alone can end it."""
    try:
        return Left(one.row, await load(journal, one.row.id), one.names)
    except UnknownEvents:
        return None


async def make_run(
    run: str,
    made: RunMade,
    targets: Sequence[Target],
    journal: Journal,
    now: float,
    overlap: str = FORBID,
    beside: Collection[str] = (),
) -> Sequence[Target]:
    """Makes the run in the journal; gives the targets that it really has.

    Args:
        overlap: `forbid` refuses to start, `allow` does not mind, `skip` leaves out what another open run holds.
        beside: open runs that hold nothing.

    Raises:
        Held: other open runs hold targets.
        NotStarted: other open runs hold every target.
        JournalError: there is a run of this id.
    """
    open_runs = [] if overlap == ALLOW else await holders(accounts_in(made), targets, journal)
    names = {one.row.id: {} if one.row.id in beside else one.names for one in open_runs}
    found = await journal.make_run(run, made, targets, now, forbid_overlap=overlap != ALLOW, names=names)
    if not found or overlap == ALLOW:
        return targets
    if overlap != SKIP:
        raise Held(found, driven=any(row.driven for row in await journal.runs(found[0].run) if row.id == found[0].run))
    rest = without(targets, {one.target for one in found})
    if not rest:
        raise NotStarted(f"--overlap skip: other open runs hold every target:\n{_listed(found)}")
    rest, waves = recounted(rest, made.waves)
    return await make_run(run, replace(made, waves=tuple(waves)), rest, journal, now, overlap, beside)


def without(targets: Sequence[Target], held: set[str]) -> Sequence[Target]:
    """The other targets; what needs one that was left out no longer waits for it."""
    return [
        replace(target, needs=tuple(need for need in target.needs if need not in held))
        for target in targets
        if target.id not in held
    ]


# -- runs that nobody drives ------------------------------------------------------------------------------------


async def make_instead(
    run: str,
    made: RunMade,
    targets: Sequence[Target],
    journal: Journal,
    context: Context,
    overlap: str = FORBID,
    replaces: Sequence[RunRow] = (),
) -> tuple[Sequence[Target], Sequence[str]]:
    """As `make_run`; open runs that nobody drives are ended where they hold nothing, or are to be replaced.

    What they left in doubt the new run looks for before it triggers those targets. Nobody can go on with them from the
    moment at which the new run is made.

    Args:
        replaces: runs that were canceled for this one: what they left in doubt is looked for, too.

    Returns:
        The targets that the run really has, and the ids of those that were ended for it.
    """
    accounts = accounts_in(made)
    found = [] if overlap == ALLOW else [one for one in await holders(accounts, targets, journal) if one.names]
    rows = [one.row for one in found]
    lefts = [left for one in found if not one.row.driven and (left := await _left(one, journal)) is not None]
    lefts = [left for left in lefts if not left.is_starting(context.now())]
    gone = [one for one in lefts if one.row.id != made.parent and (overlap == REPLACE or one.holds_nothing)]
    # each rehearsal has a world of its own, and a retry has only what its parent has done with
    others = {row.id for row in rows if context.sandbox or row.id == made.parent}
    ids = {one.row.id for one in gone}
    before = [
        Left(row, await load(journal, row.id), await names_in(row, accounts, targets, journal))
        for row in replaces
        if row.id not in ids
    ]
    made = replace(made, options=looking_for([*gone, *before], made.options))
    is_blocked = overlap != SKIP and not all(row.id in others or row.id in ids for row in rows)
    leases = [] if is_blocked else await _claim(gone, journal, context)
    try:
        kept = await make_run(run, made, targets, journal, context.now(), overlap, ids | others)
        for left, lease in zip(gone, leases, strict=not is_blocked):
            await _end(left, lease, f"nobody drove it, and run {run} took its place", journal, context)
    finally:
        await journal.release(leases)
    return kept, sorted(ids)


async def _claim(lefts: Sequence[Left], journal: Journal, context: Context) -> list[Lease]:
    """Takes the runs, so that nobody goes on with them meanwhile.

    Raises:
        LeaseLost: somebody has begun to.
    """
    if not lefts:
        return []
    clocks = await Clocks.read(journal, this_process(), context.now, context.ticks, context.up or up)
    by = journal.register(this_process(), LEASE)
    claimed = [await journal.claim(left.row.id, [COORDINATOR], by, clocks.steady()) for left in lefts]
    return [lease for leases in claimed for lease in leases]


async def end(left: Left, why: str, journal: Journal, context: Context) -> None:
    """Ends a run of which nothing is left to do.

    Raises:
        LeaseLost: a process drives it.
    """
    leases = await _claim([left], journal, context)
    try:
        await _end(left, leases[0], why, journal, context)
    finally:
        await journal.release(leases)


async def _end(left: Left, lease: Lease, why: str, journal: Journal, context: Context) -> None:
    stopped = Stopped(CANCELED, why)
    left.history.stopped, left.history.interrupted = stopped, None
    code = exit_code(left.history, left.history.options.failures)
    await journal.append(lease, [stopped, RunEnded(int(code))], context.now())


def looking_for(lefts: Sequence[Left], options: RunOptions) -> RunOptions:
    """The options of a run that also looks for what these runs may have asked for without knowing it."""
    found, since = dict(options.look_for), [] if options.look_since is None else [options.look_since]
    for left in lefts:  # the newest first
        old = [(target, left.names[target.id]) for target in left.history.targets if target.id in left.names]
        markers = {id_: m for one, id_ in old if (m := old_marker(left.history, left.row.id, one)) is not None}
        found = {**markers, **found}
        since += [look_since(left.history)] if markers else []
    return replace(options, look_for=found, look_since=min(since, default=None))


def old_marker(history: History, run: str, target: Target) -> str | None:
    """What an earlier trigger of the target may have carried; None where it is known that none is open."""
    progress, made = history.of(target.id), history.made
    if progress.asked_at is not None or made is None:
        return progress.marker
    if progress.request is not None or (progress.verdict and progress.verdict.outcome is not Outcome.IN_DOUBT):
        return None
    if target.id in made.options.look_for:
        return made.options.look_for[target.id]  # that run did not come to know, either
    is_unknown = made.options.adopt or len(history.hosts) > 1
    return marker_of(made.name, run, target.id) if is_unknown and target.marked else None
