"""The journal in memory: the whole port without files and threads, for virtual time and for simulated crashes.

A `Disk` is what survives; a `MemoryJournal` is one process's way to it. Several may share a disk, and each can be made
to die: from then on every method of it fails, as nothing runs in a process after kill -9.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import anyio.lowlevel

from orchestrator.core.errors import JournalError
from orchestrator.core.events import Claimed, Event, RunEnded, RunMade, Wish, target_of
from orchestrator.core.frozen import replace
from orchestrator.core.model import COORDINATOR, Target
from orchestrator.journal.lease import Hold, held_by_another, taken_over
from orchestrator.journal.port import (
    ASK_AGAIN,
    AccountMemory,
    Cursor,
    Entry,
    Lease,
    Overlap,
    Process,
    Reserved,
    RunRow,
    SharedLimit,
    UsageRecord,
    room_at,
)
from orchestrator.journal.usage import PRUNE_EVERY, STAMPS_FOR


class Crash(BaseException):
    """The simulated death of the process. Not an `Exception`: nobody handles his own death."""


@dataclass(slots=True)
class Stream:
    """The entries of one stream and its lease; `owner` is the journal through which it was claimed."""

    entries: list[Entry] = field(default_factory=list)
    hold: Hold = field(default_factory=Hold)
    owner: MemoryJournal | None = None


@dataclass(slots=True)
class Run:
    """A run and all that belongs to it."""

    row: RunRow
    targets: tuple[Target, ...]
    streams: dict[str, Stream] = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    ids: frozenset[str] = frozenset()


@dataclass(slots=True)
class Disk:
    """What survives a crash."""

    runs: dict[str, Run] = field(default_factory=dict)
    stamps: dict[int, UsageRecord] = field(default_factory=dict)
    stamped: int = 0
    pruned_at: float = 0.0
    boots: dict[str, float] = field(default_factory=dict)
    holders: dict[int, MemoryJournal] = field(default_factory=dict)
    memories: dict[str, AccountMemory] = field(default_factory=dict)
    writes: int = 0


class MemoryJournal:
    """One process's way to a disk.

    Args:
        disk: shared with others, or what a dead process left; a new one by default.
        dies_at: the append, counted from 0, at which this process dies.
        dies_before: whether it dies before that append is written, or after.
        now: the state's clock; only `runs` asks it. Time 0 by default: then no lease is ever over for `runs`.
    """

    def __init__(
        self,
        disk: Disk | None = None,
        dies_at: int | None = None,
        *,
        dies_before: bool = False,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.disk = Disk() if disk is None else disk
        self.appends = 0
        self.is_dead = False
        self.is_proven_dead = False
        self._dies_at = dies_at
        self._dies_before = dies_before
        self._now = now
        self._settled: dict[int, float | None] = {}
        self._own_writes = 0
        self._others_seen = self.disk.writes

    def kill(self, *, proven: bool = True) -> None:
        """Dies: every later call fails with `Crash`.

        Args:
            proven: whether others can prove the death, so that they need not wait for the lease to end.
        """
        self.is_dead = True
        self.is_proven_dead = proven

    def entries(self, run: str) -> list[Entry]:
        """All entries of a run, stream by stream; for assertions."""
        return [entry for stream in self.disk.runs[run].streams.values() for entry in stream.entries]

    async def make_run(
        self, run: str, made: RunMade, targets: Sequence[Target], at: float, forbid_overlap: bool = True
    ) -> Sequence[Overlap]:
        """See `Journal.make_run`."""
        await self._step_to_write()
        if run in self.disk.runs:
            raise JournalError(f"run {run} exists already; go on with `orchestrator resume {run}`, or take another id")
        overlaps = self._overlaps({target.id for target in targets})
        if overlaps and forbid_overlap:
            return overlaps
        row = RunRow(run, made.name, at, len(targets), parent=made.parent)
        made_of = {COORDINATOR: Stream([Entry(COORDINATOR, 1, at, made)])}
        self.disk.runs[run] = Run(row, tuple(targets), made_of, ids=frozenset(target.id for target in targets))
        return overlaps

    async def append(self, lease: Lease, events: Sequence[Event], at: float) -> None:
        """See `Journal.append`."""
        await self._step_to_write()
        number, self.appends = self.appends, self.appends + 1
        if number == self._dies_at and self._dies_before:
            self._die()
        self._write(lease, events, at)
        if number == self._dies_at:
            self._die()

    async def wish(self, run: str, wish: Wish) -> None:
        """See `Journal.wish`."""
        await self._step_to_write()
        self._run(run).wishes.append(wish)

    async def wishes(self, run: str, after: int = 0) -> Sequence[tuple[int, Wish]]:
        """See `Journal.wishes`."""
        await self._step()
        return list(enumerate(self._run(run).wishes, start=1))[after:]

    async def read(self, run: str, after: Cursor, at_most: int = 10_000) -> Sequence[Entry]:
        """See `Journal.read`."""
        await self._step()
        found: list[Entry] = []
        for account, stream in self._run(run).streams.items():
            seen = after.get(account, 0)
            found += stream.entries[seen : seen + at_most - len(found)]
        return found

    async def targets(self, run: str) -> Sequence[Target]:
        """See `Journal.targets`."""
        await self._step()
        return self._run(run).targets

    async def runs(self, prefix: str = "", open_only: bool = False) -> Sequence[RunRow]:
        """See `Journal.runs`."""
        await self._step()
        found = [
            replace(run.row, driven=self._is_driven(run))
            for run in self.disk.runs.values()
            if run.row.id.startswith(prefix) and not (open_only and run.row.ended_at is not None)
        ]
        return sorted(found, key=lambda row: (row.made_at, row.id), reverse=True)

    async def claim(self, run: str, account: str, process: Process, now: float, lease_for: float) -> Lease:
        """See `Journal.claim`. A holder is proven dead when its journal was killed so, whatever `process` says."""
        await self._step_to_write()
        known = self._run(run)
        stream = known.streams.setdefault(account, Stream())
        before = stream.hold
        if self._is_held(stream, now):
            raise held_by_another(run, account, before, now)
        stream.hold, stream.owner = before.taken(process, now, lease_for), self
        lease = Lease(run, account, stream.hold.epoch, before.last_alive(now))
        self._write(lease, [Claimed(lease.epoch, process.host, process.pid)], now)
        return lease

    async def renew(self, leases: Sequence[Lease], now: float, lease_for: float) -> None:
        """See `Journal.renew`."""
        await self._step_to_write()
        lost = [lease for lease in leases if not self._is_current(lease)]
        for lease in leases:
            if lease not in lost:
                stream = self._stream(lease)
                stream.hold = stream.hold.renewed(now, lease_for)
        if lost:
            raise taken_over(lost[0].run, lost[0].account)

    async def release(self, leases: Sequence[Lease]) -> None:
        """See `Journal.release`."""
        await self._step_to_write()
        for lease in leases:
            if self._is_current(lease):
                stream = self._stream(lease)
                stream.hold = stream.hold.given_back()

    async def clock(self, boot: str, up: float, wall: float) -> float:
        """See `Journal.clock`."""
        await self._step_to_write()
        if not boot:
            return wall - up
        if boot not in self.disk.boots:
            self.disk.boots[boot] = wall - up
            stamps = self.disk.stamps
            self.disk.stamps = {key: replace(s, at=min(wall, s.at + s.per)) for key, s in stamps.items()}
        return self.disk.boots[boot]

    async def record_usage(self, records: Sequence[UsageRecord]) -> Sequence[int]:
        """See `Journal.record_usage`."""
        await self._step_to_write()
        return self._stamp(records)

    async def reserve(self, principal: str, shares: Sequence[SharedLimit], at: float, until: float) -> Reserved:
        """See `Journal.reserve`."""
        await self._step_to_write()
        longest, name = 0.0, ""
        for share in shares:
            mine = (principal, share.name, share.scope)
            if share.while_alive:
                if not longest and self._held(mine, at) >= share.calls:
                    longest, name = ASK_AGAIN, share.name
                continue
            since = at - share.per  # older ones have made room; most are, and there are many
            recent = [s for s in self.disk.stamps.values() if s.at > since and s.scope == share.scope]
            times = sorted(s.at for s in recent if (s.principal, s.name, s.scope) == mine)
            last = times[-share.calls] if len(times) >= share.calls else None
            if (delay := room_at(last, share, at)) > longest:
                longest, name = delay, share.name
        if longest:
            return Reserved(longest, name)
        keys = self._stamp([UsageRecord(principal, share.name, share.scope, until, share.per) for share in shares])
        self.disk.holders |= {key: self for key, share in zip(keys, shares, strict=True) if share.while_alive}
        return Reserved(0.0, "", keys)

    def _held(self, which: tuple[str, str, str], at: float) -> int:
        """Calls under way of processes that may be alive."""
        under_way = [k for k, s in self.disk.stamps.items() if s.at > at and (s.principal, s.name, s.scope) == which]
        holders = self.disk.holders
        return sum(not (key in holders and holders[key].is_proven_dead) for key in under_way)

    def settle(self, keys: Sequence[int], at: float | None) -> None:
        """See `Journal.settle`. It reaches the disk with the next write, as in a file."""
        self._settled.update(dict.fromkeys(keys, at))

    async def usage(self, principal: str, since: float) -> Sequence[UsageRecord]:
        """See `Journal.usage`."""
        await self._step()
        found = [stamp for stamp in self.disk.stamps.values() if stamp.principal == principal and stamp.at >= since]
        return sorted(found, key=lambda stamp: stamp.at)

    async def remember(
        self, principal: str, *, marker_proven: bool = False, frozen: Mapping[str, float] = {}, alias: str = ""
    ) -> None:
        """See `Journal.remember`."""
        await self._step_to_write()
        known = self.disk.memories.get(principal, AccountMemory())
        self.disk.memories[principal] = AccountMemory(
            known.marker_proven or marker_proven, {**known.frozen, **frozen}, alias or known.alias
        )

    async def memory(self, principal: str) -> AccountMemory:
        """See `Journal.memory`."""
        await self._step()
        return self.disk.memories.get(principal, AccountMemory())

    async def changed_by_others(self) -> bool:
        """See `Journal.changed_by_others`."""
        await self._step()
        before, self._others_seen = self._others_seen, self.disk.writes - self._own_writes
        return before != self._others_seen

    async def drop_runs(self, runs: Collection[str]) -> int:
        """See `Journal.drop_runs`."""
        await self._step_to_write()
        ended = [
            run for run in dict.fromkeys(runs) if run in self.disk.runs and self._run(run).row.ended_at is not None
        ]
        for run in ended:
            del self.disk.runs[run]
        return len(ended)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _step(self) -> None:
        """Lets others run first, as a real journal does; nothing happens in a dead process."""
        await anyio.lowlevel.checkpoint()
        if self.is_dead:
            raise Crash

    async def _step_to_write(self) -> None:
        await self._step()
        self.disk.writes += 1
        self._own_writes += 1
        for key, at in self._settled.items():
            stamp = self.disk.stamps.pop(key, None)
            if stamp is not None and at is not None:
                self.disk.stamps[key] = replace(stamp, at=at)
        self._settled.clear()

    def _stamp(self, stamps: Sequence[UsageRecord]) -> Sequence[int]:
        disk = self.disk
        keys = range(disk.stamped, disk.stamped + len(stamps))
        disk.stamped += len(stamps)
        disk.stamps.update(zip(keys, stamps, strict=True))
        newest = max((stamp.at for stamp in stamps), default=0.0)
        if newest - disk.pruned_at >= PRUNE_EVERY:
            disk.pruned_at = newest
            disk.stamps = {key: stamp for key, stamp in disk.stamps.items() if stamp.at >= newest - STAMPS_FOR}
        return keys

    def _die(self) -> None:
        self.kill()
        raise Crash

    def _run(self, run: str) -> Run:
        if run not in self.disk.runs:
            raise JournalError(f"the state has no run {run}; `orchestrator runs` lists those that there are")
        return self.disk.runs[run]

    def _stream(self, lease: Lease) -> Stream:
        return self.disk.runs[lease.run].streams[lease.account]

    def _is_current(self, lease: Lease) -> bool:
        run = self.disk.runs.get(lease.run)
        return run is not None and lease.account in run.streams and self._stream(lease).hold.epoch == lease.epoch

    def _write(self, lease: Lease, events: Sequence[Event], at: float) -> None:
        if not self._is_current(lease):
            raise taken_over(lease.run, lease.account)
        run, entries = self.disk.runs[lease.run], self._stream(lease).entries
        for event in events:
            if (target := target_of(event)) is not None and target not in run.ids:
                raise JournalError(f"run {lease.run} has no target {target}")
        for event in events:
            entries.append(Entry(lease.account, len(entries) + 1, at, event))
            if lease.account == COORDINATOR:
                run.row = _row_after(run.row, event, at)

    def _is_held(self, stream: Stream, now: float) -> bool:
        return stream.hold.is_held(now, lambda _: stream.owner is not None and stream.owner.is_proven_dead)

    def _is_driven(self, run: Run) -> bool:
        now = self._now()
        return any(self._is_held(stream, now) for stream in run.streams.values())

    def _overlaps(self, wanted: set[str]) -> list[Overlap]:
        return [
            Overlap(run.row.id, target.id)
            for run in self.disk.runs.values()
            if run.row.ended_at is None
            for target in run.targets
            if target.id in wanted
        ]


def _row_after(row: RunRow, event: Event, at: float) -> RunRow:
    match event:
        case RunEnded(exit_code=code):
            return replace(row, ended_at=at, exit_code=code)
        case Claimed():
            return replace(row, ended_at=None, exit_code=None)
        case _:
            return row
