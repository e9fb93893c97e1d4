"""Which part of the brake on the CI holds a target back, as far as the journal tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.core.events import from_json
from orchestrator.core.history import History
from orchestrator.core.model import Account, Phase, Target
from orchestrator.limits.concurrency import Brake, Cap
from orchestrator.limits.quiet_hours import quiet_until
from orchestrator.report.words import clock

_IN_FLIGHT = frozenset({Phase.REQUESTED, Phase.QUEUED, Phase.RUNNING})


def held_by(history: History, target: Target, now: float) -> Iterator[str]:
    """The rules that hold the trigger of a waiting target back now, or may do so, a line each.

    Args:
        now: wall clock.
    """
    made = history.made
    if made is None or history.of(target.id).phase is not Phase.WAITING:
        return
    account = from_json(Account, made.accounts.get(target.account))
    yield from _quiet(account.brake, now)
    flying = [one for one in history.targets if history.of(one.id).phase in _IN_FLIGHT]
    ours = [one for one in flying if one.account == target.account]
    for name, most in (("in_flight", account.in_flight), ("-j", made.options.get("in_flight"))):
        if isinstance(most, int) and len(ours) >= most:
            yield f"held by: {name} {most}: {len(ours)} builds of this run are queued or running"
    for cap in _caps(account.brake, target):
        count = sum(map(_is_under(cap), ours))
        if count >= cap.most:
            yield f"held by: {cap}: {count} builds of this run are queued or running there"
    if (rule := account.brake.queue) is not None:
        count = sum(one.owner.lower() == target.owner.lower() for one in ours)
        if count >= rule.below - rule.reserve:
            yield f"held by: {rule} of {target.owner}: {count} builds of this run are in it"
        else:
            yield (
                f"may be held by: {rule} of {target.owner}: {count} builds of this run are in it; how many are other "
                "people's, the live line and the log (-v) of the process at work tell"
            )


def _quiet(brake: Brake, now: float) -> Iterator[str]:
    try:
        until, quiet = quiet_until(brake.quiet, now)
    except ValueError as error:  # the run was made on a machine that knows more time zones
        yield f"may be held by: quiet hours ({error})"
        return
    if quiet is not None:
        yield f"held by: quiet hours ({quiet}): no trigger goes before {clock(until)}"


def _caps(brake: Brake, target: Target) -> tuple[Cap, ...]:
    folded = target.owner.lower()
    is_named = any(cap.scope == f"owner:{folded}" for cap in brake.caps)
    return brake.caps_of(folded if is_named else target.owner, target.labels)


def _is_under(cap: Cap) -> Callable[[Target], bool]:
    kind, _, name = cap.scope.partition(":")
    if kind == "owner":
        return lambda target: target.owner.lower() == name.lower()
    return lambda target: name in target.labels
