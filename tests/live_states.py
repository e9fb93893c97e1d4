"""Runs as they stand at an instant, for pictures: of 362 targets in most states, and one of 5,000."""

from __future__ import annotations

import random

import anyio
from golden.story import TRAVIS, Told, target, told

from orchestrator.core.concurrency import Concurrency, parse_quiet
from orchestrator.core.events import (
    ASKED,
    CANCELED,
    AccountStopped,
    Claimed,
    Doubted,
    Ended,
    Event,
    Intended,
    Refused,
    Requested,
    RunMade,
    Sighted,
    Skipped,
    Stopped,
    WaveJudged,
    WaveOpened,
    to_json,
)
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, BuildState, Outcome, Target
from orchestrator.core.options import RunOptions
from orchestrator.core.waves import Wave
from orchestrator.engine.counts import Counts
from orchestrator.engine.snapshot import Snapshot, taken
from orchestrator.engine.stage import Work
from orchestrator.forecast import Times
from orchestrator.forecast.outlook import Outlook
from orchestrator.providers.travis.declaration import DECLARATION

OWNERS = ("acme", "globex", "hooli", "initech", "umbrella")
PACE = 6.5  # triggers in a second
START = 1767574800.0


def names(count: int) -> list[str]:
    """Targets of five owners in turn, some of another branch."""
    branches = ["release/2.x" if number % 7 == 3 else "main" for number in range(count)]
    return [f"travis:{OWNERS[n % 5]}/svc-{n // 5:03}@{branch}" for n, branch in enumerate(branches)]


def made(quiet: str = "", **fields: object) -> RunMade:
    """The first event of the run."""
    limits = (replace(TRAVIS.limits[0], calls=10, per=1.0), *TRAVIS.limits[1:])
    hours = (parse_quiet(quiet),) if quiet else ()
    account = replace(TRAVIS, limits=limits, concurrency=Concurrency(quiet=hours))
    options = RunOptions(in_flight=150)
    return RunMade("base-image-rebuild", None, "", accounts={"travis": to_json(account)}, options=options, **fields)


def story(count: int, at: float, *, sent: int, bad: bool = True, ends: bool = False, quiet: str = "") -> Told:
    """A run after so many seconds, of whose targets so many were sent."""
    dice, ids = random.Random(7), names(count)
    facts: list[tuple[float, Event]] = [(0.0, Claimed(1, "here", 1)), (0.1, Skipped(ids[-1], "frozen until spring"))]
    for number, id_ in enumerate(ids[:sent]):
        asked = number / PACE
        facts.append((asked, Intended(id_, 1, None)))
        kind = dice.random() if bad else 1.0
        if kind < 0.008:
            facts.append((asked + 1.0, Doubted(id_, 1, "connection reset", START + asked, START + asked + 1.0)))
            continue
        if kind < 0.06:
            facts.append((asked + 0.2, Refused(id_, "inactive", "builds are switched off on Travis; activate it")))
            continue
        facts.append((asked + 0.2, Requested(id_, str(number), "answered")))
        starts, runs = asked + dice.uniform(1.0, 6.0), dice.lognormvariate(2.7, 0.5)
        first = Build(str(number), BuildState.QUEUED, "created", number=str(1 + number % 9))
        build = replace(first, state=BuildState.RUNNING, native="started", started_at=START + starts)
        outcome = Outcome.FAILED if kind < 0.12 else Outcome.ERRORED if kind < 0.13 else Outcome.PASSED
        over = replace(build, state=BuildState(outcome.value), native=outcome.value, finished_at=START + starts + runs)
        seen = [(asked + 0.5, Sighted(id_, first)), (starts, Sighted(id_, build)), (starts + runs, Sighted(id_, over))]
        facts += [fact for fact in seen if ends or fact[0] <= at]
        if ends or starts + runs <= at:
            facts.append((starts + runs, Ended(id_, outcome, f"build_{outcome}", f"the build {outcome}")))
    facts.sort(key=lambda fact: fact[0])
    return told(
        [target(id_, skip="frozen" if id_ == ids[-1] else None) for id_ in ids], *facts, made=made(quiet), now=at
    )


def snapshot(story: Told, *facts: tuple[float, Event], work: Work | None = None, **more: bool) -> Snapshot:
    """What is seen of it, with these facts on top."""
    history = story.history
    for number, (at, event) in enumerate(facts, 10**6):
        history.add("" if not isinstance(event, AccountStopped) else "travis", number, START + at, event)
    times = Times(repos={("travis", one.repo): (12.0, 15.0, 21.0) for one in history.targets[::2]})
    times = replace(times, accounts={"travis": (12.0, 15.0, 21.0)}, latency=0.2)
    outlook = Outlook(history, {"travis": DECLARATION}, times)
    anyio.run(outlook.look, story.now)
    return taken("rich", history, Counts(history), story.now, outlook, work=work, **more)


def waves() -> Snapshot:
    """A rollout whose second wave has passed, and waits for a person."""
    sizes = (4, 36, 160, 160)
    ids = names(sum(sizes))
    plan = [
        Wave(n, name, size) for n, name, size in zip(range(1, 5), ("1", "canary", "half", "rest"), sizes, strict=True)
    ]
    plan[1] = replace(plan[1], approve=True)
    at, rows, facts = 5.0, list[Target](), [(0.0, WaveOpened(1, "1", 4))]
    for number, id_ in enumerate(ids):
        wave = next(n for n in range(1, 5) if number < sum(sizes[:n]))
        rows.append(target(id_, wave=wave))
        if wave < 3:
            build = Build(
                str(number), BuildState.PASSED, "passed", started_at=START + at + 1, finished_at=START + at + 9
            )
            facts += [(at, Intended(id_, 1, None)), (at, Requested(id_, str(number), "answered"))]
            facts += [(at + 9, Sighted(id_, build)), (at + 9, Ended(id_, Outcome.PASSED, "passed", "build passed"))]
    facts += [(15.0, WaveJudged(1, "go")), (15.0, WaveOpened(2, "canary", 36)), (60.0, WaveJudged(2, "go"))]
    facts.sort(key=lambda fact: fact[0])
    return snapshot(told(rows, *facts, made=made(waves=tuple(plan)), now=90.0), work=Work())


STATES = {
    "going": lambda: snapshot(story(362, 50.0, sent=325), work=Work()),
    "passed": lambda: snapshot(story(362, 90.0, sent=361, bad=False, ends=True), work=Work()),
    "failed": lambda: snapshot(story(362, 62.0, sent=361), work=Work()),
    "stopped": lambda: snapshot(
        story(362, 40.0, sent=240), (39.0, Stopped("max_fail", "18 failures, 18 stop it")), work=Work()
    ),
    "banned": lambda: snapshot(
        story(362, 40.0, sent=240), (39.0, AccountStopped("banned", START + 3640.0)), work=Work()
    ),
    "interrupted": lambda: snapshot(story(362, 40.0, sent=240), work=Work(calls=3, is_halted=True, leaves_in=28.0)),
    "canceling": lambda: snapshot(
        story(362, 40.0, sent=240), (39.0, Stopped(CANCELED, f"{ASKED}somebody")), work=Work(is_canceling=True)
    ),
    "quiet": lambda: snapshot(story(362, 40.0, sent=240, quiet="22:00-05:00 UTC"), work=Work()),
    "watched": lambda: snapshot(story(362, 50.0, sent=325)),
    "waves": waves,
    "large": lambda: snapshot(story(5000, 400.0, sent=2600), work=Work()),
}
