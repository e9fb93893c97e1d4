"""How a run stands now, as one value: terminal, page and programs draw from it, whoever drives the run.

It is made here and nowhere else, of the history's counts, of the last look ahead, and of what only the process at work
knows. What is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core.course import APPROVAL, PAUSE
from orchestrator.core.frozen import Struct, field
from orchestrator.core.history import History
from orchestrator.core.model import Outcome, Phase
from orchestrator.core.progress import Progress
from orchestrator.engine.counts import Counts, Key, rate
from orchestrator.engine.stage import NOBODY, Stage, State, Work, state_of
from orchestrator.forecast.outlook import UNSEEN, Outlook
from orchestrator.limits.rules import NOTHING

__all__ = ["Left", "NotPassed", "OwnerCounts", "RunningLong", "Snapshot", "Stage", "State", "WaveAt", "Work", "taken"]

LONGEST = 12  # builds that run, by name
NEWEST = 40  # targets that did not pass, by name
VERBS = {APPROVAL: "approve", PAUSE: "unpause"}  # what a person answers to what a run waits for


class Left(Struct, frozen=True, omit_defaults=True):
    """How long something still takes.

    Args:
        seconds: about so long, as far as can be told.
        why: why that cannot be relied on; empty where it can.
    """

    seconds: float
    why: str = ""


class WaveAt(Struct, frozen=True):
    """The wave that was opened last, of so many."""

    number: int
    of: int
    name: str


class OwnerCounts(Struct, frozen=True):
    """How the targets of one owner stand."""

    owner: str
    targets: int
    keys: Mapping[Key, int]


class RunningLong(Struct, frozen=True, omit_defaults=True):
    """A build that runs.

    Args:
        seconds: so long by now.
        usually: seconds that builds of its repository usually ran before; None where none is known.
    """

    target: str
    seconds: float
    usually: float | None = None


class NotPassed(Struct, frozen=True, omit_defaults=True):
    """A target that did not pass.

    Args:
        at: when that was known (wall clock).
        note: what there is to say of it, in few words.
    """

    at: float
    target: str
    outcome: Outcome
    note: str
    url: str | None = None


class Snapshot(Struct, frozen=True, omit_defaults=True):
    """Where a run stands now, for people.

    Args:
        run: its id; `name`, that of its manifest.
        at: the instant that is shown (wall clock); `age`, seconds since the run was made.
        phases: by phase; `outcomes`, by outcome; `keys`, both: each target where it stands, a lost answer in doubt.
        sent: triggers that have left, of `to_send`: those that have, or may.
        rate: triggers in a second over the last minute; `allowed`, what the accounts' limits allow.
        in_flight: builds queued or running, or asked for; `in_flight_limit`, how many there may be, and whether `-j`
            says so.
        trigger_left: to the last trigger; `build_left`, until the last build has ended; None where none is to come,
            or nobody has looked ahead yet.
        wave: None where there is only one.
        owners: the largest; `other_owners`, how many more there are.
        longest: builds that run, the longest first.
        newest: targets that did not pass, the newest first.
        accounts_stopped: account to cause.
        accounts: names of all accounts.
        doubts: targets whose answer was lost, and whose request is looked up.
        waiting_for: the one limit or rule that the next trigger waits for.
        held_by: who or what keeps the next wave from being opened, or triggers from leaving, as a sentence.
        is_driven: whether any process is at work on it; `is_ours`, whether this one is, and triggers.
        is_rehearsal: whether its service ends with its process.
    """

    run: str
    name: str
    at: float
    age: float
    state: State
    targets: int
    phases: Mapping[Phase, int]
    outcomes: Mapping[Outcome, int]
    keys: Mapping[Key, int]
    sent: int
    to_send: int
    in_flight: int
    accounts: tuple[str, ...] = ()
    rate: float | None = None
    allowed: float | None = None
    in_flight_limit: int | None = None
    is_limit_chosen: bool = False
    trigger_left: Left | None = None
    build_left: Left | None = None
    wave: WaveAt | None = None
    owners: tuple[OwnerCounts, ...] = ()
    other_owners: int = 0
    longest: tuple[RunningLong, ...] = ()
    newest: tuple[NotPassed, ...] = ()
    accounts_stopped: Mapping[str, str] = field(default_factory=dict)
    doubts: int = 0
    waiting_for: str | None = None
    held_by: str | None = None
    is_driven: bool = True
    is_ours: bool = False
    is_rehearsal: bool = False

    @property
    def done(self) -> int:
        """Targets that have an outcome."""
        return self.phases.get(Phase.DONE, 0)


def taken(
    run: str,
    history: History,
    counts: Counts,
    now: float,
    outlook: Outlook | None = None,
    *,
    work: Work | None = None,
    is_driven: bool = True,
) -> Snapshot:
    """The snapshot.

    Args:
        counts: of that history.
        now: wall clock.
        outlook: what was seen of the future; None where nobody looks.
        work: what the process at work knows; None where another one is at work, or none.
    """
    ahead = UNSEEN if outlook is None else outlook.ahead
    made, phases = history.made, counts.phases
    held = None if history.stopped is not None else history.course.waiting(history.waves, now)
    told = None if held is None else history.course.told(held, history.waves)
    wait = ahead.wait if work is None or not work.wait.rule else work.wait
    wait = wait if phases[Phase.WAITING] else NOTHING
    stopped = {account: event.cause for account, event in history.accounts_stopped.items()}
    verb = "" if held is None else VERBS.get(held.kind, "")
    nobody = "" if is_driven else NOBODY
    state = state_of(history, counts, now, wait, State(Stage.WAITING, told or "", verb=verb), work, is_driven=is_driven)
    return Snapshot(
        run=run,
        name="" if made is None else made.name,
        at=now,
        age=max(0.0, now - history.made_at),
        state=state,
        targets=len(history.targets),
        phases={phase: n for phase, n in phases.items() if n},
        outcomes={outcome: n for outcome, n in counts.outcomes.items() if n},
        keys={key: n for key, n in counts.keys.items() if n},
        sent=counts.sent,
        to_send=len(history.targets) - counts.never_sent,
        in_flight=phases[Phase.REQUESTED] + phases[Phase.QUEUED] + phases[Phase.RUNNING],
        accounts=tuple(() if made is None else made.accounts),
        rate=rate(counts, max(history.made_at, history.claimed_at), now) if phases[Phase.WAITING] else None,
        allowed=ahead.allowed,
        in_flight_limit=ahead.in_flight,
        is_limit_chosen=ahead.is_chosen,
        trigger_left=_left(ahead.trigger_at, nobody or ahead.trigger_why, now) if phases[Phase.WAITING] else None,
        build_left=_left(ahead.build_at, nobody or ahead.build_why, now),
        wave=_wave(history),
        owners=tuple(
            OwnerCounts(owner, keys.total(), {key: n for key, n in keys.items() if n})
            for owner, keys in counts.owners.items()
        ),
        other_owners=counts.others,
        longest=tuple(
            RunningLong(target, now - since, None if outlook is None else outlook.usual(target))
            for since, target in counts.longest(LONGEST)
        ),
        newest=tuple(_not_passed(target, progress) for target, progress in counts.newest(NEWEST)),
        accounts_stopped=stopped,
        doubts=counts.doubts,
        waiting_for=str(wait) or None,
        held_by=told,
        is_driven=is_driven,
        is_ours=work is not None and work.triggers,
        is_rehearsal=history.options.sandbox,
    )


def _left(at: float | None, why: str, now: float) -> Left | None:
    return None if at is None else Left(max(0.0, at - now), why)


def _wave(history: History) -> WaveAt | None:
    waves, number = history.waves, max(history.course.waves, default=1)
    return WaveAt(number, len(waves), waves[number - 1].name) if len(waves) > 1 and number <= len(waves) else None


def _not_passed(target: str, progress: Progress) -> NotPassed:
    verdict, build = progress.verdict, progress.build
    assert verdict is not None  # noqa: S101  # only those are asked for
    number = f"build #{build.number}" if build is not None and build.number else ""
    if progress.cause is not None:
        note = f"{number}: {progress.cause.text}" if number else progress.cause.text
    else:
        note = number or verdict.reason
    return NotPassed(verdict.at, target, verdict.outcome, note, None if build is None else build.url)
