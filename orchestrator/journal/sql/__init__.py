"""What a database does for the journal: named operations over plain values, one file for each kind of database.

Everything that is the same for all of them (group commit, places of targets, words for errors) is in
`journal/store.py`; nothing outside this folder knows SQL. An operation is one transaction: when it returns it is
durable, and when it fails nothing of it was written. Times are of the state's clock, handed in; a database that several
machines share may use its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from orchestrator.core.errors import JournalError
from orchestrator.core.model import Scope
from orchestrator.journal.lease import Hold
from orchestrator.journal.outcomes import Known
from orchestrator.journal.port import AccountMemory, Cursor, Incarnation, Overlap, RunRow, SharedLimit, UsageRecord

RESTORE = (
    "Keep the file and those beside it for a look; then put a copy there that `runs --export` made and go on with "
    "`orchestrator resume`, or start with another --state and `run --run-id ID --adopt`: both look for what was "
    "triggered already"
)


def damaged(place: str, what: str) -> JournalError:
    """The error of a state whose rows are not what this program writes."""
    return JournalError(f"{place}: the state is damaged: {what}. {RESTORE}")


Row: TypeAlias = tuple[float, str, int | None, str]
"""An event: when, its kind, its target's place in the plan, its other fields as JSON."""


class Piece(NamedTuple):
    """What is appended to one stream under one epoch.

    Args:
        first: the number of the first row within the stream.
        ended: when and with which exit code these rows end the run, if they do.
    """

    stream: int
    run: int
    epoch: int
    first: int
    rows: Sequence[Row]
    ended: tuple[float, int] | None = None

    @property
    def last(self) -> int:
        """The number of the last row."""
        return self.first + len(self.rows) - 1


class UsageNews(NamedTuple):
    """What the database does not know yet: new records by key, and when known ones can last have been counted."""

    records: Sequence[tuple[int, UsageRecord]] = ()
    settled: Sequence[tuple[int, float]] = ()


NO_NEWS = UsageNews()
NOT_COUNTED = 0.0  # the time of a call that counts nowhere; its record goes with the next pruning


class Document(NamedTuple):
    """All that one append writes."""

    pieces: Sequence[Piece]
    usage: UsageNews


class Refused(JournalError):
    """An append of which some pieces do not continue their stream; nothing was written.

    Args:
        found: by position of the refused pieces, the stream's epoch and the number of its last row; (0, 0) where it
            was dropped.
    """

    def __init__(self, found: Mapping[int, tuple[int, int]]) -> None:
        super().__init__("an append was refused")
        self.found = found


class NoState(JournalError):
    """A server that is only to be read holds no state yet."""


class Granted(NamedTuple):
    """A claim that was granted: the stream's number and epoch, its last row's number, and the lease before."""

    stream: int
    epoch: int
    seq: int
    before: Hold


class InTheWay(NamedTuple):
    """A claim that was not granted: an account, and the lease on its stream."""

    account: str
    hold: Hold


