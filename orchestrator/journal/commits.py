"""Group commit: appends that wait together are one transaction and one sync.

The first that comes leads: it lets others join while they still do, then writes for all, on the event loop. A batch
is in the group as a whole from the moment it is handed in, so one whose appender was canceled meanwhile is still
written wholly, and a leader that is canceled first does what others wait for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from orchestrator.core.errors import JournalError

JOINING = 4  # turns of the loop, at most, in which others may join
BROKEN_OFF = "the commit was broken off; start again with `orchestrator resume`"

Row = tuple[float, int, int | None, str]
"""When, the kind's number, the target's place in the plan, the body."""


@dataclass(slots=True, eq=False)
class Stream:
    """A stream in the file: its number, its run's, and how many entries its holder has written."""

    num: int
    run_num: int
    run: str
    account: str
    seq: int


class Batch:
    """Events of one append, as rows without their numbers.

    Args:
        epoch: of the appender's lease; checked when it is written.
        ended: when and with which exit code these events end the run, if they do.
    """

    __slots__ = ("ended", "epoch", "error", "rows", "stream")

    def __init__(self, stream: Stream, epoch: int, rows: Sequence[Row], ended: tuple[float, int] | None) -> None:
        self.stream = stream
        self.epoch = epoch
        self.rows = rows
        self.ended = ended
        self.error: JournalError | None = None


class Group:
    """Batches that are committed together."""

    __slots__ = ("batches", "done", "is_written")

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.done = anyio.Event()
        self.is_written = False

    def fail(self, why: str) -> None:
        """Tells each that its batch was not written."""
        for batch in () if self.is_written else self.batches:
            batch.error = batch.error or JournalError(why)


class Committer:
    """Takes batches and has them committed in groups.

    Args:
        begin: starts a transaction; may wait.
        try_begin: starts one when that is possible at once.
        commit: writes the batches and ends the transaction, without awaiting; sets `error` of those that it refuses.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[None]],
        try_begin: Callable[[], bool],
        commit: Callable[[Sequence[Batch]], None],
    ) -> None:
        self._begin = begin
        self._try_begin = try_begin
        self._commit = commit
        self._group: Group | None = None

    async def add(self, batch: Batch) -> None:
        """Returns when the batch is durable.

        Raises:
            JournalError: it was not written.
        """
        if self._group is None:
            await checkpoint_if_cancelled()  # who leads cannot be canceled below
        group = self._group
        if group is None:
            group = self._group = Group()
            group.batches.append(batch)
            await self._lead(group)
        else:
            group.batches.append(batch)
            await group.done.wait()
        if batch.error is not None:
            raise batch.error

    async def _lead(self, group: Group) -> None:
        try:
            await self._gather(group)
            if not self._try_begin():
                with anyio.CancelScope(shield=True):
                    await self._begin()
            self._write(group)
        except JournalError as error:
            group.fail(str(error))
        except Exception:
            group.fail(BROKEN_OFF)
            raise
        except BaseException:  # a cancellation that no scope can hold off: asyncio's own `Task.cancel`
            self._write_at_once(group)
            raise
        finally:
            self._group = None
            group.done.set()

    async def _gather(self, group: Group) -> None:
        """Lets others join as long as they do."""
        joined = 0
        for _ in range(JOINING):
            await cancel_shielded_checkpoint()
            if len(group.batches) == joined:
                break
            joined = len(group.batches)

    def _write(self, group: Group) -> None:
        self._group = None  # whoever comes now starts the next group
        self._commit(group.batches)
        group.is_written = True

    def _write_at_once(self, group: Group) -> None:
        """Does what others wait for, unless that is what broke off."""
        if self._group is not group:
            group.fail(BROKEN_OFF)
            return
        try:
            if self._try_begin():
                self._write(group)
        except JournalError as error:
            group.fail(str(error))
        group.fail("the commit's leader was canceled while another process had the state locked")
