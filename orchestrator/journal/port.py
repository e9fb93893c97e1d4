"""The journal port: durable, append-only events of all runs, leases on them, and the usage of shared limits.

Facts are numbered densely within a stream: (run, account), or (run, COORDINATOR) for what concerns the whole run.
Only the holder of a stream's lease appends facts to it; anybody may append wishes. Nothing here is SQL, so that
another database can stand behind the same port.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from orchestrator.core.events import Event, RunMade, Wish
from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import Scope, Target
from orchestrator.core.options import Pace
from orchestrator.journal.outcomes import Known


class Entry(Struct, frozen=True):
    """One event as it stands in the journal.

    Args:
        account: names the stream; COORDINATOR for the run's own.
        seq: 1, 2, 3, ... within the stream.
        at: when it was written, by the writer's wall clock.
    """

    account: str
    seq: int
    at: float
    event: Event


Cursor = Mapping[str, int]
"""For each stream, the number of the last entry that was read; a missing stream starts at its beginning."""


class Process(Struct, frozen=True):
    """The identity of a process: enough to prove on the same machine that it is dead.

    Args:
        host: the machine's name.
        boot: an id of the machine's current boot, empty where there is none.
        started: the process's start, in the kernel's own count, so that a reused pid is told apart.
    """

    host: str
    boot: str
    pid: int
    started: str


class Incarnation(Struct, frozen=True):
    """One life of a process in the state. All its leases rest on it, and one heartbeat keeps them all.

    Once it has expired it never comes back.

    Args:
        lease_for: seconds for which it lives without a heartbeat.
        onlooker: whether it leaves the run to whoever wants to drive it.
        pace: what it was told to keep to.
    """

    id: str
    process: Process
    lease_for: float
    onlooker: bool = False
    pace: Pace = Pace()


class Lease(Struct, frozen=True):
    """The right to append to one stream.

    Args:
        epoch: higher than every earlier one of this stream; travels with each append.
        last_alive: the latest instant at which an earlier holder can have sent a call (the state's clock); None when
            there was none.
    """

    run: str
    account: str
    epoch: int
    last_alive: float | None = None


class RunRow(Struct, frozen=True):
    """A run at a glance, for lists.

    Args:
        ended_at: when `run_ended` was written, None while the run is open.
        driven: whether a live process holds the lease.
    """

    id: str
    name: str
    made_at: float
    targets: int
    ended_at: float | None = None
    exit_code: int | None = None
    driven: bool = False
    parent: str | None = None


class Overlap(Struct, frozen=True):
    """A target that another open run holds."""

    run: str
    target: str


class UsageRecord(Struct, frozen=True):
    """A call that counts against a limit of a principal.

    Args:
        principal: whom the provider counts.
        name: the limit's name.
        scope: where it is counted.
        at: when it was answered; before that is known, the latest instant at which the provider can come to count it
            (the state's clock).
        per: the limit's period in seconds: how long the call counts, and how much caution it takes once the machine
            has booted anew.
        holder: the process with whose death it ends; empty where it outlives that.
    """

    principal: str
    name: str
    scope: Scope
    at: float
    per: float = 3600.0
    holder: str = ""


class SharedLimit(Struct, frozen=True):
    """A limit as several processes share it: so many calls in so many seconds.

    Args:
        while_alive: a call counts only until it is answered, and not at all once its process is proven dead.
    """

    name: str
    scope: Scope
    calls: int
    per: float
    while_alive: bool = False


class Reserved(Struct, frozen=True):
    """What came of a wish for permits.

    Args:
        delay: zero when they were taken; else the seconds until it makes sense to ask again.
        name: the limit that has no room.
        keys: the usage records, in the order of the limits, for `settle`.
    """

    delay: float
    name: str = ""
    keys: Sequence[int] = ()


class AccountMemory(Struct, frozen=True):
    """What all runs together know of a principal.

    Args:
        marker_proven: whether a known request was ever seen to carry its marker.
        frozen: scope to wall clock until which it is to be left alone.
        alias: of the hash of a token, the principal that the provider once named for it; empty where it never did.
        usage: its calls, of all runs, oldest first.
    """

    marker_proven: bool = False
    frozen: Mapping[Scope, float] = field(default_factory=dict)
    alias: str = ""
    usage: Sequence[UsageRecord] = ()


class Journal(Protocol):
    """Where facts live. Every method may fail with `JournalError`.

    Leases and usage records go by the state's own clock, which never steps: see `clock`.
    """

    async def clock(self, boot: str, up: float, wall: float) -> float:
        """What to add to the seconds since the machine's boot to get the state's clock, the same for every process.

        The first process of a boot sets it, by the wall clock as it then is; no later step of the wall clock moves
        it. Usage records of another boot, or machine, can be compared with it only by the wall clock: from then on they
        count for a full period more.

        Args:
            boot: an id of the boot; empty where there is none, then nothing is remembered.
            up: seconds since that boot, now.
            wall: the wall clock, now.
        """

    async def make_run(
        self,
        run: str,
        made: RunMade,
        targets: Sequence[Target],
        at: float,
        forbid_overlap: bool = True,
        names: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Sequence[Overlap]:
        """Makes a run with its targets, durably, unless an open run holds one of them.

        Args:
            names: for open runs, by what ids each of them knows which of these targets; a run that is not there knows
                them by their own.

        Returns:
            The overlaps; when there are any and they are forbidden, no run was made.

        Raises:
            JournalError: a run of this id exists.
        """

    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> Sequence[Entry]:
        """Appends facts to the lease's stream; returns when they are durable. Appends that wait together share a sync.

        Returns:
            The entries as they stand in the journal now, in the order given.

        Raises:
            LeaseLost: a newer epoch exists; nothing of the batch was written.
        """

    async def wish(self, run: str, wish: Wish) -> None:
        """Appends a wish; anybody may."""

    async def wishes(self, run: str, after: int = 0) -> Sequence[tuple[int, Wish]]:
        """The wishes with a number above `after`, oldest first."""

    async def read(self, run: str, after: Cursor, at_most: int = 10_000) -> Sequence[Entry]:
        """Entries behind the cursor, ordered within each stream; empty when there are none."""

    async def targets(self, run: str) -> Sequence[Target]:
        """The run's targets in plan order."""

    async def having(self, name: str) -> Sequence[tuple[str, str]]:
        """Ids and names of the runs with a target in whose id or repository this text stands, newest first."""

    async def read_target(self, run: str, target: str) -> Sequence[Entry]:
        """All entries of a run that are about one of its targets, ordered within each stream."""

    async def runs(self, prefix: str = "", open_only: bool = False) -> Sequence[RunRow]:
        """Runs whose id starts with `prefix`, newest first."""

    def register(self, process: Process, lease_for: float) -> Incarnation:
        """A new incarnation of a process, written with its first claim."""

    async def claim(self, run: str, accounts: Sequence[str], by: Incarnation, now: float) -> Sequence[Lease]:
        """Takes the leases on these streams of a run, all or none. Also a heartbeat.

        A lease is to be had when it is free, over, or its holder is proven dead on this machine.

        Raises:
            LeaseLost: a live process holds one, or the incarnation has expired.
        """

    async def renew(self, by: Incarnation, now: float) -> None:
        """Heartbeat, once for all leases of the incarnation.

        Where it has expired, a new one takes its place and those of its leases that no other process has claimed: they
        go on under their epochs, since nothing was written in between.

        Raises:
            LeaseLost: at least one was taken over; the others are renewed.
        """

    async def release(self, leases: Sequence[Lease]) -> None:
        """Gives leases back; losing one before is no error."""

    async def record_usage(self, records: Sequence[UsageRecord]) -> Sequence[int]:
        """Remembers calls for other processes and later runs. Not durable by itself: the next append is.

        Returns:
            A key for each, for `settle`.
        """

    async def reserve(self, principal: str, limits: Sequence[SharedLimit], at: float, until: float) -> Reserved:
        """Records one call for each of the limits, if all of them have room, counting the calls of all processes.

        Args:
            at: now.
            until: the latest instant at which the provider can come to count the call.
        """

    def settle(self, keys: Sequence[int], at: float | None) -> None:
        """Tells when calls that were recorded can last have been counted; None when they count nowhere.

        Not durable by itself: the next append is.
        """

    async def remember(
        self, principal: str, *, marker_proven: bool = False, frozen: Mapping[Scope, float] = {}, alias: str = ""
    ) -> None:
        """Adds to what all runs know of a principal."""

    async def memory(self, principal: str, since: float = math.inf) -> AccountMemory:
        """What all runs know of a principal, and of its alias.

        Args:
            since: from when on its calls are wanted, by the state's clock.
        """

    async def changed_by_others(self) -> bool:
        """Whether anybody else wrote since this was last asked (or since the start); cheap."""

    async def outcomes(self, wanted: Collection[str] | None = None) -> Mapping[str, Sequence[Known]]:
        """How targets ended in runs that were deleted, or left out of an export, by what tells each apart.

        Args:
            wanted: what tells those apart that are wanted; None: all.
        """

    async def drop_runs(self, runs: Collection[str]) -> int:
        """Deletes ended runs, but how their targets ended; returns how many."""

    async def aclose(self) -> None:
        """Closes files. What was acknowledged is durable already."""
