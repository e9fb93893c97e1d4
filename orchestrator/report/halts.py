"""What stopped a run, and what holds it: the rule or the account, and until when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.core.concurrency import quiet_until
from orchestrator.core.course import DENIED, SOAK, Waiting, called
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import Account, Phase
from orchestrator.core.stop_rules import FAILED, IN_A_ROW, MAX_FAIL, allowed_failures
from orchestrator.core.times import clock
from orchestrator.providers import registry


class StoppedAccount(Struct, frozen=True):
    """An account on which no further call is made; where only an owner is refused, that scope.

    Args:
        service: the provider, as people call it.
        code: a stable word (`banned`, `bad_token`, ...); empty in runs of older versions.
        until: after which a resume makes sense; None where no time helps.
    """

    account: str
    service: str
    code: str
    cause: str
    until: str | None


def stopped_by(history: History) -> tuple[str | None, str | None]:
    """What stopped the run and why; the rule goes before the way in which the process then left."""
    if history.stopped is not None:
        rule, why, wave = history.stopped.rule, history.stopped.arithmetic, history.stopped.wave
        is_apart = why and wave and len(history.waves) > 1 and rule != DENIED  # which names its wave itself
        where = f"{called(history.waves, wave)}: " if is_apart else ""
        return rule, f"{where}{why}" or None
    for account, stop in history.accounts_stopped.items():
        return f"account {account}", stop.cause
    for (account, scope), freeze in history.frozen.items():
        if history.interrupted is not None and history.interrupted.signal == "account" and scope.kind == "owner":
            return f"account {account}", f"{scope}: {freeze.cause}"
    if history.interrupted is None or history.interrupted.signal == "detached":
        return None, None
    return history.interrupted.signal, None


def bound(history: History) -> str | None:
    """The bound of the rule that stopped the run, where it is the one of its arithmetic: a resume may bring another."""
    stopped, rollout = history.stopped, history.rollout
    if stopped is None:
        return None
    if stopped.rule == MAX_FAIL:
        written = history.options.max_fail
        if written is None or f" {allowed_failures(written, len(history.targets)):,} stop" not in stopped.arithmetic:
            return None
        return written
    if rollout is None:
        return None
    in_a_row = rollout.stop_when.in_a_row
    return {FAILED: rollout.stop_when.failed, IN_A_ROW: str(in_a_row or "")}.get(stopped.rule) or None


def waits_until(history: History, accounts: Mapping[str, Account], waiting: Waiting | None, now: float) -> str | None:
    """When the soak is over, else when the first of the accounts may trigger again that are all in quiet hours."""
    if waiting is not None:
        return clock(waiting.until) if waiting.kind == SOAK else None
    if history.pace.ignore_quiet_hours or history.options.sandbox or history.stopped is not None:
        return None
    unsent = {one.account for one in history.targets if history.of(one.id).phase is Phase.WAITING}
    ends = [quiet_until(accounts[name].concurrency.quiet, now)[0] for name in unsent & accounts.keys()]
    return clock(min(ends)) or None if ends and min(ends) > now else None


def accounts_stopped(history: History, accounts: Mapping[str, Account]) -> Iterator[StoppedAccount]:
    """The accounts that refused us, else the owners that did and for which the last process left."""
    declared = registry.known()

    def service(name: str) -> str:
        found = declared.get(accounts[name].type) if name in accounts else None
        return name if found is None else found.title

    for name, stop in history.accounts_stopped.items():
        yield StoppedAccount(name, service(name), stop.code, stop.cause, clock(stop.until) or None)
    if history.accounts_stopped or history.interrupted is None or history.interrupted.signal != "account":
        return
    for (name, scope), freeze in history.frozen.items():
        if scope.kind == "owner":
            code, _, cause = freeze.cause.partition(": ")
            yield StoppedAccount(f"{name}, {scope}", service(name), code, cause or code, clock(freeze.until) or None)
