"""The arithmetic of leases, apart from where they are kept: who may take one, and what a new holder must assume.

A lease is a holder: an incarnation of a process, of which the state has one row. Times are of the state's clock,
handed in. A process renews its incarnation every third of its lease at the latest, and sends nothing once its last
heartbeat is older than that: so between two heartbeats there is room for two missed ones before the lease is over, and
no process that lost the lease can still be sending.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.core.errors import LeaseLost
from orchestrator.core.frozen import Struct
from orchestrator.core.model import COORDINATOR
from orchestrator.journal.port import Process

SENDS_FOR = 1 / 3  # of the lease, counted from the last heartbeat


class Hold(Struct, frozen=True):
    """What the journal knows of the lease on one stream.

    Args:
        epoch: of the last claim; 0 before the first.
        sent_until: where it was given back, the latest instant at which its holder can have sent a call.
        incarnation: the holder's, empty where it was given back; what follows is of that.
        heartbeat: when it was registered or last renewed.
        lease_for: seconds, as its process wanted it.
        has_ended: whether it is over whatever the clock says.
    """

    epoch: int = 0
    sent_until: float | None = None
    incarnation: str = ""
    process: Process | None = None
    heartbeat: float = 0.0
    lease_for: float = 0.0
    has_ended: bool = False

    @property
    def over_at(self) -> float:
        """When it ends unless it is renewed."""
        return self.heartbeat + self.lease_for

    def is_over(self, now: float) -> bool:
        """Whether another process may take it: it has no holder, or has expired."""
        return self.process is None or self.has_ended or now >= self.over_at

    def is_held(self, now: float, is_dead: Callable[[Process], bool]) -> bool:
        """Whether a process that may be alive holds it."""
        return self.process is not None and not self.is_over(now) and not is_dead(self.process)

    def last_alive(self, now: float) -> float | None:
        """The latest instant at which an earlier holder can have sent a call; None when there was none.

        A third of the lease after its last heartbeat, at most now. That is safe, since an engine sends nothing once
        its last heartbeat is older than this, alive or stalled; and one that gave the lease back sent nothing after.
        """
        if not self.epoch:
            return None
        alive = self.heartbeat + self.lease_for * SENDS_FOR if self.process is not None else self.sent_until
        return now if alive is None else min(now, alive)


def stream_name(run: str, account: str) -> str:
    """A stream in a message for a person."""
    return f"run {run}" if account == COORDINATOR else f"run {run}, account {account}"


def held_by_another(run: str, account: str, hold: Hold, now: float) -> LeaseLost:
    """The error of a claim that came while a live process holds the lease."""
    who = f"process {hold.process.pid} on {hold.process.host}" if hold.process else "another process"
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


def expired(run: str, account: str) -> LeaseLost:
    """The error of a process that gave no sign of life for longer than its leases last."""
    return LeaseLost(f"{stream_name(run, account)}: this process stood still for too long; `orchestrator resume {run}`")
