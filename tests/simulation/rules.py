"""The rules of the service, judged in true time: limits of a principal and of a repository, and bans."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.engine.opening import WHOAMI_TRIES
from orchestrator.lookalike.kit.counters import worst_window

from .evidence import Evidence
from .machine import Driving, State
from .play import Play
from .schedule import PATIENCE

SLACK = 1e-6
CLOCKS = 1.0  # seconds by which the clocks of two machines may differ before a window is misjudged


def keeps_rules(result: Play, evidence: Evidence) -> Iterator[str]:
    """Where a rule was broken."""
    if not (result.schedule.steps and result.schedule.twist.reboots):
        # over a boot only the wall clock, and a period of caution, tell what still counts
        yield from _limits(result)
        yield from _repositories(result)
    yield from _bans(result)


def _limits(result: Play) -> Iterator[str]:
    if any(_is_nobody(driving) for driving in result.machine.driven):
        return  # whose calls count with its own it could not learn
    back = result.schedule.twist.put_back
    if back is not None and back.is_live:
        return  # what the one at work has used meanwhile is known to nobody else
    for state in result.machine.states:
        for account in result.schedule.accounts:
            times = sorted(_known_to(state, result, account))
            for limit in result.schedule.limits:
                if limit.name == "triggers" and (worst := worst_window(times, limit.per - SLACK)) > limit.calls:
                    yield f"{account}: {worst} POSTs within {limit}"


def _is_nobody(driving: Driving) -> bool:
    """Whether the process went on without having learnt whose token it uses."""
    failed = sum(name == "account.hello_failed" for _, name, _ in driving.facts)
    return failed >= WHOAMI_TRIES


def _known_to(state: State, result: Play, account: str) -> Iterator[float]:
    """When the POSTs arrived that whoever uses that state can know of."""
    drivers = {driving.process.name for driving in result.machine.driven if driving.state is state}
    for sent in result.machine.network.log:
        if sent.account != account or sent.method != "POST" or sent.arrived is None:
            continue
        if sent.process.name in drivers and sent.arrived - sent.left < PATIENCE:  # else it stood in a stalled queue
            yield sent.arrived


def _repositories(result: Play) -> Iterator[str]:
    """Nobody runs into the limit of a repository that has it to himself."""
    schedule = result.schedule
    twist = schedule.twist
    if schedule.jumps or twist.steps or twist.stalls or twist.disaster or twist.put_back or len(schedule.accounts) > 1:
        return  # by clocks that step, calls that are handled much later, or what others did, it cannot be known
    if any(limit.name == "triggers_per_repo" and limit.written for limit in schedule.limits):
        visited = {f"/repo/{repo.replace('/', '%2F')}/requests" for _, repo in schedule.strangers}
        for sent in result.machine.network.log:
            if sent.limited and sent.path not in visited and sent.process.name != "stranger":
                yield f"{sent.process.name} is refused by the limit of {sent.path} at {sent.left:.1f}"


def _bans(result: Play) -> Iterator[str]:
    """A process that was told of a ban makes no further call."""
    told: dict[tuple[str, str], float] = {}
    for sent in result.machine.network.log:
        if sent.is_ban and sent.answered is not None:
            key = sent.process.name, sent.account
            told[key] = min(sent.answered, told.get(key, sent.answered))
    for sent in result.machine.network.log:
        since = told.get((sent.process.name, sent.account))
        if since is not None and sent.left > since:
            yield f"{sent.process.name} calls {sent.path} at {sent.left:.1f}, banned since {since:.1f}"
