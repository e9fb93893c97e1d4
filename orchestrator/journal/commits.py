"""Group commit: appends that wait together are one transaction and one sync.

The first that comes leads: it lets others join while they still do, then has all written. A batch is in the group as a
whole from the moment it is handed in, so it is written wholly even if its appender was canceled meanwhile, and where
the leader is canceled another one of the group leads.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from orchestrator.core.errors import JournalError
from orchestrator.core.events import Event
from orchestrator.core.frozen import Struct
from orchestrator.journal.port import Entry, UsageRecord
from orchestrator.journal.sql import NO_NEWS, NOT_COUNTED, Row, UsageNews

JOINING = 4  # turns of the loop, at most, in which others may join
BROKEN_OFF = "the commit was broken off; start again with `orchestrator resume`"


class Stream(Struct, eq=False):
    """A stream in the state: its number, its run's, and how many entries its holder has written."""

    num: int
    run_num: int
    run: str
    account: str
    seq: int


class Batch(Struct, eq=False):
    """Events of one append, and as rows without their numbers.

    Args:
        epoch: of the appender's lease; checked when it is written.
        ended: when and with which exit code these events end the run, if they do.
        entries: what was written.
        error: why nothing was.
    """

    stream: Stream
    epoch: int
    at: float
    events: Sequence[Event]
    rows: Sequence[Row]
    ended: tuple[float, int] | None
    entries: Sequence[Entry] | None = None
    error: JournalError | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of it."""
        return self.entries is not None or self.error is not None

    def written(self, first: int) -> None:
        """It is durable, from that number on."""
        account, at = self.stream.account, self.at
        self.entries = [Entry(account, seq, at, event) for seq, event in enumerate(self.events, first)]


class Group:
    """Batches that are committed together."""

    __slots__ = ("_turn", "batches", "has_leader")

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.has_leader = False
        self._turn: anyio.Event | None = None

    def fail(self, why: str) -> None:
        """Marks the open batches as not written."""
        for batch in self.batches:
            if not batch.is_settled:
                batch.error = JournalError(why)

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of all of them."""
        return all(batch.is_settled for batch in self.batches)

    async def wait(self) -> None:
        """Returns at the next `pass_on`."""
        if self._turn is None:
            self._turn = anyio.Event()
        await self._turn.wait()

    def pass_on(self) -> None:
        """Wakes all who wait: their batches are settled, or one of them leads."""
        self.has_leader, turn, self._turn = False, self._turn, None
        if turn is not None:
            turn.set()


class Committer:
    """Takes batches and has them committed in groups.

    Args:
        commit: writes the batches that it gets from its argument as late as it can, and settles each; no scope's
            cancellation interrupts it.
    """

    def __init__(self, commit: Callable[[Callable[[], Sequence[Batch]]], Awaitable[None]]) -> None:
        self._commit = commit
        self._group: Group | None = None

    async def add(self, batch: Batch) -> Sequence[Entry]:
        """Returns when the batch is durable.

        Raises:
            JournalError: it was not written.
        """
        if self._group is None:
            await checkpoint_if_cancelled()  # the leader cannot be canceled below
        if self._group is None:
            self._group = Group()
        group = self._group
        group.batches.append(batch)
        while not batch.is_settled:
            if group.has_leader:
                await group.wait()
            else:
                await self._lead(group)
        if batch.error is not None:
            raise batch.error
        return batch.entries or ()

    async def _lead(self, group: Group) -> None:
        group.has_leader = True

        def take() -> Sequence[Batch]:
            self._close(group)
            return group.batches

        try:
            await self._gather(group)
            await self._commit(take)
        except JournalError as error:
            group.fail(str(error))
        except Exception:
            group.fail(BROKEN_OFF)
            raise
        finally:  # on a cancellation that no scope can hold off (asyncio's own `Task.cancel`) another one leads
            if group.is_settled:
                self._close(group)
            group.pass_on()

    def _close(self, group: Group) -> None:
        """The next batch starts another group."""
        if self._group is group:
            self._group = None

    async def _gather(self, group: Group) -> None:
        """Lets others join as long as they do."""
        joined = 0
        for _ in range(JOINING):
            await cancel_shielded_checkpoint()
            if len(group.batches) == joined:
                break
            joined = len(group.batches)


class Usage:
    """Records on their way to the database, and what became of earlier ones: they ride on the next write.

    Keys are given out here, from a random beginning, so that no other process gives out the same.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, UsageRecord] = {}
        self._settled: dict[int, float] = {}
        self._next = int.from_bytes(os.urandom(5), "big") << 22

    def keys(self, count: int) -> Sequence[int]:
        """Unused keys."""
        keys = range(self._next, self._next + count)
        self._next += count
        return keys

    def add(self, records: Sequence[UsageRecord]) -> Sequence[int]:
        """Takes records along; gives their keys."""
        keys = self.keys(len(records))
        self._waiting.update(zip(keys, records, strict=True))
        return keys

    def settle(self, keys: Sequence[int], at: float | None) -> None:
        """Takes along when calls were last counted."""
        self._settled.update(dict.fromkeys(keys, NOT_COUNTED if at is None else at))

    def of(self, principals: Collection[str], since: float) -> list[UsageRecord]:
        """The principals' records that are on their way."""
        return [one for one in self._waiting.values() if one.principal in principals and one.at >= since]

    def news(self) -> UsageNews:
        """What is to be written now; `written` when it is durable."""
        if not (self._waiting or self._settled):
            return NO_NEWS
        return UsageNews(list(self._waiting.items()), list(self._settled.items()))

    @contextmanager
    def riding(self) -> Iterator[Callable[[], UsageNews]]:
        """What a write takes along, asked for inside its transaction: until then another write may have taken it."""
        taken = NO_NEWS

        def take() -> UsageNews:
            nonlocal taken
            taken = self.news()
            return taken

        yield take
        self.written(taken)

    def written(self, news: UsageNews) -> None:
        """They are durable."""
        for key, _ in news.records:
            self._waiting.pop(key, None)
        for key, at in news.settled:
            if self._settled.get(key) == at:
                del self._settled[key]
