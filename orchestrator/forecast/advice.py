"""What a forecast tells a person: what binds, what it rests on, what to know before the start, what would help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.core.concurrency import part
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Account, Limit, Plan, Target
from orchestrator.core.options import Options
from orchestrator.core.times import counted, period, rounded
from orchestrator.forecast.durations import Times
from orchestrator.forecast.result import NEEDS, WAVES, AccountForecast
from orchestrator.forecast.simulate import Simulation
from orchestrator.providers.port import Declaration

SECOND = "a second account"
NAMED = 5  # repositories that a warning names


def alternatives(plan: Plan, one: AccountForecast, declaration: Declaration) -> Iterator[tuple[str, Plan]]:
    """Plans that differ in one thing from this one, each with what differs; only those that address what binds.

    Args:
        one: the forecast of the account that takes longest.
    """
    account = plan.accounts[one.account]
    rules = {span.rule for span in one.spans}
    for limit in account.limits:
        if str(limit) not in rules:
            continue
        if limit.scope == ACCOUNT:
            if account.concurrency.queue is None:  # the queue is the owner's, whoever fills it
                yield "two accounts", _split(plan, account)
        elif limit.scope == "repo":
            yield _fewer(plan, account, limit)
        higher = next((each for each in declaration.limits if each.name == limit.name), limit)
        if part(higher.calls, limit.share) / higher.per > limit.calls / limit.per:
            yield f"{higher}, which is safe", _with(plan, _with_limit(account, higher))
    if f"connections {account.connections}" in rules:
        more = account.connections * 2
        yield f"connections {more}", _with(plan, replace(account, connections=more))
    if account.in_flight is not None and f"in_flight {account.in_flight}" in rules:
        more = account.in_flight * 2
        yield f"in_flight {more}", _with(plan, replace(account, in_flight=more))
    for kind in ("owner", "label"):
        if any(rule.startswith(f"in_flight_per_{kind} ") for rule in rules):
            yield f"twice as much in_flight_per_{kind}", _with(plan, _with_caps_doubled(account, kind))
    if any(rule.startswith("quiet hours") for rule in rules):
        yield "no quiet hours", _with(plan, replace(account, concurrency=replace(account.concurrency, quiet=())))


def _with(plan: Plan, account: Account) -> Plan:
    return replace(plan, accounts={**plan.accounts, account.name: account})


def _with_caps_doubled(account: Account, kind: str) -> Account:
    caps = [replace(cap, most=2 * cap.most) if cap.kind == kind else cap for cap in account.concurrency.caps]
    return replace(account, concurrency=replace(account.concurrency, caps=tuple(caps)))


def _with_limit(account: Account, other: Limit) -> Account:
    share = next(limit.share for limit in account.limits if limit.name == other.name)
    own = replace(other, calls=part(other.calls, share))
    return replace(account, limits=tuple(own if limit.name == other.name else limit for limit in account.limits))


def _split(plan: Plan, account: Account) -> Plan:
    """Every second repository goes to another account."""
    second = replace(account, name=SECOND)
    repos = dict.fromkeys(target.repo.lower() for target in plan.targets if target.account == account.name)
    moved = set(list(repos)[1::2]) if len(repos) > 1 else set()
    targets = [
        replace(target, account=SECOND) if target.account == account.name and target.repo.lower() in moved else target
        for target in plan.targets
    ]
    return replace(plan, targets=tuple(targets), accounts={**plan.accounts, SECOND: second})


def _fewer(plan: Plan, account: Account, limit: Limit) -> tuple[str, Plan]:
    """As many targets of each repository as its limit lets through at once; the rest on another day."""
    counts: Counter[str] = Counter()
    kept: list[Target] = []
    for target in plan.targets:
        place = target.repo.lower()
        if target.account == account.name and target.skip is None:
            counts[place] += 1
            if counts[place] > limit.calls:
                continue
        kept.append(target)
    ids = {target.id for target in kept}
    met = [replace(target, needs=tuple(need for need in target.needs if need in ids)) for target in kept]
    left = counted(len(plan.targets) - len(kept), "target")
    return f"at most {limit.calls} targets of a repository ({left} left out)", replace(plan, targets=tuple(met))


def slowest(accounts: Sequence[AccountForecast]) -> AccountForecast | None:
    """The account whose triggers take longest, where a rule makes them."""
    found = [one for one in accounts if one.spans]
    return max(found, key=lambda one: one.last_trigger, default=None)


def sentence(accounts: Mapping[str, AccountForecast], last_trigger: float, levels: int) -> str:
    """The forecast in a sentence."""
    number = sum(each.triggers for each in accounts.values())
    count = counted(number, "trigger")
    builds = f"; needs add the time of their builds, {levels} deep" if levels else ""
    slow = max((each for each in accounts.values() if each.binding), key=lambda each: each.last_trigger, default=None)
    if slow is None or slow.binding is None:
        return f"{count}, no limit makes {'it' if number == 1 else 'them'} wait{builds}"
    binding = slow.binding
    if binding.rule == NEEDS:
        return (
            f"{count}, the last after {rounded(last_trigger)}; what takes longest is the builds needed, {levels} deep"
        )
    if binding.rule == WAVES:
        return f"{count}, the last after {rounded(last_trigger)}; what takes longest is the builds of the waves before"
    longest = f"what takes longest is {binding.rule}{binding.subject}"
    return f"{count}, the last after {rounded(last_trigger)}; {longest}{builds}"


def supposed(plan: Plan, times: Times) -> Iterator[str]:
    """What the forecast supposes."""
    unknown = [name for name in plan.accounts if name not in times.accounts]
    if times.builds:
        yield f"builds run as long as those of earlier runs did ({counted(times.builds, 'build')} in this state)"
    if looked_up := len({(target.account, target.repo.lower()) for target in plan.targets} & times.looked_up):
        where = "1 repository" if looked_up == 1 else f"{looked_up:,} repositories"
        starts = (
            ""
            if plan.accounts.keys() <= times.queued.keys()
            else f"; a start {rounded(times.starts)} after its trigger"
        )
        yield f"durations of {where} from the provider's last builds{starts}"
    if unknown:
        whose = f" of account {', '.join(unknown)}" if times.accounts else ""
        each = f"{rounded(times.runs)} each, started {rounded(times.starts)} after the trigger"
        yield f"no build{whose} is known from earlier runs: {each}"
    for (name, owner), bound in times.at_once.items():
        if any(target.account == name and owner in ("", target.owner.lower()) for target in plan.targets):
            whose = f" of {owner}" if owner else ""
            if (name, owner) in times.rehearsed:
                yield f"the sandbox runs about {counted(bound, 'build')}{whose} at once"
            else:
                yield f"the service runs {counted(bound, 'build')}{whose} at once, as earlier runs showed"
    again = [name for name in times.failing if any(t.account == name and t.reruns.times for t in plan.targets)]
    minds = again or (times.failing and (plan.rollout is not None or any(t.needs for t in plan.targets)))
    fails = f"and as many builds fail{' and are started again' if again else ''} as before"
    passes = fails if minds else "and every build passes"
    yield f"each call is answered after {times.latency:g} s, {passes}"
    settle = max((target.timeouts.settle for target in plan.targets), default=0.0)
    yield f"no answer is lost: one that is costs its target {rounded(settle)} (`settle`) before it may be asked again"
    if any(wave.approve for wave in plan.waves):
        yield "each wave that waits for an approval gets it at once"
    if plan.rollout is not None and plan.rollout.stop_when.worse_than_usual is not None:
        yield "builds fail as usual, so that worse_than_usual stops nothing, nor does a wave of which nothing passes"
    if times.beside:
        named = f"{', '.join(times.beside[:NAMED])}{', ...' if len(times.beside) > NAMED else ''}"
        yield f"runs that go on in this state are not counted ({named}): of the same account, all take longer"
    yield "other people's builds in the queue, and other calls with this token, are not known: they make it take longer"


def warnings(plan: Plan, run: Simulation, declarations: Mapping[str, Declaration], options: Options) -> tuple[str, ...]:
    """Sentences for a person."""
    triggered = [target for target in plan.targets if target.skip is None]
    fold = {name for name, account in plan.accounts.items() if declarations[account.type].fold_case}
    return (
        *_stopping(run),
        *_crowding(plan, run, options),
        *_crowded_repos(plan, triggered, fold),
        *_repeats(plan, triggered, declarations),
        *_too_long(triggered, run.last_trigger),
    )


def _stopping(run: Simulation) -> list[str]:
    stop = run.decisions.stopped
    if stop is None:
        return []
    return [f"if builds fail as they did before, rule {stop.rule} stops the run: {stop.arithmetic}"]


def _crowding(plan: Plan, run: Simulation, options: Options) -> list[str]:
    if options.in_flight is not None:
        return []
    return [
        f"account {name}: no `in_flight` (-j): {queue.triggered} builds will stand in the queue before other people's"
        for name, queue in run.queues.items()
        if queue.triggered > 1
        and plan.accounts[name].in_flight is None
        and not plan.accounts[name].concurrency.holds_all
    ]


def _crowded_repos(plan: Plan, targets: Sequence[Target], fold: set[str]) -> list[str]:
    """Repositories with more targets than a limit of theirs lets through at once, the slowest first."""
    found: list[tuple[float, str]] = []
    for account in plan.accounts.values():
        for limit in (limit for limit in account.limits if limit.scope == "repo"):
            names = (one.repo for one in targets if one.account == account.name)
            for place, count in Counter(name.lower() if account.name in fold else name for name in names).items():
                seconds = (count - 1) // limit.calls * limit.per
                if seconds:
                    found.append((-seconds, f"{place}: {count} triggers under {limit} take {rounded(seconds)}"))
    more = f"and {len(found) - NAMED} more repositories wait for limits of their own"
    return [text for _, text in sorted(found)[:NAMED]] + [more] * (len(found) > NAMED)


def _repeats(plan: Plan, targets: Sequence[Target], declarations: Mapping[str, Declaration]) -> list[str]:
    """What a newer trigger does to builds of the same branch: some services cancel them always, others may."""
    declared = {name: declarations[account.type] for name, account in plan.accounts.items()}
    refs = Counter((one.account, one.repo, one.branch) for one in targets if declared[one.account].rival is None)
    twice = [f"{repo}@{branch}" if branch else repo for (_, repo, branch), count in refs.items() if count > 1]
    last: dict[tuple[str, str, str], str] = {}
    ended: dict[str, list[str]] = {}
    for target in targets:
        if (rival := declared[target.account].rival) is not None:
            key = target.account, target.repo.lower(), rival(target)
            if (earlier := last.get(key)) is not None and earlier not in target.needs:
                ended.setdefault(target.account, []).append(earlier)
            last[key] = target.id
    found = [
        f"account {name}: {declared[name].title} will cancel builds of this run when later targets are triggered "
        f"({_named(ids)}): let the later one need the earlier one (`needs`)"
        for name, ids in ended.items()
    ]
    if twice:
        what = "where auto-cancel is on, a newer build may cancel a queued one"
        found.append(f"several triggers of one branch ({_named(twice)}): {what}")
    return found


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _too_long(targets: Sequence[Target], seconds: float) -> list[str]:
    queue = min((target.timeouts.queue for target in targets), default=seconds)
    if seconds <= queue:
        return []
    return [f"triggering takes {rounded(seconds)}, longer than `timeouts.queue` ({period(queue)}): builds may time out"]
