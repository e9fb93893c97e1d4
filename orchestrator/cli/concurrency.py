"""What `plan` says of the brake on the CI: whose builds wait for what, when it is quiet, whose share is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.core.events import to_json
from orchestrator.core.model import Account, period
from orchestrator.limits.concurrency import QueueRule
from orchestrator.limits.quiet_hours import quiet_until
from orchestrator.report.words import clock


def brake_lines(account: Account, now: float) -> Iterator[str]:
    """The brake of an account, for people; nothing where it has none.

    Args:
        now: wall clock; tells whether it is quiet.
    """
    brake, share = account.brake, share_of(account)
    if brake.caps:
        yield f"brake: {', '.join(str(cap) for cap in brake.caps)}"
    if brake.queue is not None:
        yield _queue(brake.queue)
    if brake.quiet:
        until, quiet = quiet_until(brake.quiet, now)
        goes_on = f"; it is quiet now: triggers go from {clock(until)} on" if quiet is not None else ""
        yield f"quiet hours: {', '.join(str(hours) for hours in brake.quiet)}{goes_on}"
    if share != 100:
        yield (
            f"share: {share}% of each rate, the rest is left to other machines; "
            "processes that share this state share the limits by themselves"
        )


def brake_json(account: Account, now: float) -> dict[str, Any]:
    """The same for programs."""
    until, quiet = quiet_until(account.brake.quiet, now)
    return {
        "brake": to_json(account.brake),
        "quiet_until": clock(until) if quiet is not None else None,
        "share": share_of(account),
    }


def share_of(account: Account) -> int:
    """The percentage of each rate that this machine takes."""
    return min((limit.share for limit in account.limits), default=100)


def _queue(rule: QueueRule) -> str:
    reserve = f"; {rule.reserve} of these places are kept for other people" if rule.reserve else ""
    again = f"; if others make it longer, triggers go on below {rule.resume}" if rule.resume != rule.below else ""
    return (
        f"queue: triggers go while fewer than {rule.below} builds of the owner wait or run, whoever started them"
        f"{reserve}{again}; looked at every {period(rule.every)} while something waits for it"
    )
