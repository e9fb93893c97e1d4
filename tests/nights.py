"""Runs of many targets as journals hold them, for pages, pictures and benchmarks: dealt by a seed, no call is made.

`night` tells the story of a run in one of the states that a page can be in; the same arguments give the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from orchestrator.core.events import (
    AccountStopped,
    Doubted,
    Ended,
    Event,
    Intended,
    Interrupted,
    Refused,
    Requested,
    RunEnded,
    RunMade,
    Sighted,
    Skipped,
    Stopped,
    Tally,
    WaveOpened,
)
from orchestrator.core.model import Build, BuildState, Outcome, Target
from tests.golden.story import ACCOUNTS, START, Told, target, told

OWNERS = ("acme", "globex", "hooli", "initech", "umbrella")
WEB = "https://app.travis-ci.com/github"
EVERY = 6.0  # seconds between two triggers: 30 in 3 minutes
FROZEN = "frozen until the migration ends"
PAUSE = (17 * 60.0, 26 * 60.0)  # nobody triggers: somebody else needs the service
REFUSALS = (
    ("request_rejected", "Travis rejected the request: the branch is excluded by `branches:` in .travis.yml", 8),
    ("repository_inactive", "builds are switched off on Travis; activate the repository there, or leave it out", 6),
    ("insufficient_access", "this token may not trigger builds there; give its user write access, or leave it out", 4),
    ("not_found", "the repository is not on Travis, or this token may not see it", 3),
)
STATES = ("in doubt", "running", "passed", "failed", "stopped", "banned", "interrupted", "nothing")
LEFT: dict[str, tuple[float, Sequence[Event]]] = {  # by state: when the process left (seconds), and what it said
    "running": (50 * 60.0, ()),
    "stopped": (
        18 * 60.0,
        (Stopped("max_fail", "13 of 362 did not pass, and 13 stop the run"), Interrupted("stopped", 5)),
    ),
    "banned": (
        11 * 60.0,
        (
            AccountStopped(
                "Travis has banned this token for an hour, as after too many POSTs in 30 seconds; nothing more is "
                "sent; find out what else uses the token, and resume in an hour",
                START + 71 * 60,
                "banned",
            ),
            Interrupted("account", 4),
        ),
    ),
    "interrupted": (30.0 * 60, (Interrupted("SIGINT", 130),)),
}


def night(state: str = "in doubt", count: int = 362, seed: int = 5) -> Told:
    """A run in one of STATES."""
    dealt = Random(seed)
    count = {"passed": min(count, 14), "nothing": 0}.get(state, count)
    fates = _fates(state, count, dealt)
    targets = [_target(n, fate) for n, fate in enumerate(fates)]
    times = list(_times(count))
    facts = [(0.1, WaveOpened(1))]
    for n, (one, fate) in enumerate(zip(targets, fates, strict=True)):
        facts += _story(one, n, fate, times[n], dealt)
    end, last = LEFT.get(state, (max((at for at, _ in facts), default=0.0) + 5, ()))
    facts = sorted((fact for fact in facts if fact[0] <= end), key=lambda fact: fact[0])
    if state not in LEFT:
        code = 3 if "in doubt" in fates else int(any(fate not in ("passed", "skipped") for fate in fates))
        code = code if targets else 6
        last = (RunEnded(code, (_tally(count),)),)
    made = RunMade(
        "base-image-rebuild",
        "orchestrator.yaml",
        "",
        {"image": "ubuntu:24.04"},
        {"travis": {**ACCOUNTS["travis"], "in_flight": 150, "limits": LIMITS}},
        forecast={"last_trigger_seconds": 56 * 60.0, "last_build_seconds": 84 * 60.0},
    )
    return told(targets, *facts, *((end, event) for event in last), made=made, now=end)


LIMITS = [
    {"name": "triggers", "calls": 30, "per": 180, "written": True},
    {"name": "calls", "calls": 18_000, "per": 3600},
    {"name": "triggers_per_repo", "calls": 20, "per": 3600, "scope": "repo"},
]


def _tally(count: int) -> Tally:
    used = {"triggers 30/3m": count, "calls 18000/1h": count + count // 2, "triggers_per_repo 20/1h": count}
    return Tally(
        "travis", {"trigger": count, "find": count // 6, "poll": count // 2}, used, {"triggers 30/3m": 6.0 * count}
    )


def _target(number: int, fate: str) -> Target:
    owner = OWNERS[number % len(OWNERS)]
    branch = "release/2.x" if number % 8 == 7 else "main"
    labels, skip = ("core",) if number % 30 == 0 else (), FROZEN if fate == "skipped" else None
    return target(f"travis:{owner}/svc-{number + 1:03}@{branch}", labels=labels, skip=skip)


def _fates(state: str, count: int, dealt: Random) -> list[str]:
    """What becomes of each target; in the same shares however many there are."""
    if state == "passed":
        return ["passed"] * count
    shares = {"failed": 27, "errored": 4, "timed_out": 3, "canceled": 5, "skipped": 2}
    shares |= {f"refused {n}": one[2] for n, one in enumerate(REFUSALS)}
    shares |= {} if state == "failed" else {"in doubt": 3}
    found = [fate for fate, share in shares.items() for _ in range(share * count // 362)]
    found += ["passed"] * (count - len(found))
    dealt.shuffle(found)
    return found


def _times(count: int) -> Iterator[float]:
    at = 1.0
    for number in range(count):
        if PAUSE[0] <= at < PAUSE[1]:
            at = PAUSE[1]
        yield at
        at += EVERY * (1.0 + 0.6 * (number % 40 > 24))  # somebody else triggers at times, too


def _story(one: Target, number: int, fate: str, at: float, dealt: Random) -> Iterator[tuple[float, Event]]:
    if fate == "skipped":
        yield 0.2, Skipped(one.id, FROZEN, "skip")
        return
    yield at, Intended(one.id, 1, f"[night.{number:06x}]")
    if fate == "in doubt":
        yield at + 30, Doubted(one.id, 1, "no whole answer in time", START + at, START + at + 30)
        why = "answer lost (no whole answer in time) and not found: the listing answered HTTP 500"
        yield at + 3600, Ended(one.id, Outcome.IN_DOUBT, "in_doubt", why)
        return
    if fate.startswith("refused"):
        code, reason, _ = REFUSALS[int(fate.split()[1])]
        yield at + 0.3, Refused(one.id, code, reason)
        return
    yield at + 0.4, Requested(one.id, str(31_000 + number), "answered", {"v": 1}, f"{WEB}/{one.repo}/requests")
    if fate == "timed_out":
        yield at + 1500, Ended(one.id, Outcome.TIMED_OUT, "no_build", "no build appeared")
        return
    yield from _built(one, number, fate, at, dealt)


def _built(one: Target, number: int, fate: str, at: float, dealt: Random) -> Iterator[tuple[float, Event]]:
    queued, ran = dealt.triangular(0, 300, 60), dealt.triangular(120, 1620, 1440)
    times: dict[str, Any] = {"created_at": START + at + 5}
    known = (str(5_000_000 + number), f"{40 + number % 9}", f"{WEB}/{one.repo}/builds/{5_000_000 + number}")
    made = at + 20
    yield made, Sighted(one.id, _build(known, BuildState.QUEUED, "created", **times))
    times["started_at"] = START + made + queued
    yield made + queued, Sighted(one.id, _build(known, BuildState.RUNNING, "started", **times))
    times["finished_at"] = START + made + queued + ran
    ended = made + queued + ran + 8
    yield ended, Sighted(one.id, _build(known, BuildState(fate), fate, **times))
    yield ended, Ended(one.id, Outcome(fate), fate if fate == "passed" else f"build_{fate}", f"build {fate}")


def _build(known: tuple[str, str, str], state: BuildState, native: str, **times: float) -> Build:
    id_, number, url = known
    return Build(id_, state, native, number, url, f"{int(id_):040x}", "main", **times)
