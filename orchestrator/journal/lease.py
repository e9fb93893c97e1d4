"""The arithmetic of leases, apart from where they are kept: who may take one, and what a new holder must assume.

Times are of the state's clock, handed in. The holder renews every third of its lease at the latest, and sends nothing
once its last heartbeat is older than that: so between two heartbeats there is room for two missed ones before the lease
is over, and nobody who lost the lease can still be sending.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.core.errors import LeaseLost
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import COORDINATOR
from orchestrator.journal.port import Process

SENDS_FOR = 1 / 3  # of the lease, counted from the last heartbeat


class Hold(Struct, frozen=True):
    """What the journal knows of the lease on one stream.

    Args:
        epoch: of the last claim; 0 before the first.
        holder: None when it was given back.
        heartbeat: when it was claimed or last renewed.
        lease_for: seconds, as its holder wanted it.
    """

    epoch: int = 0
    holder: Process | None = None
    heartbeat: float = 0.0
    lease_for: float = 0.0

    @property
    def over_at(self) -> float:
        """When it ends unless it is renewed."""
        return self.heartbeat + self.lease_for

    def is_held(self, now: float, is_dead: Callable[[Process], bool]) -> bool:
        """Whether a process that may be alive holds it."""
        return self.holder is not None and now < self.over_at and not is_dead(self.holder)

    def last_alive(self, now: float) -> float | None:
        """The latest instant at which an earlier holder can have sent a call; None when there was none.

        A third of the lease after its last heartbeat, at most now. That is safe, since an engine sends nothing once
        its last heartbeat is older than this, alive or stalled; and one that gave the lease back sent nothing after.
        """
        return min(now, self.heartbeat + self.lease_for * SENDS_FOR) if self.epoch else None

    def taken(self, process: Process, now: float, lease_for: float) -> Hold:
        """The lease in the hands of a new holder, under the next epoch."""
        return Hold(self.epoch + 1, process, now, lease_for)

    def renewed(self, now: float, lease_for: float) -> Hold:
        """The lease after a heartbeat."""
        return replace(self, heartbeat=now, lease_for=lease_for)

    def given_back(self) -> Hold:
        """The lease without a holder; the epoch stays, so that the next one is higher."""
        return replace(self, holder=None)


def stream_name(run: str, account: str) -> str:
    """A stream in a message for a person."""
    return f"run {run}" if account == COORDINATOR else f"run {run}, account {account}"


def held_by_another(run: str, account: str, hold: Hold, now: float) -> LeaseLost:
    """The error of a claim that came while a live process holds the lease."""
    who = f"process {hold.holder.pid} on {hold.holder.host}" if hold.holder else "another process"
    return LeaseLost(
        f"{stream_name(run, account)} is driven by {who}; look on with `orchestrator watch {run}`, or wait: "
        f"without a sign of life its lease ends in {max(0.0, hold.over_at - now):.0f} s"
    )


def taken_over(run: str, account: str) -> LeaseLost:
    """The error of a process whose lease was taken over."""
    return LeaseLost(
        f"{stream_name(run, account)}: another process took over, so nothing more is sent from here; "
        f"look on with `orchestrator watch {run}`"
    )
