"""The report as frozen values: a view of a run's history, in the shape of `report.json` (`schema.json` describes it).

Every selected target is a row, in plan order, whatever happened. Times are RFC 3339 text in UTC, durations whole
seconds. Nothing here depends on the clock once the run was left, so a report rebuilt later is the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from orchestrator.core.causes import Cause
from orchestrator.core.course import SOAK, Waiting
from orchestrator.core.detection import Detection, detection_of
from orchestrator.core.frozen import Struct, field, gc_paused
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import DEFAULT_FAIL_ON, Account, Build, Json, Outcome, Phase, Target
from orchestrator.core.progress import Progress
from orchestrator.core.times import clock
from orchestrator.core.waves import Wave
from orchestrator.journal.port import Entry
from orchestrator.providers import registry
from orchestrator.report.bounds import Bounds, bounds
from orchestrator.report.halts import StoppedAccount, accounts_stopped, bound, stopped_by, waits_until
from orchestrator.report.reasons import Rules, waits_for

if TYPE_CHECKING:
    from orchestrator.report.diff import Diff  # which is made of reports

SCHEMA = "orchestrator.report/1"
OUTCOMES = tuple(outcome.value for outcome in Outcome)


class WaveView(Struct, frozen=True):
    """One wave, opened or not.

    Args:
        targets: how many; those that are skipped do not count.
        verdict: `go`, `stop`, `undecided`; None where it was not judged.
        why: the arithmetic of the verdict.
        approved_by: who let it open; None where nobody was asked, or has answered.
        approved_at: when they did, by the clock of where they did.
    """

    wave: int
    name: str
    targets: int
    opened_at: str | None
    judged_at: str | None
    verdict: str | None
    why: str | None
    approved_by: str | None
    approved_at: str | None = None


class RunView(Struct, frozen=True):
    """The run as a whole.

    Args:
        status: `running` (or its process died), `ended`, `detached`, `interrupted` (signal or time-out), `stopped`
            (a rule or an account), `waiting` (nothing is under way, and only a person can let it go on).
        finished_at: when the run ended or its last process left; None while it goes on, here or detached.
        stopped_by: the rule, the signal, `timeout` or `account NAME`; None where nothing stopped it.
        stopped_why: the rule's arithmetic or the account's cause.
        stopped_at: the bound of that rule as it was written: `5%`, `3`; None where it has none.
        merged: the runs that it shows as one, oldest first (`report.merged`); empty where it is one run.
        waits_for: `approval`, `soak` or `pause`; None where nothing of that holds it.
        waits_until: when that soak is over, or the quiet hours in which the run is; None where neither holds it.
        accounts_stopped: those on which no further call is made, until a process takes the run up again.
        paused_by: who holds it; None where nobody does.
        detection_seconds: from the ends of its builds to our knowing; None where none was seen to end.
    """

    id: str
    name: str
    manifest: str | None
    params: Mapping[str, Json]
    parent: str | None
    status: str
    started_at: str | None
    finished_at: str | None
    exit_code: int | None
    stopped_by: str | None
    stopped_why: str | None = None
    merged: tuple[str, ...] = ()
    waves: tuple[WaveView, ...] = ()
    waits_for: str | None = None
    paused_by: str | None = None
    detection_seconds: Detection | None = None
    stopped_at: str | None = None
    waits_until: str | None = None
    accounts_stopped: tuple[StoppedAccount, ...] = ()


class BuildView(Struct, frozen=True):
    """One build of a target, as last seen."""

    id: str
    state: str
    url: str | None
    number: str | None = None


class Row(Struct, frozen=True):
    """One target; the fields up to `run_seconds` are those of `report.json`.

    Args:
        branch: the one that was asked for, else the one that was built.
        outcome: None while open; then `code` and `reason` say what it waits for.
        triggered_at: when the call was sent that made the request, or may have made one.
        finished_at: the build's end; without a build, when the verdict was given.
        queued_seconds: from the build's creation (or the trigger, where the provider does not say) to its start.
        reruns: how often its build was started again since it had failed.
        cause: why its build failed, as its log says; None where no log was read.
        target: the planned target itself, for formats that write manifests.
        run: the run that left it so, where several are shown as one; else empty.
        root: the target that did not pass, where this one was skipped since it needs that; else empty.
    """

    id: str
    account: str
    provider: str
    repo: str
    branch: str | None
    sha: str | None
    matrix: Mapping[str, str]
    name: str | None
    labels: tuple[str, ...]
    wave: int
    phase: str
    outcome: str | None
    code: str | None
    reason: str | None
    marker: str | None
    attempts: int
    request_id: str | None
    build_id: str | None
    build_number: str | None
    url: str | None
    builds: tuple[BuildView, ...]
    triggered_at: str | None
    started_at: str | None
    finished_at: str | None
    queued_seconds: int | None
    run_seconds: int | None
    target: Target
    run: str = ""
    root: str = ""
    wave_name: str = ""
    reruns: int = 0
    cause: Cause | None = None

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Row and _SHOWN(self) == _SHOWN(other)

    def __hash__(self) -> int:
        return hash(_SHOWN(self))

    @property
    def is_in_doubt(self) -> bool:
        """Whether it is not known if a build exists: by verdict, or while it is still being looked up."""
        return self.outcome == Outcome.IN_DOUBT or (self.outcome is None and self.code == "in_doubt")


_SHOWN = attrgetter(*(name for name in Row.__struct_fields__ if name != "target"))


class LimitView(Struct, frozen=True):
    """What was used of one limit, and how long calls waited for it."""

    account: str
    limit: str
    used: int
    waited_seconds: float


class ForecastView(Struct, frozen=True):
    """What was forecast beside what happened, in seconds from the making of the run.

    Args:
        last_trigger_seconds: when the last trigger was to be sent.
        last_build_seconds: when the end of the last build was to be observed.
        actual_last_trigger_seconds: when it was sent; None while one is still to be sent, or none was.
        actual_last_build_seconds: when the last verdict on a build was given; None while a target is open, or where
            there was no build.
    """

    last_trigger_seconds: float
    last_build_seconds: float
    actual_last_trigger_seconds: float | None
    actual_last_build_seconds: float | None


class Report(Struct, frozen=True):
    """What happened; every format is a function of this.

    Args:
        totals: `targets`, each outcome, `open`.
        calls: by purpose: `trigger`, `find`, `poll`, `other`.
        accounts: by name; they hold references to secrets, never secrets.
        as_of: the instant that it describes (wall clock).
        forecast: None for a run that began without one.
        is_rehearsal: whether its builds were the built-in sandbox's, which ended with the process.
        fail_on: the outcomes that make its exit code 1.
        facts: what the journal holds, each with its run; only where a format wants it, else empty.
        since: what changed since another run, where a person asked for that.
        suffix: what is appended to the command lines that it advises, such as ` --state DIR`.
        bounds: what it could have done at most.
        to_come: of a run that goes on, of each open target when it is expected to be triggered, and when its build ends
            (wall clock); only where a format wants it, else empty.
    """

    run: RunView
    totals: Mapping[str, int]
    targets: Sequence[Row]
    limits: Sequence[LimitView]
    calls: Mapping[str, int]
    accounts: Mapping[str, Account] = field(default_factory=dict)
    as_of: float = 0.0
    forecast: ForecastView | None = None
    is_rehearsal: bool = False
    fail_on: frozenset[Outcome] = DEFAULT_FAIL_ON
    suffix: str = ""
    bounds: Bounds = Bounds()
    to_come: Sequence[tuple[float, float]] = ()
    facts: Sequence[tuple[str, Entry]] = ()
    since: Diff | None = None


def view(run_id: str, history: History, now: float) -> Report:
    """The report of a run.

    Args:
        now: the present (wall clock); it counts only until the run is left.

    Raises:
        JournalError: the run's first event is damaged.
    """
    as_of = now if history.left_at is None else history.left_at
    accounts = accounts_in(history.made)
    types = {name: account.type for name, account in accounts.items()}
    rules = Rules(history, as_of)
    with gc_paused():
        rows = tuple(_row(history, one, types.get(one.account, one.account), as_of, rules) for one in history.targets)
    return Report(
        run=_run(run_id, history, accounts, now),
        totals=totals_of(rows),
        targets=rows,
        limits=_limits(history, accounts),
        calls=_calls(history),
        accounts=accounts,
        as_of=as_of,
        forecast=_forecast(history),
        is_rehearsal=history.options.sandbox,
        fail_on=history.options.failures,
        bounds=bounds(history, accounts),
    )


def _run(run_id: str, history: History, accounts: Mapping[str, Account], now: float) -> RunView:
    made = history.made
    waiting = None if history.stopped is not None else history.course.waiting(history.waves, now)
    status = _status(history, waiting, now)
    by, why = stopped_by(history)
    pause = history.course.pause
    return RunView(
        id=run_id,
        name=made.name if made is not None else "",
        manifest=made.manifest if made is not None else None,
        params=made.params if made is not None else {},
        parent=made.parent if made is not None else None,
        status=status,
        started_at=clock(history.made_at) or None,
        finished_at=None if status in ("running", "detached", "waiting") else clock(history.left_at) or None,
        exit_code=history.exit_code,
        stopped_by=by,
        stopped_why=why,
        waves=tuple(_wave(history, wave) for wave in history.waves),
        waits_for=None if waiting is None or history.has_ended else waiting.kind,
        paused_by=None if pause is None or history.has_ended else pause.by,
        detection_seconds=detection_of(history),
        stopped_at=bound(history),
        waits_until=None if history.left_at is not None else waits_until(history, accounts, waiting, now),
        accounts_stopped=tuple(accounts_stopped(history, accounts)),
    )


def _wave(history: History, wave: Wave) -> WaveView:
    standing, course = history.course.waves.get(wave.number), history.course
    said = course.approval(wave.number)
    approved = (None, None) if said is None else (said.by, clock(said.at or None) or None)
    if standing is None:
        return WaveView(wave.number, wave.name, wave.targets, None, None, None, None, *approved)
    opened, judged = clock(standing.opened_at) or None, clock(standing.judged_at) or None
    verdict, why = standing.verdict or None, standing.why or None
    return WaveView(wave.number, wave.name, wave.targets, opened, judged, verdict, why, *approved)


def _status(history: History, waiting: Waiting | None, now: float) -> str:
    if history.has_ended:
        return "ended"
    if waiting is not None and _is_for_a_person(history, waiting, now):
        return "waiting"
    if history.interrupted is None:
        return "running"
    known = {"detached": "detached", "stopped": "stopped", "account": "stopped"}
    return known.get(history.interrupted.signal, "interrupted")


def _is_for_a_person(history: History, waiting: Waiting, now: float) -> bool:
    """Whether nothing is under way, and only a person can let the run go on."""
    if waiting.kind == SOAK or history.course.soaks_until(history.waves, now) is not None:
        return False
    is_blocked = history.interrupted is not None and history.interrupted.signal == "account"
    return not is_blocked and not any(one.may_exist and not one.is_done for one in history.progress.values())


def _row(history: History, target: Target, provider: str, as_of: float, rules: Rules) -> Row:
    progress = history.of(target.id)
    build, verdict = progress.build, progress.verdict
    builds = progress.builds or (verdict.builds if verdict else ())
    code, reason = (verdict.code, verdict.reason) if verdict else waits_for(history, target, as_of, rules)
    triggered = progress.asked_at if progress.triggered_at is None else progress.triggered_at
    return Row(
        id=target.id,
        account=target.account,
        provider=provider,
        repo=target.repo,
        branch=target.branch or (build.branch if build else None),
        sha=build.sha if build else None,
        matrix=dict(target.matrix),
        name=target.name,
        labels=target.labels,
        wave=target.wave,
        phase=progress.phase.value,
        outcome=verdict.outcome.value if verdict else None,
        code=code or None,
        reason=reason or None,
        marker=progress.marker if progress.carried else None,
        attempts=progress.attempts,
        request_id=(progress.request.id or None) if progress.request else None,
        build_id=(build.id or None) if build else None,
        build_number=build.number if build else None,
        url=_url(progress),
        builds=tuple(BuildView(one.id, one.state.value, one.url, one.number) for one in builds),
        triggered_at=clock(triggered) or None,
        started_at=clock(build.started_at) or None if build else None,
        finished_at=clock(_finished(progress)) or None,
        queued_seconds=_between(build.created_at or triggered, build.started_at) if build else None,
        run_seconds=_between(build.started_at, build.finished_at) if build else None,
        target=target,
        root=verdict.root if verdict else "",
        wave_name=history.waves[target.wave - 1].name if target.wave <= len(history.waves) else str(target.wave),
        reruns=progress.reruns,
        cause=progress.cause,
    )


def _url(progress: Progress) -> str | None:
    if progress.build is not None and progress.build.url is not None:
        return progress.build.url
    if progress.request is not None:
        return progress.request.url
    may_be = progress.verdict.builds if progress.verdict is not None else ()
    return may_be[0].url if may_be else None


def _finished(progress: Progress) -> float | None:
    """Only of what is done: a build that has ended, yet has no verdict, is still being followed."""
    if progress.phase is not Phase.DONE or progress.verdict is None:
        return None
    build: Build | None = progress.build
    return build.finished_at if build is not None and build.finished_at is not None else progress.verdict.at


def _between(start: float | None, end: float | None) -> int | None:
    """Whole seconds, never negative: the two may come from different clocks."""
    if start is None or end is None or not 0 <= end - start < 1e10:
        return None if start is None or end is None or end != end or start != start else 0
    return round(end - start)


def totals_of(rows: Iterable[Row]) -> dict[str, int]:
    """How many targets there are, by outcome, and how many are open."""
    counts = Counter(row.outcome for row in rows)
    return {"targets": counts.total(), **{name: counts[name] for name in OUTCOMES}, "open": counts[None]}


def _limits(history: History, accounts: Mapping[str, Account]) -> tuple[LimitView, ...]:
    """Every limit of every account, used or not, then what else made the run wait or was only known to a process."""
    used: Counter[tuple[str, str]] = Counter()
    waited: defaultdict[tuple[str, str], float] = defaultdict(float)
    tallied: Counter[str] = Counter()
    for tally in history.tallies:
        tallied[tally.account] += tally.calls.get("trigger", 0)
        for limit, number in tally.used.items():
            used[tally.account, limit] += number
        for limit, seconds in tally.waited.items():
            waited[tally.account, limit] += seconds
    known = [(name, str(limit)) for name, account in accounts.items() for limit in account.limits]
    keys = dict.fromkeys([*known, *used, *waited])
    used.update(_not_tallied(history, accounts, used, tallied))
    return tuple(LimitView(*key, used=used[key], waited_seconds=round(waited.get(key, 0.0), 3)) for key in keys)


def _not_tallied(
    history: History, accounts: Mapping[str, Account], used: Mapping[tuple[str, str], int], tallied: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """Triggers of processes that go on or were killed, as the journal has them, by account and limit."""
    sent, accepted = _triggers(history)
    found: dict[tuple[str, str], int] = {}
    declared = registry.known()
    for name, account in accounts.items():
        declaration = declared.get(account.type)
        for limit in account.limits:
            if declaration is None or limit.kind not in declaration.trigger_limits:
                continue
            is_accepted = limit.kind in declaration.accepted_limits
            counted = sum(n for (of, rule), n in used.items() if of == name and rule.partition(" ")[0] == limit.kind)
            more = accepted[name] - counted if is_accepted else sent[name] - tallied[name]
            found[name, str(limit)] = max(0, more)
    return found


def _triggers(history: History) -> tuple[Counter[str], Counter[str]]:
    """By account, the trigger calls that left or may have, and those of them that the provider accepted."""
    sent: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for target in history.targets:
        progress = history.of(target.id)
        sent[target.account] += progress.attempts - progress.unsent
        accepted[target.account] += progress.request is not None
    return sent, accepted


def _calls(history: History) -> dict[str, int]:
    made: Counter[str] = Counter()
    for tally in history.tallies:
        for purpose, number in tally.calls.items():
            made[purpose if purpose in ("trigger", "find", "poll") else "other"] += number
    # intents are durable before their call is sent, so they also count the calls of processes that were killed
    triggers = _triggers(history)[0].total()
    return {"trigger": triggers, "find": made["find"], "poll": made["poll"], "other": made["other"]}


def _forecast(history: History) -> ForecastView | None:
    """What was forecast beside what happened; None for a run that began without a forecast."""
    forecast = {} if history.made is None else history.made.forecast
    trigger, build = _seconds(forecast, "last_trigger_seconds"), _seconds(forecast, "last_build_seconds")
    if trigger is None or build is None:
        return None
    every = [history.of(target.id) for target in history.targets]
    is_asked = all(one.is_done or one.may_exist for one in every)
    asked = max((one.triggered_at or one.asked_at or 0.0 for one in every if one.may_exist), default=0.0)
    ended = max((one.verdict.at for one in every if one.verdict is not None and one.build is not None), default=0.0)
    is_done = all(one.is_done for one in every)
    actual = (_since(history, asked) if is_asked else None, _since(history, ended) if is_done else None)
    return ForecastView(trigger, build, *actual)


def _since(history: History, at: float) -> float | None:
    return round(max(0.0, at - history.made_at), 1) if at else None


def _seconds(forecast: Mapping[str, Json], name: str) -> float | None:
    """A number of the journal's, if it is one."""
    value = forecast.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e12 else None