class Dialect(Protocol):
    """One process's way to the state in a database."""

    @property
    def place(self) -> str:
        """Where the state is, for messages."""

    async def prepare(self) -> None:
        """Checks that the state is ours, and makes it or brings it to this version's shape; before anything else."""

    async def aclose(self) -> None:
        """Closes; what was written is durable already."""

    async def clock(self, boot: str) -> float | None:
        """When a boot began, None where no process has set it."""

    async def set_clock(self, boot: str, up: float, wall: float) -> float:
        """When a boot began: set now unless a process has. Then records of other boots count for one period more."""

    # -- runs ---------------------------------------------------------------------------------------------------

    async def make_run(
        self,
        run: RunRow,
        targets: Sequence[Sequence[Any]],
        parts: Mapping[int, str],
        made: Row,
        forbid_overlap: bool,
        names: Mapping[str, Mapping[str, str]],
    ) -> tuple[int, Sequence[Overlap]]:
        """Adds a run, its targets (`rows.Parts`), its own stream and that stream's first row.

        Returns:
            Its number, 0 when it was not made because of the overlaps with open runs; `names` as of
            `Journal.make_run`.

        Raises:
            JournalError: a run of this id exists.
        """

    async def run_number(self, run: str) -> int | None:
        """A run's number, None when there is no such run."""

    async def runs(self, prefix: str, open_only: bool) -> Sequence[tuple[RunRow, Sequence[Hold]]]:
        """Runs whose id starts so, newest first, each with its leases that are not given back."""

    async def targets(self, run: int) -> tuple[Sequence[Sequence[Any]], Mapping[int, str]]:
        """The rows and parts that `make_run` took."""

    async def having(self, name: str) -> Sequence[tuple[str, str]]:
        """As `Journal.having`; letters of ASCII in either case."""

    async def target_ids(self, run: int) -> Sequence[str]:
        """The ids of a run's targets in plan order."""

    async def outcomes(self, wanted: Collection[str] | None) -> Mapping[str, Sequence[Known]]:
        """What is kept of these targets of runs that were deleted, by what tells each apart; None: of all."""

    async def drop_runs(self, runs: Collection[str]) -> Sequence[str]:
        """Deletes those of the runs that have ended, but how their targets ended; gives their ids."""

    async def export(self, path: Path, runs: Collection[str] | None) -> None:
        """Copies the state, or some runs of it, into an SQLite file; overwrites nothing."""

    # -- events and wishes --------------------------------------------------------------------------------------

    async def append(self, take: Callable[[], Document]) -> None:
        """Writes a document. The cancellation of a scope does not interrupt it: others wait for the same document.

        Args:
            take: gives it, as soon as it can be written: appends that come while another process writes are in it.

        Raises:
            Refused: some pieces do not continue their stream under its epoch.
        """

    async def events(self, run: int, after: Cursor, at_most: int) -> Sequence[tuple[str, Sequence[tuple[Any, ...]]]]:
        """For each stream of the run its rows behind the cursor, each with its number before it; so many in all."""

    async def events_of(self, run: int, place: int) -> Sequence[tuple[str, Sequence[tuple[Any, ...]]]]:
        """As `events`, of all of the run those of the target at that place of the plan."""

    async def wish(self, run: int, kind: str, body: str) -> None:
        """Adds a wish behind the run's others."""

    async def wishes(self, run: int, after: int) -> Sequence[tuple[int, str, str]]:
        """Number, kind and body of the run's wishes behind a number."""

    # -- leases -------------------------------------------------------------------------------------------------

    async def claim(
        self,
        run: int,
        accounts: Sequence[str],
        by: Incarnation,
        now: float,
        fact: tuple[str, str],
        is_new: bool,
    ) -> Sequence[Granted] | InTheWay | None:
        """Gives all streams to an incarnation under their next epochs, or none; each is written as its next row.

        Args:
            fact: the row's body, before and after the epoch.
            is_new: the incarnation is to be added first, with its first heartbeat now.

        Returns:
            The lease that stands in the way, when its holder is alive; None when `by` itself has expired.
        """

    async def end(self, incarnation: str) -> None:
        """An incarnation whose process is proven dead: its leases are free from now on."""

    async def renew(
        self, by: str, heir: Incarnation, now: float, usage: Callable[[], UsageNews]
    ) -> tuple[str, Collection[int]]:
        """Heartbeat: one row for all streams.

        Args:
            heir: takes the streams that `by` still holds when that has expired.
            usage: asked for inside the transaction; until then another write may have taken it along.

        Returns:
            Which of the two lives now, and the streams that it holds.
        """

    async def release(self, streams: Sequence[tuple[int, int]]) -> None:
        """Frees streams (number, epoch); those with another epoch stay as they are."""

    # -- principals ---------------------------------------------------------------------------------------------

    async def reserve(
        self,
        principal: str,
        limits: Sequence[SharedLimit],
        records: Sequence[tuple[int, UsageRecord]],
        at: float,
        is_gone: Callable[[str], bool],
        usage: Callable[[], UsageNews],
    ) -> tuple[float, str]:
        """Writes the records if each limit has room for its one, counting those of all processes.

        Args:
            is_gone: whether the holder of a usage record is proven dead.
            usage: as of `renew`.

        Returns:
            Zero; else the seconds until it makes sense to ask again, and the name of the limit without room.
        """

    async def settle(self, usage: UsageNews) -> None:
        """Writes usage records and what became of earlier ones, if that is possible at once: the process leaves."""

    async def remember(self, principal: str, marker_proven: bool, frozen: Mapping[Scope, float], alias: str) -> None:
        """Adds to what is known of a principal; a proof stays, and of two freezes of a scope the longer."""

    async def memory(self, principal: str, since: float) -> AccountMemory:
        """What is known of a principal, and of its alias; its usage records from a time on in any order."""

    async def changed_by_others(self) -> bool:
        """Whether another process wrote since this was last asked; cheap. A guess in a shared database, never late."""
