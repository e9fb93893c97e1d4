"""The rules of the service, judged in true time: limits of a principal and of a repository, and bans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from orchestrator.core.model import Limit
from orchestrator.engine.opening import WHOAMI_TRIES
from orchestrator.engine.shared_limits import SHARED_FROM
from orchestrator.lookalike.kit.counters import worst_window

from .kinds import KINDS, Site
from .machine import Driving, State
from .network import Sent
from .play import Play
from .schedule import PATIENCE

SLACK = 1e-6
STRANGER = "stranger"  # the process of somebody else
CLOCKS = 1.0  # seconds by which the clocks of two machines may differ before a window is misjudged


def keeps_rules(result: Play) -> Iterator[str]:
    """Where a rule was broken."""
    if not (result.schedule.steps and result.schedule.twist.reboots):
        # over a boot only the wall clock, and a period of caution, tell what still counts
        yield from _limits(result)
        yield from _refusals(result)
    yield from _at_once(result)
    yield from _bans(result)


def _limits(result: Play) -> Iterator[str]:
    """Each limit of each account, as often as its calls cost, in true time at the service."""
    if any(_is_nobody(driving) for driving in result.machine.driven):
        return  # whose calls count with its own it could not learn
    back = result.schedule.twist.put_back
    if back is not None and back.is_live:
        return  # what the one at work has used meanwhile is known to nobody else
    for state in result.machine.states:
        for site in result.schedule.sites:
            calls, declared = list(_known_to(state, result, site)), KINDS[site.type].declared
            for limit in site.limits:
                if limit.kind not in declared.accepted_limits:
                    yield from _one_limit(site, limit, calls)


def _one_limit(site: Site, limit: Limit, calls: Sequence[Sent]) -> Iterator[str]:
    """Triggers are counted together by all who use a state; a look of one who is alone he alone knows of."""
    is_shared = limit.kind.startswith("triggers") and limit.per >= SHARED_FROM
    times: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for sent in calls:
        if sent.path.startswith("/crumbIssuer"):
            continue  # within a trigger it goes out on that one's permit
        whose = () if is_shared else (sent.process.name, sent.account)
        counts_all = limit.kind == "calls" and KINDS[site.type].counts_reads  # whatever the call says of itself
        cost = 1 if counts_all else sent.limits.count(limit.kind)
        times[(_scope(limit, sent), *whose)] += [sent.arrived or 0.0] * cost
    for where, some in times.items():
        if (worst := worst_window(sorted(some), limit.per - SLACK)) > limit.calls:
            yield f"{site.name}: {worst} of {limit} {' '.join(where)}".rstrip()


def _scope(limit: Limit, sent: Sent) -> str:
    if limit.scope == "account" or sent.repo is None:
        return ""
    return sent.repo if limit.scope == "repo" else sent.repo.partition("/")[0]


def _at_once(result: Play) -> Iterator[str]:
    """No process has more calls under way than the account's connections, or triggers than the service wants."""
    for site in result.schedule.sites:
        most = KINDS[site.type].declared.triggers_at_once or site.connections
        by_process: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        for sent in result.machine.network.log:
            is_ours = sent.account == site.name and sent.process.name != STRANGER
            if is_ours and sent.said and sent.answered is not None:
                by_process[sent.process.name] += [(sent.left, 1), (sent.answered, -1)]
        for process, changes in by_process.items():
            if max(accumulate(change for _, change in sorted(changes))) > most:
                yield f"{process} has more than {most} triggers under way on {site.name}"


def _is_nobody(driving: Driving) -> bool:
    """Whether the process went on without having learnt whose token it uses."""
    failed = sum(name == "account.hello_failed" for _, name, _ in driving.facts)
    return failed >= WHOAMI_TRIES


def _known_to(state: State, result: Play, site: Site) -> Iterator[Sent]:
    """The calls that arrived for the user of an account, and that whoever uses that state can know of."""
    drivers = {driving.process.name for driving in result.machine.driven if driving.state is state}
    names = {other.name for other in result.schedule.sites if other.user == site.user}
    for sent in result.machine.network.log:
        is_known = sent.account in names and sent.process.name in drivers
        if is_known and sent.arrived is not None and sent.arrived - sent.left < PATIENCE:  # else it stood in a queue
            yield sent


def _refusals(result: Play) -> Iterator[str]:
    """Nobody runs into a limit of a service that he knows, and has to himself."""
    schedule = result.schedule
    twist = schedule.twist
    if schedule.jumps or twist.steps or twist.stalls or twist.disaster or twist.put_back:
        return  # by clocks that step, calls that are handled much later, or what others did, it cannot be known
    users = Counter(site.world for site in schedule.sites)
    for site in schedule.sites:
        known = any(limit.name == "triggers_per_repo" and limit.written for limit in site.limits)
        if users[site.world] > 1 or not (known if site.type == "travis" else _is_told(result, site)):
            continue
        strange = {repo for _, account, repo in schedule.strangers if account == site.name}
        visited = {f"/repo/{repo.replace('/', '%2F')}/requests" for repo in strange}
        for sent in result.machine.network.log:
            if sent.account == site.name and sent.limited and sent.path not in visited:
                yield f"{sent.process.name} is refused by a limit of {sent.path} at {sent.left:.1f}"


def _is_told(result: Play, site: Site) -> bool:
    """Whether the only one who calls a service knows all of its limits, and which of his calls it counts when."""
    schedule = result.schedule
    is_visited = any(account == site.name for _, account, _ in schedule.strangers)
    is_late = any(rule.kind == "applied_late" for rule in schedule.faults)
    callers = {sent.process.name for sent in result.machine.network.log if sent.account == site.name}
    is_alone = len(callers) == 1 or not KINDS[site.type].counts_reads
    return site.is_told and is_alone and not is_visited and not is_late


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
